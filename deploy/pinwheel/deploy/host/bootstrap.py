"""The errands `survey` and `bootstrap`: what a host lacks to be ready, and the same done.

What is as it should be is left alone. Nothing is written outside of the layout but users (`useradd`) and the unit of
our own supervisord, where there is systemd; both are named in the survey.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import io
import os
import pwd
import re
import shutil
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pinwheel.deploy.host.files import read_text, replace_file
from pinwheel.deploy.host.gate import Document, said, tail
from pinwheel.deploy.host.install import Installer
from pinwheel.deploy.host.look import folders
from pinwheel.deploy.host.means import uv_version
from pinwheel.deploy.host.receive import pushed
from pinwheel.deploy.host.runner import SAME_VERSION, Given, Job, run, start_supervisor
from pinwheel.deploy.host.supervisord import CALL_S, Refusal, Supervisor

SYSTEMD = Path("/run/systemd/system")
"""There while systemd runs the host (sd_booted(3))."""

USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


class Change(NamedTuple):
    """One thing to do, and why. When it fails, the others are done all the same if it stands `alone`."""

    what: str
    why: str
    do: Callable[[], object]
    alone: bool = False


def survey(job: Job, held: int = -1) -> Document:
    """What `bootstrap` would do here. Changes nothing."""
    found = [{"what": each.what, "why": each.why} for each in changes(job, held)]
    return {"changes": found, "notes": notes(job)}


def bootstrap(job: Job, held: int) -> Document:
    """Make the host ready; what cannot be done is told with its reason, and the rest of what stands alone is done."""
    done: list[str] = []
    missing: list[Document] = []
    broken = ""
    for each in changes(job, held):
        job.check()
        if broken and not each.alone:
            missing.append({"what": each.what, "problem": f"not tried without: {broken}", "where": "", "remedy": ""})
            continue
        job.progress(each.what)
        try:
            each.do()
            done.append(each.what)
        except (Refusal, OSError) as error:
            job.check()
            missing.append({"what": each.what, **told(error)})
            broken = broken if each.alone else each.what
    return {"changes": done, "missing": missing, "notes": notes(job)}


def told(error: Refusal | OSError) -> Document:
    if isinstance(error, Refusal):
        return {"problem": error.problem, "where": error.where, "remedy": error.remedy}
    return {"problem": said(error), "where": str(error.filename or ""), "remedy": "see to it on the host and run again"}


def changes(job: Job, held: int) -> Iterator[Change]:
    """What is to be done, in its order. Whether a later one is needed is looked at once the earlier ones are done."""
    if absent := [each for each in folders(job) if not each.is_dir()]:
        yield Change(f"make {', '.join(map(str, absent))}", "not there", functools.partial(make_folders, absent))
    for user in job.body["users"]:
        if not has_user(user):
            yield Change(
                f"add the system user {user}", "programs run as it", functools.partial(add_user, job, user), True
            )
    uv = job.body["uv"]  # None: the index has none for this machine, and pip must do
    found, wanted = uv_version(job), uv and uv["filename"].split("-")[1]
    if uv and found != wanted:
        why = f"{found} is there, and the index has {wanted}" if found else "not there"
        yield Change(f"install uv {wanted} in {job.root / 'bin'}", why, functools.partial(install_uv, job))
    if job.own_supervisor:
        yield from own_supervisor(job, held)
    elif not (job.conf_dir.is_dir() and Supervisor(job.socket).state()):
        yield Change(
            "reach the host's supervisor", f"no answer on {job.socket}", functools.partial(start_supervisor, job)
        )


def own_supervisor(job: Job, held: int) -> Iterator[Change]:
    folder, conf_file, conf = job.root / "supervisor", job.root / "etc/supervisord.conf", supervisor_conf(job)
    if not (folder / "COMPLETE").exists():
        version = job.body["supervisor_requirements"].partition(" ")[0].replace("==", " ")
        install = functools.partial(install_supervisor, job, held, folder)
        yield Change(f"install {version or 'supervisor'} in {folder}", "not there", install)
    if (there := read_text(conf_file)) != conf:
        why = "it says something else" if there else "not there"
        yield Change(f"write {conf_file}", why, functools.partial(replace_file, conf_file, conf))
    if registers() and read_text(job.unit) != (text := unit(job)):
        why = "systemd starts supervisor after a reboot"
        yield Change(f"write {job.unit} and enable it", why, functools.partial(register, job, text))
    if not Supervisor(job.socket).state():
        yield Change("start supervisor", f"no answer on {job.socket}", functools.partial(start_supervisor, job))


def fetch(job: Job, file: Given) -> io.BytesIO:
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
    return io.BytesIO(data)


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


def make_folders(absent: list[Path]) -> None:
    for each in absent:
        each.mkdir(parents=True, exist_ok=True)


def has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def add_user(job: Job, name: str) -> None:
    """A user without a home, a login or a password. Raises `Refusal`."""
    if not USER.fullmatch(name):
        raise Refusal(
            "bad-request", f"{name!r} cannot be the name of a user", job.host, "correct `user` of the program"
        )
    argv = ("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name)
    must(job, *argv)


def must(job: Job, *argv: str) -> None:
    """Run a small tool of the system that must succeed. Raises `Refusal`."""
    code, output = run(job, argv, CALL_S)
    if code != 0:
        problem = f"{' '.join(argv[:2])} … failed with exit code {code}: {tail(output)}"
        raise Refusal("prepare-failed", problem, job.host, "see to it on the host and run again")


def install_uv(job: Job) -> None:
    uv = Given(job.body["uv"])
    with pushed(job, [uv]) as links, zipfile.ZipFile(links / uv["filename"] if links else fetch(job, uv)) as wheel:
        member = next(each for each in wheel.namelist() if each.endswith(".data/scripts/uv"))
        replace_file(job.root / "bin/uv", wheel.read(member), 0o755)


def install_supervisor(job: Job, held: int, folder: Path) -> None:
    if not job.body["supervisor_requirements"]:
        problem, remedy = (
            "the index has no wheel of supervisor",
            "give the index an upstream, or install the host's own",
        )
        raise Refusal("not-ready", problem, job.host, remedy)
    shutil.rmtree(folder, ignore_errors=True)
    with pushed(job, [Given(each) for each in job.body.get("wheels", ())]) as links:
        installer = Installer(job, held, links)
        installer.make(folder)
        installer.install(folder, job.body["supervisor_requirements"])
    replace_file(folder / "COMPLETE", "")


def registers() -> bool:
    """Can our supervisord be registered with the system's init?"""
    return SYSTEMD.is_dir() and os.geteuid() == 0


def register(job: Job, text: str) -> None:
    replace_file(job.unit, text, 0o644)
    must(job, "systemctl", "daemon-reload")
    must(job, "systemctl", "enable", job.unit.name)  # not started: it may run already, by hand


def notes(job: Job) -> list[str]:
    if not job.own_supervisor or registers():
        return []
    why = "only root may register it with systemd" if SYSTEMD.is_dir() else "there is no systemd"
    return [f"nothing starts supervisor after a reboot ({why}); the next pinwheel deploy.bootstrap does"]


def unit(job: Job) -> str:
    """The unit of our own supervisord. It stops its programs itself, each with its own signal and patience."""
    root = job.root
    return f"""# written by pinwheel
[Unit]
Description=supervisor of pinwheel in {root}
After=network.target
[Service]
ExecStartPre=/bin/mkdir -p "{Path(job.socket).parent}"
ExecStart="{root}/supervisor/bin/supervisord" -n -c "{root}/etc/supervisord.conf"
KillMode=mixed
TimeoutStopSec=infinity
Restart=on-failure
RestartSec=5
[Install]
WantedBy=multi-user.target
"""


ACTIONS = {"survey": survey, "bootstrap": bootstrap}
