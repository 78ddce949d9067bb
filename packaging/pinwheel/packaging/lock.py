"""Lock an application: every distribution that it needs to run, with hashes, for the platforms there are.

uv resolves against the private index alone and writes PEP 751's `pylock.toml`; the hashed requirements for
installers that cannot read it are derived from that document, so that the two cannot disagree.
"""

from __future__ import annotations

import hashlib
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.pylock import Package, Pylock, PylockValidationError
from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import pin, process
from pinwheel.errors import PinwheelError, Refused
from pinwheel.index.client import IndexFile
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.workspace import full_disk_explained, unless_full

PYLOCK = "pylock.toml"
REQUIREMENTS = "requirements.txt"

STORED_AT_MOST = 4  # times: the first stores, the others see what came of it


class LockStore(Protocol):
    """The part of the index client that locking needs."""

    url: str

    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None: ...

    def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class Lock:
    """The two documents of one lock, and what they pin as (name, version)."""

    pylock: bytes
    requirements: bytes
    pins: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        """The lock's identity: the sha256 of its pylock.toml."""
        return hashlib.sha256(self.pylock).hexdigest()


class CannotLock(PinwheelError):
    """There is no set of versions in the index that fits together, for the Python asked for, as wheels."""


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


def resolve(resolver: Resolver, project: str, version: Version, python: str) -> Lock:
    """Find the versions that run `project` on Python `python` ("3.12") and newer. Raises `CannotLock`.

    Wheels only: hosts install nothing else, and nobody's build backend runs here.
    """
    words = ["pip", "compile", "--quiet", "--universal", "--format", PYLOCK, "--no-header", "--only-binary", ":all:"]
    words += ["--python-version", python, "-"]
    with (
        full_disk_explained(resolver.cache),
        tempfile.TemporaryDirectory(prefix="pinwheel-lock-") as folder,
    ):
        done = resolver.run(words, cwd=Path(folder), stdin=f"{project}=={version}\n")
    if done.exit_code:
        error = CannotLock(
            f"{project} {version} cannot be locked for Python {python}:\n{process.tail(done.errors)}",
            where=resolver.simple_url,
            remedy="what it needs must be in the index or come through its upstream, as wheels for that Python"
            " (packaging.python in pinwheel.toml)",
        )
        raise unless_full(error, resolver.cache, Path(tempfile.gettempdir()))
    return from_pylock(done.output)


def from_pylock(text: str) -> Lock:
    """Read a `pylock.toml` and derive the rest of the lock from it. Raises `CannotLock` when it lacks hashes."""
    try:
        packages: Sequence[Package] = Pylock.from_dict(tomllib.loads(text)).packages
    except (tomllib.TOMLDecodeError, PylockValidationError) as error:
        raise CannotLock(f"uv wrote a lock that cannot be read: {error}", remedy="report this as a fault") from error
    lines = [
        line for package in sorted(packages, key=lambda each: (each.name, str(each.version))) for line in _pin(package)
    ]
    pins = tuple(sorted((package.name, str(package.version)) for package in packages))
    return Lock(text.encode(), ("\n".join(lines) + "\n").encode(), pins)


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


def _pin(package: Package) -> Iterable[str]:
    """The lines of one distribution in requirements form: its pin, its marker, a line for each hash."""
    files = [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]
    hashes = sorted({file.hashes["sha256"] for file in files if "sha256" in file.hashes})
    if package.version is None or not hashes:
        raise CannotLock(
            f"{package.name} has no version or no sha256 in the lock",
            remedy="it must come from the index by name and version",
        )
    marker = f" ; {package.marker}" if package.marker else ""
    lines = [f"{package.name}=={package.version}{marker}", *(f"    --hash=sha256:{each}" for each in hashes)]
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
