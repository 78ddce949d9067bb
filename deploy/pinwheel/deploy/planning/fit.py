"""Whether a lock can be installed on a host: its requires-python and its wheels' tags against the host's facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet

from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.wheels import filename
from pinwheel.packaging import targets

OLDEST_MUSL = ("1", "2")
"""What is assumed of a musl whose version the host does not tell."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock: the names of its `wheels`, and on which machines it counts (`marker`, PEP 508)."""

    name: str
    version: str
    wheels: tuple[str, ...]
    marker: Marker | None
    requires_python: SpecifierSet


@dataclass(frozen=True, slots=True)
class Needs:
    """What a lock needs of a host."""

    requires_python: SpecifierSet = field(default_factory=SpecifierSet)
    packages: tuple[Locked, ...] = ()


def needs(pylock: Mapping[str, Any]) -> Needs:
    """What a pylock.toml (PEP 751) says. Raises `KeyError`, `ValueError` and their like for another shape."""
    return Needs(
        SpecifierSet(pylock.get("requires-python", "")),
        tuple(
            Locked(
                each["name"],
                each["version"],
                tuple(filename(wheel) for wheel in each.get("wheels", ())),
                Marker(each["marker"]) if each.get("marker") else None,
                SpecifierSet(each.get("requires-python", "")),
            )
            for each in pylock.get("packages", ())
        ),
    )


def misfit(needed: Needs, facts: HostFacts) -> str:
    """Why the lock cannot be installed on the host, in a sentence; empty when it can."""
    version = facts.python.rstrip("+")  # that of a Python built between two releases
    minor = ".".join(version.split(".")[:2])
    target = targets.Target(minor, _platform(facts))
    packages = [each for each in needed.packages if targets.applies(each.marker, target)]
    for what, wanted in (("it", needed.requires_python), *((each.name, each.requires_python) for each in packages)):
        if not wanted.contains(version, prereleases=True):
            return f"its python is {facts.python}, and the lock says that {what} needs {wanted}"
    for each in packages:
        if not any(targets.fits(name, target) for name in each.wheels):
            return f"the lock has no wheel of {each.name} {each.version} for {_called(facts, minor, each.wheels)}"
    return ""


def _called(facts: HostFacts, minor: str, wheels: Iterable[str]) -> str:
    """The host as the wheels see it: its Python alone when it is that which none of them fits."""
    if not any(targets.fits(name, targets.Target(minor)) for name in wheels):
        return f"Python {minor}, which is this host's"
    return f"Python {minor} on {facts.machine} with {' '.join(facts.libc).strip() or 'an unknown libc'}"


def _platform(facts: HostFacts) -> str:
    """The newest platform tag that the host takes (PEP 600, PEP 656); empty when its libc is not known."""
    family, version = facts.libc
    numbers: Sequence[str] = version.split(".")[:2]
    if family == "musl":
        return f"musllinux_{'_'.join(numbers if len(numbers) == 2 else OLDEST_MUSL)}_{facts.machine}"
    return f"manylinux_{'_'.join(numbers)}_{facts.machine}" if family == "glibc" and len(numbers) == 2 else ""
