"""How a release comes to be on a host: from another one that is there, or anew; and how much moves for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pinwheel.deploy.planning.facts import HostFacts, Installed, Release
from pinwheel.deploy.planning.lock import Wheel
from pinwheel.deploy.planning.releases import age


class How(StrEnum):
    """How a release comes to be on a host."""

    THERE = "there"  # it is complete already
    CLONE = "clone"  # it shares files with another release there, and only the difference is installed
    UV = "uv"
    PIP = "pip"  # no uv runs there


@dataclass(frozen=True, slots=True)
class Making:
    """`how` a release will be made, and `why` so. It shares `shared` of its `wheels` with the release `base`; the
    others, of `bytes` in all, move to the host."""

    how: How
    why: str
    wheels: tuple[Wheel, ...] = field(default=(), repr=False)
    moving: tuple[Wheel, ...] = field(default=(), repr=False)
    base: str = ""

    @property
    def shared(self) -> int:
        return len(self.wheels) - len(self.moving)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.moving)


THERE = Making(How.THERE, "")


def making(facts: HostFacts, here: Installed, wheels: tuple[Wheel, ...]) -> Making:
    """From the release that has most of the bytes, the newest of several; if none has any, all of it anew."""

    def moving(base: Release) -> tuple[Wheel, ...]:
        return tuple(each for each in wheels if not base.shares(each.sha256))

    bases = sorted((each for each in here.releases if len(moving(each)) < len(wheels)), key=age, reverse=True)
    if bases:
        best = min(bases, key=lambda each: (sum(wheel.size for wheel in moving(each)), len(moving(each))))
        left = moving(best)
        why = f"{len(wheels) - len(left)} of {len(wheels)} distributions are in {best.release}"
        return Making(How.CLONE, why, wheels, left, best.release)
    why = "no release here has any of it" if here.releases else "no release is here yet"
    if facts.uv:
        return Making(How.UV, why, wheels, wheels)
    return Making(How.PIP, f"{why}, and no uv runs here", wheels, wheels)
