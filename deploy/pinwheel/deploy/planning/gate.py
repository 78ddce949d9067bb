"""How steps ended, and the rollout's gate: whether it goes on. Pure.

The gate of a single activation (is the program healthy?) is on the host, in the runner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pinwheel.deploy.planning.facts import Process


class Ending(StrEnum):
    """How a host ended."""

    READY = "ready"  # bootstrap made it so, or it was
    PREPARED = "prepared"
    ACTIVATED = "activated"
    RESTARTED = "restarted"
    UNCHANGED = "unchanged"  # it was as wished before
    REVERTED = "reverted"  # the gate said no; what ran before runs again and passed its gate
    REMOVED = "removed"  # the gate said no; nothing ran before and nothing runs now
    UNHEALTHY = "revert-unhealthy"  # the gate said no, and what ran before is not healthy either
    TAKEN_BACK = "taken-back"  # it had come through, and went back because others did not
    STAYED = "stayed"  # it had come through, was to go back with the others, and could not: the new release runs on
    FAILED = "failed"  # nothing runs that did not run before
    UNREACHABLE = "unreachable"  # not asked, or not heard before anything could be touched
    UNKNOWN = "unknown"  # the connection died while it worked; the host finishes or reverts by itself
    SKIPPED = "skipped"  # the rollout stopped before its turn


GOOD = frozenset({Ending.READY, Ending.PREPARED, Ending.ACTIVATED, Ending.RESTARTED, Ending.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One host's ending. `reason` is one line; `remedy` what to do next; `shown` what a person should see of logs;
    `code` the runner's word for an error; `release` the one that runs now, as far as is known; `drained` why it was not
    put back into service, empty when it was, or nobody had taken it out."""

    host: str
    ending: Ending
    reason: str = ""
    remedy: str = ""
    release: str = ""
    shown: str = ""
    seconds: float = 0.0
    processes: tuple[Process, ...] = ()
    code: str = ""
    drained: str = ""

    @property
    def good(self) -> bool:
        return self.ending in GOOD and not self.drained


@dataclass(frozen=True, slots=True)
class Continue:
    """Start the next batch."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Start nothing more. `reason` is one line."""

    reason: str


def verdict(outcomes: Sequence[Outcome], failure_budget: int, canary: Sequence[str] = ()) -> Continue | Halt:
    """May the rollout go on after `outcomes`, everything that happened so far?

    A host that is worse than before stops it at once, and so does a canary that did not come through: finding that
    out is what the canary is for. Everything else counts against the budget.
    """
    worse = [each.host for each in outcomes if each.ending is Ending.UNHEALTHY]
    if worse:
        return Halt(f"{named(worse)} went back and is unhealthy")
    bad = [each for each in outcomes if not each.good]
    dead = [each for each in bad if each.host in canary]
    if dead:
        return Halt(f"the canary {dead[0].host} {_was(dead[0].ending)}")
    if len(bad) > failure_budget:
        allowed = f"the failure budget is {failure_budget}"
        return Halt(f"{named([each.host for each in bad])} did not come through; {allowed}")
    return Continue()


def _was(ending: Ending) -> str:
    match ending:
        case Ending.REVERTED:
            return "went back to its old release"
        case Ending.REMOVED:
            return "could not run it"
        case Ending.UNKNOWN:
            return "was lost while it worked"
        case _:
            return f"ended as {ending}"


def named(hosts: Sequence[str], at_most: int = 5) -> str:
    """Hosts in a sentence: all of a few, the first of many."""
    more = f" and {len(hosts) - at_most} more" if len(hosts) > at_most else ""
    return ", ".join(hosts[:at_most]) + more
