"""Hosts taken out of service for their turn, and put back after it: whenever they are healthy, however it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

from pinwheel.deploy.planning.gate import Ending, Outcome
from pinwheel.deploy.planning.waves import RUNS

UNTOUCHED = frozenset({Ending.FAILED, Ending.SKIPPED})
"""How a host ends on which what ran before runs on, well or not."""

DOUBTFUL = frozenset({Ending.UNKNOWN, Ending.UNREACHABLE})
"""How a host ends of which nobody knows whether it is healthy."""

R = TypeVar("R")


class Traffic(Protocol):
    """What sends work to hosts; a load balancer, for instance. Both say what went wrong, "" when nothing did, and both
    may be asked about a host with which it is so already. Many threads may ask at once."""

    def drain(self, host: str) -> str: ...
    def undrain(self, host: str) -> str: ...


class Drains:
    """Who was taken out of service by us and is not back yet (`held`). `record` writes down ("drained" or "undrained",
    host): before the one and after the other, so that whoever comes after a crash knows whom to put back."""

    def __init__(self, traffic: Traffic | None, record: Callable[[str, str], None]) -> None:
        self._traffic = traffic
        self._record = record
        self.held: set[str] = set()

    def turn(self, host: str, serves: bool, work: Callable[[], R | Outcome]) -> R | Outcome:
        """Drain, `work`, undrain. `serves` says whether the host is in service before. An exception leaves it held."""
        if self._traffic is None:
            return work()
        self._record("drained", host)
        self.held.add(host)
        problem = self._traffic.drain(host)
        ended = Outcome(host, Ending.FAILED, f"it was not drained: {problem}") if problem else work()
        return self.ended(ended, serves) if isinstance(ended, Outcome) else ended

    def ended(self, outcome: Outcome, serves: bool) -> Outcome:
        """Put the host back, if it is healthy; else say that it was not."""
        if outcome.host not in self.held:
            return outcome
        if outcome.ending in RUNS or (outcome.ending in UNTOUCHED and serves):
            return replace(outcome, drained=self.put_back(outcome.host))
        doubtful = outcome.ending in DOUBTFUL
        return replace(outcome, drained="nobody knows whether it is healthy" if doubtful else "it is not healthy")

    def put_back(self, host: str) -> str:
        """Undrain the host; why it could not be done, "" when it was."""
        if self._traffic is None:
            return ""
        if problem := self._traffic.undrain(host):
            return f"undrain failed: {problem}"
        self.held.discard(host)
        self._record("undrained", host)
        return ""

    def seen(self, healthy: Collection[str], outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Put back those of `held` that were seen to be `healthy`, and correct their outcomes."""
        back = {host: self.put_back(host) for host in sorted(self.held & set(healthy))}
        return [replace(each, drained=back[each.host]) for each in outcomes if each.host in back]
