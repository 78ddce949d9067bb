"""Who is taken out of service when: the canary, then batches that grow, under one law. Pure.

The law: a host in service is only taken out of it while no more than `max_unavailable` hosts of the fleet are out,
that one included. A host is out that should serve and does not, or of which nobody knows: it cannot be reached, its
program is down, it was lost while it worked, it did not become healthy, it is drained. It does not matter why.

A host that is out already is worked on whatever the number, because that takes nothing away; neither does a host on
which the application never ran, which counts for nothing until it does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pinwheel.config import Rollout
from pinwheel.deploy.planning.outcome import Ending, Outcome, named
from pinwheel.errors import UsageError

AMOUNT = re.compile(r"0*[1-9][0-9]*|0*([1-9][0-9]?|100)%")
"""A number of hosts, or a share of them."""

RUNS = frozenset(
    {Ending.ACTIVATED, Ending.RESTARTED, Ending.UNCHANGED, Ending.REVERTED, Ending.TAKEN_BACK, Ending.STAYED}
)
"""How a host ends on which something runs that has passed its gate."""

LOST = frozenset({Ending.UNREACHABLE, Ending.UNKNOWN, Ending.UNHEALTHY, Ending.REMOVED})
"""How a host ends that is out of service afterwards, or of which nobody knows."""


@dataclass(frozen=True, slots=True)
class Service:
    """Who of a fleet of `size` hosts is in service: all but those that are `out`, and those where nothing ever ran
    (`idle`)."""

    size: int
    out: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()

    def serves(self, host: str) -> bool:
        return host not in self.out and host not in self.idle

    def after(self, outcomes: Iterable[Outcome]) -> Service:
        """The same once hosts have ended so."""
        out, idle = set(self.out), set(self.idle)
        for each in outcomes:
            if each.ending in RUNS:
                out.discard(each.host)
                idle.discard(each.host)
            if (each.ending in LOST or each.drained) and each.host not in idle:
                out.add(each.host)
        return Service(self.size, frozenset(out), frozenset(idle))

    def next_wave(self, waiting: Sequence[str], size: int, policy: Rollout) -> tuple[str, ...]:
        """At most `size` of the `waiting` hosts, in their order, that may be worked on now; () when none may."""
        room = most_unavailable(self.size, policy) - len(self.out)
        wave: list[str] = []
        for host in waiting:
            takes = self.serves(host)
            if len(wave) == size:
                break
            if not takes or room > 0:
                wave.append(host)
                room -= takes
        return tuple(wave)

    def full(self, policy: Rollout) -> str:
        """Why nobody else may be taken out of service, for a person."""
        are, most = "is" if len(self.out) == 1 else "are", most_unavailable(self.size, policy)
        return f"{named(sorted(self.out))} {are} out of service, and no more than {most} may be"


class Growing:
    """The sizes of batches: the canary's, then twice the one before, up to the largest."""

    def __init__(self, fleet: int, policy: Rollout) -> None:
        """Raises `UsageError`."""
        self._largest = batch_size(fleet, policy)
        self.size = min(policy.canary or self._largest, self._largest)

    def grow(self) -> None:
        self.size = min(self.size * 2, self._largest)


def waves(hosts: Sequence[str], policy: Rollout, service: Service) -> tuple[tuple[str, ...], ...]:
    """`hosts` cut into the batches that there will be when every one of them comes through. Those that may not be
    worked on, because too many are out of service already, are in none."""
    cut: list[tuple[str, ...]] = []
    left, growing = list(hosts), Growing(service.size, policy)
    while wave := service.next_wave(left, growing.size, policy):
        cut.append(wave)
        left = without(left, wave)
        service = service.after(Outcome(host, Ending.ACTIVATED) for host in wave)
        growing.grow()
    return tuple(cut)


def without(hosts: Sequence[str], some: Collection[str]) -> list[str]:
    """`hosts`, in their order, but for `some`."""
    return [each for each in hosts if each not in some]


def batch_size(fleet: int, policy: Rollout) -> int:
    """The most of `fleet` hosts that may be activated at once, at least 1; a share is rounded up.

    Raises `UsageError` for a policy that cannot be.
    """
    faults = {
        "batch": not AMOUNT.fullmatch(str(policy.batch)),
        "max_unavailable": not AMOUNT.fullmatch(str(policy.max_unavailable)),
        "canary": policy.canary < 0,
        "failure_budget": policy.failure_budget < 0,
    }
    wrong = next((key for key, fault in faults.items() if fault), None)
    if wrong:
        raise UsageError(
            f"{getattr(policy, wrong)!r} cannot be",
            where=f"rollout.{wrong}",
            remedy="write a number of hosts or a share (2 or 25%); at least one host must be allowed to be down",
        )
    return max(1, min(math.ceil(_amount(policy.batch, fleet)), most_unavailable(fleet, policy)))


def most_unavailable(fleet: int, policy: Rollout) -> int:
    """The most of `fleet` hosts that may be out of service, at least 1; a share is rounded down."""
    return max(1, math.floor(_amount(policy.max_unavailable, fleet)))


def _amount(value: int | str, fleet: int) -> Fraction:
    """A number of hosts, or a share of the `fleet`."""
    number, share, _ = str(value).partition("%")
    return Fraction(int(number) * fleet, 100) if share else Fraction(int(number))
