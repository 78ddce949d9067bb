"""What a deploy needs from the index: the checked lock of a version, and the wheels that make a host ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from packaging.version import Version

from pinwheel.deploy.planning.fit import Machine
from pinwheel.deploy.planning.lock import Lock, checked, commit
from pinwheel.errors import PinwheelError
from pinwheel.index.client import Attachment, IndexFile
from pinwheel.packaging.targets import fits


class NotInTheIndex(PinwheelError):
    """The index lacks something that a deploy needs."""


class Shelf(Protocol):
    """The part of the index client that is needed here."""

    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...
    def attachment(self, project: str, version: str, name: str) -> bytes | None: ...
    def attachments(self, project: str, version: str) -> list[Attachment]: ...


@dataclass(frozen=True, slots=True)
class Locked:
    """A version as the index spells it, its checked lock, and the commit it was built from (empty: nobody says)."""

    version: str
    lock: Lock
    commit: str


def locked(shelf: Shelf, project: str, version: str) -> Locked:
    """The lock of `project` in `version`, however that is spelled: 1.0 is 1.0.0. Raises `NotInTheIndex`, `BadLock`."""
    files = [file for file in shelf.own_files(project) if file.version]  # an upstream must not hear of an application
    found = [file for file in files if Version(file.version) == Version(version)]
    if not found:
        known = sorted({file.version for file in files}, key=Version)
        raise NotInTheIndex(
            f"the index has no {project} {version}",
            where=f"{project}=={version}",
            remedy=f"it has {', '.join(known[-5:])}" if known else "publish it: pinwheel packaging.release",
        )
    version = found[0].version
    pylock = shelf.attachment(project, version, "pylock.toml")
    requirements = shelf.attachment(project, version, "requirements.txt")
    if pylock is None or requirements is None:
        raise NotInTheIndex(
            f"{project} {version} has no lock",
            where=f"{project}=={version}",
            remedy=f"run pinwheel packaging.lock {project}=={version}",
        )
    lock = checked(project, version, pylock, requirements, {file.sha256 for file in found})
    return Locked(version, lock, _commit(shelf, project, version))


def uv_wheel(files: Sequence[IndexFile], host: Machine) -> IndexFile:
    """The newest uv that runs on `host`. Raises `NotInTheIndex`."""
    fit = [file for file in files if _stable(file) and fits(file.filename, host.target)]
    if not fit:
        raise NotInTheIndex(
            f"the index has no uv for {host}",
            where="uv",
            remedy="give the index an upstream (index.serve --upstream auto), or upload uv's wheel for this platform",
        )
    return max(fit, key=lambda file: Version(file.version))


def supervisor_wheel(files: Sequence[IndexFile]) -> IndexFile:
    """The newest supervisor. It has no dependencies. Raises `NotInTheIndex`."""
    fit = [file for file in files if _stable(file) and file.filename.endswith("-none-any.whl")]
    if not fit:
        raise NotInTheIndex(
            "the index has no wheel of supervisor",
            where="supervisor",
            remedy='give the index an upstream, or write layout.supervisor_from = "host" and install it there',
        )
    return max(fit, key=lambda file: Version(file.version))


def requirements(wheels: Sequence[IndexFile]) -> str:
    """The wheels as requirements with their hashes."""
    return "".join(f"{each.filename.split('-')[0]}=={each.version} --hash=sha256:{each.sha256}\n" for each in wheels)


def _commit(shelf: Shelf, project: str, version: str) -> str:
    for attached in shelf.attachments(project, version):
        if attached.name.endswith(".statement.json"):
            named = commit(shelf.attachment(project, version, attached.name) or b"")
            if named:
                return named
    return ""


def _stable(file: IndexFile) -> bool:
    return bool(file.version and file.sha256) and file.yanked is None and not Version(file.version).is_prerelease
