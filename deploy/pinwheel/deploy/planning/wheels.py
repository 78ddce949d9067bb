"""Which wheels of a lock a host takes, by its Python and its platform. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.errors import PinwheelError
from pinwheel.packaging.targets import Target, environment, preferred

MUSL, GLIBC = "1.2", "2.17"
"""What hosts are taken to have that do not tell: musl never does, and every one since 2020 is as good; a Python that
cannot say which glibc it uses can surely use the oldest for which wheels are made."""


class NoWheel(PinwheelError):
    """The lock has nothing for this host."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a lock. `name` is normalised; `size` in bytes, 0 where the lock does not say."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int

    def document(self) -> dict[str, Any]:
        """As the runner takes it."""
        return {"name": self.name, "version": self.version, **self.file(), "size": self.size}

    def file(self) -> dict[str, str]:
        return {"filename": self.filename, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a distribution, wanted where `marker` (PEP 508; None is everywhere) holds."""

    name: str
    version: str
    marker: Marker | None
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which wheels a host takes: its Python ("3.11.2"), and `platform`, its newest platform tag."""

    python: str
    platform: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"


def machine(facts: HostFacts) -> Machine:
    """The host's."""
    kind, version = facts.libc
    newest = f"musllinux_{MUSL}" if kind == "musl" else f"manylinux_{version or GLIBC}"
    return Machine(facts.python, f"{newest.replace('.', '_')}_{facts.machine}")


def packages(document: Sequence[Mapping[str, Any]]) -> tuple[Package, ...]:
    """The packages of a pylock.toml (PEP 751). Raises `KeyError`, `ValueError` and their like for another shape."""
    return tuple(_package(each) for each in document)


def chosen(packages: Sequence[Package], host: Machine) -> tuple[Wheel, ...]:
    """The wheels that an installer takes on `host`, one for each distribution that the lock wants there.

    Raises `NoWheel`, and names every distribution that the lock has none for.
    """
    target = Target(".".join(host.python.split(".")[:2]), host.platform)
    seen = {**environment(target.python, target.platform), "python_full_version": host.python}
    taken, lacking = [], []
    for package in packages:
        if package.marker and not package.marker.evaluate(dict(seen), context="lock_file"):
            continue
        best = preferred([each.filename for each in package.wheels], target)
        taken += [each for each in package.wheels if each.filename == best][:1]
        lacking += [package.name] if best is None else []
    if lacking:
        raise NoWheel(
            f"the lock has no wheel of {', '.join(sorted(lacking))} for {host}",
            remedy="name that Python and platform in packaging.pythons and packaging.platforms, and lock again",
        )
    return tuple(taken)


def _package(document: Mapping[str, Any]) -> Package:
    name, version = str(canonicalize_name(document["name"])), str(document["version"])
    wheels = [
        Wheel(name, version, filename(each), each["hashes"]["sha256"], int(each.get("size", 0)))
        for each in document.get("wheels", ())
        if "sha256" in each["hashes"]
    ]
    marker = Marker(document["marker"]) if document.get("marker") else None
    return Package(name, version, marker, tuple(wheels))


def filename(wheel: Mapping[str, Any]) -> str:
    """PEP 751: the name, where it is not the end of the address or path."""
    return str(wheel.get("name") or unquote(urlsplit(str(wheel.get("url") or wheel["path"])).path.rpartition("/")[2]))
