"""The errand `bootstrap`: a host made ready, with uv and if need be supervisor from the index."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import shutil
import urllib.parse
import urllib.request
import zipfile

from pinwheel.deploy.host.gate import Document, said
from pinwheel.deploy.host.look import folders, uv_version
from pinwheel.deploy.host.prepare import make_virtualenv
from pinwheel.deploy.host.runner import (
    SAME_VERSION,
    Given,
    Job,
    Refusal,
    read_text,
    replace_file,
    running_supervisor,
)


def bootstrap(job: Job, held: int) -> Document:
    """Make the host ready. What is as it should be is left alone."""
    changes = [f"made {folder}" for folder in folders(job) if not folder.is_dir()]
    for folder in folders(job):
        folder.mkdir(parents=True, exist_ok=True)
    if uv_version(job) != (wanted := job.body["uv"]["filename"].split("-")[1]):
        job.progress(f"fetch uv {wanted}")
        with zipfile.ZipFile(io.BytesIO(fetch(job, Given(job.body["uv"])))) as wheel:
            member = next(each for each in wheel.namelist() if each.endswith(".data/scripts/uv"))
            replace_file(job.root / "bin/uv", wheel.read(member), 0o755)
        changes.append(f"installed uv {wanted}")
    if job.own_supervisor:
        complete, conf_file = job.root / "supervisor/COMPLETE", job.root / "etc/supervisord.conf"
        if not complete.exists():
            job.progress("install supervisor")
            shutil.rmtree(complete.parent, ignore_errors=True)
            make_virtualenv(job, held, complete.parent, job.body["supervisor_requirements"])
            replace_file(complete, "")
            changes.append("installed supervisor")
        if read_text(conf_file) != supervisor_conf(job):
            replace_file(conf_file, supervisor_conf(job))
            changes.append(f"wrote {conf_file}")
    if running_supervisor(job)[1]:
        changes.append("started supervisor")
    return {"changes": changes}


def fetch(job: Job, file: Given) -> bytes:
    """Download a file of the index. The credential goes to the index's own address only. Raises `Refusal`."""
    index, wanted = urllib.parse.urlsplit(job.body["index_url"]), urllib.parse.urlsplit(file["url"])
    clean = wanted._replace(netloc=wanted.netloc.rpartition("@")[2])
    request = urllib.request.Request(clean.geturl())  # noqa: S310 (the scheme is checked below)
    if index.username and (index.scheme, index.hostname, index.port) == (wanted.scheme, wanted.hostname, wanted.port):
        words = f"{urllib.parse.unquote(index.username)}:{urllib.parse.unquote(index.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}")
    if wanted.scheme not in ("http", "https"):
        raise Refusal("bad-request", f"{file['filename']} is not offered over HTTP", clean.geturl(), SAME_VERSION)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 (likewise)
            data: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        problem = f"{file['filename']} cannot be fetched from the index: {said(error)}"
        raise Refusal("prepare-failed", problem, job.host, "see whether this host reaches the index") from error
    if (found := hashlib.sha256(data).hexdigest()) != file["sha256"]:
        problem = f"{file['filename']} is not what the index promised: sha256 {found}, not {file['sha256']}"
        raise Refusal("bad-digest", problem, job.host, "find out who changed it")
    return data


def supervisor_conf(job: Job) -> str:
    """The configuration of our own supervisord, in which % is doubled."""
    root, conf_dir, path = (str(each).replace("%", "%%") for each in (job.root, job.conf_dir, job.socket))
    return f"""; written by pinwheel
[unix_http_server]
file={path}
chmod=0700
[supervisord]
directory={root}
childlogdir={root}/state
logfile={root}/state/supervisord.log
pidfile={root}/state/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{path}
[include]
files={conf_dir}/*.conf
"""


ACTIONS = {"bootstrap": bootstrap}
