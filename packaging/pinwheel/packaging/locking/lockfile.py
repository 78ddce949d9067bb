"""What a lock is: the packages that it pins, in two documents that cannot disagree, and how two differ. No I/O here."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from packaging.pylock import Package, Pylock, PylockValidationError

from pinwheel.errors import PinwheelError
from pinwheel.packaging.targets import Target, applies, fits

Kind = Literal["added", "removed", "version", "marker", "files"]


@dataclass(frozen=True, slots=True)
class Pinned:
    """One version of a distribution, where `marker` holds (PEP 508; empty is everywhere). `files` are the filenames
    and sha256 of all that may be installed."""

    name: str
    version: str
    marker: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """The two documents of one lock, and what they pin, by name and version."""

    pylock: bytes
    requirements: bytes
    packages: tuple[Pinned, ...]

    @property
    def sha256(self) -> str:
        """The lock's identity: the sha256 of its pylock.toml."""
        return hashlib.sha256(self.pylock).hexdigest()

    @property
    def pins(self) -> tuple[tuple[str, str], ...]:
        return tuple((package.name, package.version) for package in self.packages)


@dataclass(frozen=True, slots=True)
class Change:
    """How one name differs between two locks. `old` and `new` are its versions there (several, when markers tell them
    apart); `kind` "marker" or "files" means that the versions are the same."""

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    kind: Kind

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        old, new = ", ".join(self.old), ", ".join(self.new)
        match self.kind:
            case "added":
                return f"{self.name}: added {new}"
            case "removed":
                return f"{self.name}: removed {old}"
            case "version":
                return f"{self.name}: {old} became {new}"
            case _:
                return f"{self.name}: {new} as before, with other {'markers' if self.kind == 'marker' else 'files'}"


class CannotLock(PinwheelError):
    """There is no set of versions in the index that fits together, for the Pythons asked for, as wheels."""


def from_pylock(text: str) -> Lock:
    """Read a `pylock.toml` and derive the rest of the lock from it. Raises `CannotLock` when it lacks hashes."""
    try:
        packages: Sequence[Package] = Pylock.from_dict(tomllib.loads(text)).packages
    except (tomllib.TOMLDecodeError, PylockValidationError) as error:
        raise CannotLock(
            f"the lock cannot be read: {error}", remedy="lock the version again: pinwheel packaging.lock APP==VER"
        ) from error
    pinned = tuple(sorted(map(_pinned, packages), key=lambda each: (each.name, each.version, each.marker)))
    lines = [line for each in pinned for line in _lines(each)]
    return Lock(text.encode(), ("\n".join(lines) + "\n").encode(), pinned)


def gaps(lock: Lock, targets: Iterable[Target]) -> list[tuple[Pinned, Target]]:
    """Each pin that a target needs and has no wheel for."""
    return [
        (package, target)
        for target in targets
        for package in lock.packages
        if applies(package.marker, target) and not any(fits(filename, target) for filename, _ in package.files)
    ]


def needed(package: Pinned, targets: Iterable[Target]) -> Pinned:
    """The same pin with those of its files alone that some target needs."""
    there = [target for target in targets if applies(package.marker, target)]
    files = tuple(each for each in package.files if any(fits(each[0], target) for target in there))
    return replace(package, files=files)


def changes(old: Lock, new: Lock) -> list[Change]:
    """What differs, by name. The address from which a file is fetched does not count."""
    before, after = _by_name(old), _by_name(new)
    found = []
    for name in sorted({*before, *after}):
        one, other = before.get(name, ()), after.get(name, ())
        if kind := _kind(one, other):
            found.append(Change(name, tuple(p.version for p in one), tuple(p.version for p in other), kind))
    return found


def _kind(old: Sequence[Pinned], new: Sequence[Pinned]) -> Kind | None:
    if not old:
        return "added"
    if not new:
        return "removed"
    if {each.version for each in old} != {each.version for each in new}:
        return "version"
    if {(each.version, each.marker) for each in old} != {(each.version, each.marker) for each in new}:
        return "marker"
    return "files" if set(old) != set(new) else None


def _by_name(lock: Lock) -> dict[str, tuple[Pinned, ...]]:
    return {
        name: tuple(each for each in lock.packages if each.name == name)
        for name in {each.name for each in lock.packages}
    }


def _pinned(package: Package) -> Pinned:
    files = [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]
    hashed = sorted((each.filename, each.hashes["sha256"]) for each in files if "sha256" in each.hashes)
    if package.version is None or not hashed:
        raise CannotLock(
            f"{package.name} has no version or no sha256 in the lock",
            remedy="it must come from the index by name and version",
        )
    return Pinned(package.name, str(package.version), str(package.marker or ""), tuple(hashed))


def _lines(package: Pinned) -> Iterable[str]:
    """The lines of one distribution in requirements form: its pin, its marker, a line for each hash."""
    marker = f" ; {package.marker}" if package.marker else ""
    hashes = sorted({sha256 for _, sha256 in package.files})
    lines = [f"{package.name}=={package.version}{marker}", *(f"    --hash=sha256:{each}" for each in hashes)]
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]
