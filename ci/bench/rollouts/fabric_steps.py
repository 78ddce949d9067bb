"""A peer: Fabric with one command for each step, with uv or pip on the host. Its argument is a `work.document`.

Hosts of a batch are done at the same time, each at its own pace, which is quicker than a ThreadingGroup: that would
wait for the slowest at each step.
"""

from __future__ import annotations

import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fabric.connection import Connection


def deploy(wish: dict[str, Any], installer: str, host: dict[str, Any]) -> None:
    """Install and start one version on one host, step by step."""
    with Connection(  # type: ignore[no-untyped-call]
        host["address"],
        user=wish["user"],
        port=host["port"],
        connect_kwargs={"key_filename": wish["identity_file"], "allow_agent": False, "look_for_keys": False},
    ) as connection:
        connection.client.load_host_keys(wish["known_hosts"])
        for command in steps(wish, installer, host):
            line = shlex.join((*wish["become"], "sh", "-c", command)) if wish["become"] else command
            connection.run(line, hide=True, in_stream=False)


def steps(wish: dict[str, Any], installer: str, host: dict[str, Any]) -> list[str]:
    """The shell lines, one after the other."""
    root, release, python = (shlex.quote(host[key]) for key in ("root", "release", "python"))
    uv = f"UV_CACHE_DIR={root}/cache UV_NO_CONFIG=1 UV_DEFAULT_INDEX={shlex.quote(wish['index_url'])} {host['uv']}"
    strict = "--quiet --require-hashes --only-binary :all:"
    trusted = shlex.quote(wish["index_url"].split("/")[2].partition(":")[0])
    make, install = {
        "uv": (f"{uv} venv --quiet --python {python} {release}", f"{uv} pip install {strict} --python {release}"),
        "pip": (
            f"{python} -m venv {release}",
            f"PIP_CACHE_DIR={root}/cache {release}/bin/pip install --disable-pip-version-check {strict} "
            f"--index-url {shlex.quote(wish['index_url'])} --trusted-host {trusted}",
        ),
    }[installer]
    control = shlex.join(host["supervisorctl"])
    return [
        f"mkdir -p {root}/releases {root}/log",
        f"test -e {release} || {make}",
        f"printf %s {shlex.quote(wish['requirements'])} > {root}/requirements.txt",
        f"{install} -r {root}/requirements.txt",
        f"{release}/bin/python -c 'import {wish['module']}'",
        f"printf %s {shlex.quote(host['conf'])} > {shlex.quote(host['conf_file'])}",
        f"{control} reread",
        f"{control} update",
        f"{control} status {wish['subject']} || true",
        shlex.join(host["gate"]),
        f"ln -sfn {release} {root}/current",
    ]


def main(wish: dict[str, Any], installer: str) -> None:
    """One batch after the other; the first host that fails ends it."""
    for names in wish["batches"]:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(lambda name: deploy(wish, installer, wish["hosts"][name]), names))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
