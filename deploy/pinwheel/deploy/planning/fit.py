"""Which wheels of a lock a host takes, or why the lock is not for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet

from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.lock import Package, Wheel
from pinwheel.packaging.targets import Target, environment, fits, preferred

MUSL, GLIBC = ("1", "2"), ("2", "17")
"""What hosts are taken to have that do not tell: musl never does, and every one since 2020 is as good; a Python that
cannot say which glibc it uses can surely use the oldest for which wheels are made."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which wheels a host takes: its Python ("3.11.2"), `hardware` ("x86_64"), and its `libc` as it tells
    it."""

    python: str
    hardware: str
    libc: tuple[str, str]

    @property
    def target(self) -> Target:
        """Its Python, and the newest platform tag that it takes (PEP 600, PEP 656)."""
        family, assumed = ("musllinux", MUSL) if self.libc[0] == "musl" else ("manylinux", GLIBC)
        numbers = self.libc[1].split(".")[:2]
        major, minor = numbers if len(numbers) == 2 else assumed
        return Target(".".join(self.python.split(".")[:2]), f"{family}_{major}_{minor}_{self.hardware}")

    def __str__(self) -> str:
        return f"{self.hardware} with {' '.join(self.libc).strip() or 'an unknown libc'}"


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a lock cannot be installed on a machine, in a sentence."""

    why: str


def machine(facts: HostFacts) -> Machine:
    """The host's."""
    return Machine(facts.python, facts.machine, facts.libc)


def chosen(packages: Sequence[Package], requires_python: SpecifierSet, host: Machine) -> tuple[Wheel, ...] | Misfit:
    """The wheels that an installer takes on `host`, one for each distribution that the lock wants there."""
    target = host.target
    seen = {**environment(target.python, target.platform), "python_full_version": host.python}
    wanted = [each for each in packages if not each.marker or each.marker.evaluate(dict(seen), context="lock_file")]
    version = host.python.rstrip("+")  # that of a Python built between two releases
    for what, needed in (("it", requires_python), *((each.name, each.requires_python) for each in wanted)):
        if not needed.contains(version, prereleases=True):
            return Misfit(f"its python is {host.python}, and the lock says that {what} needs {needed}")
    best = [(each, preferred([wheel.filename for wheel in each.wheels], target)) for each in wanted]
    if lacking := [each for each, filename in best if filename is None]:
        here = any(fits(wheel.filename, Target(target.python)) for each in lacking for wheel in each.wheels)
        names = ", ".join(f"{each.name} {each.version}" for each in lacking)
        where = f" on {host}" if here else ", which is this host's"
        return Misfit(f"the lock has no wheel of {names} for Python {target.python}{where}")
    return tuple(next(one for one in each.wheels if one.filename == filename) for each, filename in best)
