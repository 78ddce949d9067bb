"""A peer: pyinfra, which runs this once for each batch. The values come from `pyinfra_hosts.py`."""

import io
import shlex

from pyinfra import config, host
from pyinfra.operations import files, pip, server

config.SUDO = True
wish, here = host.data.wish, host.data.here
requirements, control = f"{here['root']}/requirements.txt", shlex.join(here["supervisorctl"])
trusted = wish["index_url"].split("/")[2].partition(":")[0]

files.directory(name="the releases", path=f"{here['root']}/releases")
files.directory(name="the logs", path=f"{here['root']}/log")
files.put(name="the requirements", src=io.StringIO(wish["requirements"]), dest=requirements)
pip.venv(name="the virtualenv", path=here["release"], python=here["python"])
pip.packages(
    name="what is in it",
    requirements=requirements,
    virtualenv=here["release"],
    extra_install_args=(
        "--quiet --require-hashes --only-binary :all: --disable-pip-version-check "
        f"--index-url {wish['index_url']} --trusted-host {trusted}"
    ),
    _env={"PIP_CACHE_DIR": f"{here['root']}/cache"},
)
server.shell(name="does it import", commands=[f"{here['release']}/bin/python -c 'import {wish['module']}'"])
files.put(name="supervisor's file", src=io.StringIO(here["conf"]), dest=here["conf_file"])
server.shell(name="reread and update", commands=[f"{control} reread", f"{control} update"])
server.shell(name="is it healthy", commands=[shlex.join(here["gate"])])
files.link(name="current", path=f"{here['root']}/current", target=here["release"])
