"""Hosts taken out of service for their turn, and put back after it: whenever they are healthy, however it ended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol, TypeVar

from pinwheel.deploy.planning.outcome import Ending, Outcome
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
    """Who was taken out of service and is not back yet: `held`, with the reason, empty while nobody has looked.

    `record` writes down ("drained" or "undrained", host): before the one and after the other, so that whoever comes
    after a crash knows whom to put back.
    """

    def __init__(
        self, traffic: Traffic | None, record: Callable[[str, str], None], held: Collection[str] = frozenset()
    ) -> None:
        self._traffic = traffic
        self._record = record
        self.held = dict.fromkeys(held, "")

    def turn(self, host: str, serves: bool, work: Callable[[], R | Outcome]) -> R | Outcome:
        """Drain, `work`, undrain. `serves` says whether the host is in service before. An exception leaves it held."""
        if self._traffic is None:
            return work()
        self._record("drained", host)
        self.held[host] = ""
        problem = self._traffic.drain(host)
        ended = Outcome(host, Ending.FAILED, f"it was not drained: {problem}") if problem else work()
        return self.ended(ended, serves) if isinstance(ended, Outcome) else ended

    def ended(self, outcome: Outcome, serves: bool) -> Outcome:
        """Put a host that is held back, if it is healthy; else say that it was not."""
        if outcome.host not in self.held:
            return outcome
        well = outcome.ending in RUNS or (outcome.ending in UNTOUCHED and serves)
        self.seen(outcome.host, well if outcome.ending not in DOUBTFUL else None)
        return replace(outcome, drained=self.held.get(outcome.host, ""))

    def seen(self, host: str, healthy: bool | None) -> None:
        """Put back a host that was seen to be healthy; None when nobody knows."""
        if healthy and self._traffic is not None:
            if problem := self._traffic.undrain(host):
                self.held[host] = f"undrain failed: {problem}"
            else:
                del self.held[host]
                self._record("undrained", host)
        elif healthy:
            self.held[host] = "the environment has no command for it any more"
        else:
            self.held[host] = "it is not healthy" if healthy is False else "nobody knows whether it is healthy"
