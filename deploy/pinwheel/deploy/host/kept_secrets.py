"""What a host keeps for its programs beside a release: sets of secrets, and the launcher that hands them over.

A set is a folder, `apps/APP/secrets/ID/PROGRAM/`, that the program's user alone can read. It is complete once it has
its name, never changed, and there for as long as a release that was activated with it: going back brings it back.
"""

from __future__ import annotations

import base64
import os
import pwd
import re
import shutil
from pathlib import Path

from pinwheel.deploy.host.files import read_text, replace_file, sync_folder
from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.generation import every_set
from pinwheel.deploy.host.runner import NAME, SAME_VERSION, Application, Given, Job
from pinwheel.deploy.host.supervisord import Refusal

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def keep(job: Job, app: Application) -> None:
    """Keep the launcher and the set of secrets that the request brings, and of the other sets those that are needed."""
    keep_launcher(job)
    brought = Given(job.body.get("secrets") or {"id": ""})
    if brought["id"] and not (app.folder / "secrets" / brought["id"]).is_dir():
        job.progress("keep its secrets")
        write(job, app.folder / "secrets" / brought["id"], brought["programs"])
    sweep(app, brought["id"])


def keep_launcher(job: Job) -> Path:
    """The launcher of this pinwheel, as a file of the host."""
    launcher = Given(job.body["launcher"])
    file = job.root / "bin" / str(launcher["name"])
    if read_text(file) != launcher["source"]:
        replace_file(file, launcher["source"], 0o644)
    return file


def sweep(app: Application, coming: str = "") -> None:
    """Remove the sets of secrets with which no release here was activated; but not the one that is `coming`."""
    needed = set().union(*(every_set(release.about()) for release in app.releases()))
    for each in (app.folder / "secrets").glob("*"):
        if each.name not in {*needed, coming}:
            shutil.rmtree(each)


def write(job: Job, folder: Path, programs: Document) -> None:
    """Write a set so that it is whole once it is there. Raises `Refusal` for a user that is not."""
    made = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(made, ignore_errors=True)
    try:
        for program, about in programs.items():
            place = made / program
            wrong = [name for name in (folder.name, program) if not NAME.fullmatch(name)]
            if wrong := wrong + [name for name in about["values"] if not VARIABLE.fullmatch(name)]:
                raise Refusal("bad-request", f"{wrong[0]!r} is no name of a secret's", job.host, SAME_VERSION)
            place.mkdir(mode=0o700, parents=True)
            entries = []
            for name, value in about["values"].items():
                data = base64.b64decode(value["value"])
                if value["file"]:
                    replace_file(place / name, data)
                    data = os.fsencode(folder / program / name)
                entries.append(name.encode() + b"=" + data + b"\0")
            replace_file(place / ".environment", b"".join(entries))
            give(job, place, about["user"])
        for each in (made, folder.parent):
            each.chmod(0o711)  # the programs' users pass through, and see no names
        made.replace(folder)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def give(job: Job, place: Path, user: str) -> None:
    """Make `place` and what is in it the user's own."""
    if user:
        uid = account(job, user).pw_uid
        for each in (*place.iterdir(), place):
            if each.stat().st_uid != uid:
                os.chown(each, uid, -1)


def account(job: Job, user: str) -> pwd.struct_passwd:
    """The host's user. Raises `Refusal`."""
    try:
        return pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        remedy = "make that user on the host, or correct the program's user"
        raise Refusal("not-ready", f"there is no user {user} on this host", job.host, remedy) from None
