"""Lock an application: every distribution that it needs to run, with hashes, for the machines that it runs on.

uv resolves against the private index alone and writes PEP 751's `pylock.toml`; the hashed requirements for
installers that cannot read it are derived from that document, so that the two cannot disagree.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import pin, process
from pinwheel.errors import PinwheelError, Refused
from pinwheel.index.client import IndexFile
from pinwheel.packaging.locking import lockfile
from pinwheel.packaging.locking.lockfile import CannotLock, Lock, Pinned, from_pylock, gaps
from pinwheel.packaging.publishing.publish import Index, origins
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.targets import Target
from pinwheel.packaging.workspace import full_disk_explained, unless_full

PYLOCK = "pylock.toml"
REQUIREMENTS = "requirements.txt"

STORED_AT_MOST = 4  # times: the first stores, the others see what came of it
ASKED_AT_ONCE = 8


class LockStore(Protocol):
    """The part of the index client that locking needs."""

    url: str

    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None: ...

    def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str: ...


class Offered(Protocol):
    """The part of the index client that says what installers are offered."""

    def files(self, project: str) -> tuple[IndexFile, ...]: ...


class LockContended(Refused):
    """Two processes stored different locks of one version at the same time."""


def parse_pin(text: str) -> tuple[str, Version]:
    """Read `APP==VER`, the name normalised. Raises `UsageError`."""
    name, version = pin.parse(text)
    return canonicalize_name(name), version


def check_released(index: LockStore, project: str, version: Version) -> None:
    """Raise `PinwheelError` unless this version was published in the index. No upstream hears of another name."""
    versions = {Version(file.version) for file in index.own_files(project) if file.version}
    if version in versions:
        return
    known = ", ".join(str(each) for each in sorted(versions, reverse=True)[:5])
    raise PinwheelError(
        f"{project} {version} is not in the index",
        where=index.url,
        remedy=f"its newest versions there are {known}"
        if known
        else "release it first: pinwheel packaging.release (what only an upstream has does not count)",
    )


def resolve(resolver: Resolver, wanted: str, targets: Sequence[Target], links: Path | None = None) -> Lock:
    """Find the versions that satisfy `wanted` (requirements, one a line) on all `targets`, the oldest Python first,
    and on newer ones. Wheels in the folder `links` count as offered. Raises `CannotLock`.

    Wheels only: hosts install nothing else, and nobody's build backend runs here.
    """
    python = targets[0].python
    asked = " ".join(wanted.split())
    words = ["pip", "compile", "--quiet", "--universal", "--format", PYLOCK, "--no-header", "--only-binary", ":all:"]
    words += ["--python-version", python, *(("--find-links", str(links)) if links else ()), "-"]
    with (
        full_disk_explained(resolver.cache),
        tempfile.TemporaryDirectory(prefix="pinwheel-lock-") as folder,
    ):
        done = resolver.run(words, cwd=Path(folder), stdin=wanted)
    if done.exit_code:
        error = CannotLock(
            f"{asked} cannot be locked for Python {python}:\n{process.tail(done.errors)}",
            where=resolver.simple_url,
            remedy="what it needs must be in the index or come through its upstream, as wheels for that Python"
            " (packaging.python in pinwheel.toml); `packaging.vendor` builds wheels of what has none",
        )
        raise unless_full(error, resolver.cache, Path(tempfile.gettempdir()))
    made = from_pylock(done.output)
    if missing := gaps(made, targets):
        lacks = "\n".join(f"{package.name} {package.version}: no wheel for {target}" for package, target in missing)
        raise CannotLock(
            f"{asked} cannot be locked for all of packaging.pythons and packaging.platforms:\n{lacks}",
            where=resolver.simple_url,
            remedy="require a version that has these wheels, publish them, or take the target out of pinwheel.toml",
        )
    return made


def stored(index: LockStore, project: str, version: Version) -> Lock | None:
    """The lock beside the version; None without one. Raises `CannotLock` when its documents disagree."""
    pylock, requirements = (index.attachment(project, str(version), name) for name in (PYLOCK, REQUIREMENTS))
    if pylock is None:
        return None
    read = from_pylock(pylock.decode(errors="replace"))
    if read.requirements != requirements:
        raise CannotLock(
            f"{PYLOCK} and {REQUIREMENTS} of {project} {version} are not of one lock",
            where=index.url,
            remedy=f"complete it: pinwheel packaging.lock {project}=={version}",
        )
    return read


def provenance(index: Index, project: str, version: str) -> Provenance | None:
    """From which commit a version was built, as the first of its statements says; None when none says it."""
    there = origins(index, project, version).values()
    return next((file.provenance for file in there if file.provenance), None)


def faults(index: Offered, lock: Lock, targets: Sequence[Target]) -> list[str]:
    """What keeps the lock from being installed on `targets` as it was made: files that the index offers no longer, or
    with other bytes, or yanked. Raises what the client raises."""
    needed = [each for package in lock.packages if (each := lockfile.needed(package, targets)).files]
    names = sorted({package.name for package in needed})
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        offered = dict(zip(names, pool.map(index.files, names), strict=True))
    return [fault for package in needed for fault in _faults(package, offered[package.name])]


def _faults(package: Pinned, offered: Sequence[IndexFile]) -> list[str]:
    there = {file.filename: file for file in offered}
    called = f"{package.name} {package.version}"
    if not any(filename in there for filename, _ in package.files):
        return [f"{called} is no longer offered"]
    found = []
    for filename, sha256 in package.files:
        file = there.get(filename)
        if file is None:
            found.append(f"{called}: {filename} is no longer offered")
        elif file.sha256 != sha256:
            found.append(f"{called}: {filename} is offered with sha256 {file.sha256}, locked was {sha256}")
    reasons = {there[filename].yanked for filename, _ in package.files if filename in there} - {None}
    return found + [f"{called} is yanked: {reason or 'no reason given'}" for reason in reasons]


def store(index: LockStore, project: str, version: Version, lock: Lock) -> bool:
    """Put the lock beside the version. False when it is the newest there already, both documents of it.

    pylock.toml goes first, because a release is named after it. Whoever reads in between, or after we were killed
    there, gets documents of two locks; deploying refuses those, and locking again stores what is missing. Raises
    `LockContended` when somebody else keeps storing another lock.
    """
    documents = {PYLOCK: lock.pylock, REQUIREMENTS: lock.requirements}
    for tries in range(STORED_AT_MOST):
        newest = {name: index.attachment(project, str(version), name) for name in documents}
        if newest == documents:
            return tries > 0
        # only what differs: of two who store the same lock, or complete it, none disturbs the other
        for name, body in documents.items():
            if newest[name] != body:
                index.put_attachment(project, str(version), name, body)
    raise LockContended(
        f"somebody else stores another lock of {project} {version} at this moment",
        where=index.url,
        remedy="lock again when the other one has ended",
    )
