"""The errand `prepare`: a release built beside what runs, from one that is there already as far as possible."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pinwheel.deploy.host.clone import sealed, share, shareable
from pinwheel.deploy.host.files import free_bytes, replace_file, sync_folder
from pinwheel.deploy.host.gate import Document, said
from pinwheel.deploy.host.install import Installer, pinned
from pinwheel.deploy.host.kept_secrets import keep
from pinwheel.deploy.host.means import abi
from pinwheel.deploy.host.prune import found, named, remove
from pinwheel.deploy.host.receive import pushed
from pinwheel.deploy.host.runner import Application, Given, Job, Virtualenv, check_others, time_text
from pinwheel.deploy.host.space import shortage
from pinwheel.deploy.host.supervisord import Refusal


def prepare(job: Job, held: int) -> Document:
    """Build a release beside what runs. Either it is COMPLETE at the end, or nothing is left of it."""
    began, app = time.monotonic(), Application(job, job.body["application"])
    release, how = app.release(job.body["release"]), {"created": False, "how": "there", "base": None, "shared": 0}
    if release.name != app.current and app.supervisor.state():
        check_others(app)  # it will be activated, which would be refused on this host when others are done
    removed = make_room(job, app)
    keep(job, app)
    if not release.complete:
        for each in app.releases():
            if not each.complete:
                shutil.rmtree(each.folder)
        how = {"created": True, **build(job, held, app, release)}
    seconds = round(time.monotonic() - began, 3)
    return {**how, "removed": removed, "seconds": seconds, "bytes": size_bytes(release.folder)}


def make_room(job: Job, app: Application) -> list[str]:
    """Remove the releases that the new one makes superfluous, unless they are needed here. What is gone, also when not
    all of it could be removed: that is no reason to keep the new one away."""
    asked, doomed = job.body["superfluous"], list[Path]()
    try:
        doomed, _ = found(job, {app.name: asked}, whole=False) if asked else ([], {})
        remove(job, doomed)
    except OSError as error:
        job.progress(f"old releases stay: {said(error)}")
    return [named(job, each) for each in doomed if not each.exists()]


def build(job: Job, held: int, app: Application, release: Virtualenv) -> Document:
    """How it was made: by which installer, and how many distributions it shares with which other release."""
    wheels = [Given(each) for each in job.body["wheels"]]
    base = app.release(job.body["base"]) if job.body["base"] else None
    shared = shareable(base, release.folder, wheels) if base and base.complete else {}
    missing = [each for each in wheels if each["name"] not in shared]
    if problem := shortage(sum(each["size"] for each in missing), free_bytes(job.root)):
        raise Refusal("no-space", problem, job.root, "free some space")
    (app.folder / "log").mkdir(parents=True, exist_ok=True)
    release.folder.parent.mkdir(exist_ok=True)
    with pushed(job, missing) as links, removed_unless_complete(release):
        installer = Installer(job, held, links)
        job.progress(f"install {release.name}" + (f" beginning as {base.name}" if shared and base else ""))
        installer.make(release.folder)
        for name, files in shared.items():
            assert base  # noqa: S101 (for the type checker: nothing is shared without one)
            job.check()
            shared[name] = share(base.folder, release.folder, files)
        if missing:
            installer.install(release.folder, pinned(missing))
        installer.check(release.folder, module(release, job.body))
        about = {key: job.body[key] for key in ("application", "version", "release", "lock_sha256", "commit")}
        about["signer"] = job.body.get("signer", "")
        about |= {"abi": abi(), "wheels": sealed(release.folder, wheels, shared)}
        release.note(**about, verdict="prepared", prepared_at=time_text(), conf=None, programs=None)
        os.sync()  # all of it is on the disk before it counts
        replace_file(release.folder / "COMPLETE", "")
        sync_folder(release.folder.parent)
    how = "clone" if shared else installer.name
    return {"how": how, "base": base.name if shared and base else None, "shared": len(shared)}


@contextlib.contextmanager
def removed_unless_complete(release: Virtualenv) -> Iterator[None]:
    try:
        yield
    finally:
        if not release.complete:
            shutil.rmtree(release.folder, ignore_errors=True)


def size_bytes(folder: Path) -> int:
    return sum(os.lstat(f"{here}/{name}").st_size for here, _, names in os.walk(folder) for name in names)


def module(release: Virtualenv, body: Given) -> str:
    """The module that must be importable: the one that is called as the project is, if there is one."""
    name = re.sub(r"[-.]+", "_", str(body["project"])).lower()
    found = [*release.folder.glob(f"lib/*/site-packages/{name}"), *release.folder.glob(f"lib/*/*/{name}.py")]
    return name if found else "sys"


ACTIONS = {"prepare": prepare}
