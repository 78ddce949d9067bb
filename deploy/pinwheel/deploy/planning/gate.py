"""The rollout's gate: whether it goes on after what has happened so far. Pure.

The gate of a single activation (is the program healthy?) is on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pinwheel.deploy.planning.outcome import Ending, Outcome, named


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
        return Halt(f"the canary {dead[0].host} {_was(dead[0])}")
    if len(bad) > failure_budget:
        allowed = f"the failure budget is {failure_budget}"
        return Halt(f"{named([each.host for each in bad])} did not come through; {allowed}")
    return Continue()


def _was(outcome: Outcome) -> str:
    match outcome.ending:
        case Ending.REVERTED:
            return "went back to its old release"
        case Ending.REMOVED:
            return "could not run it"
        case Ending.UNKNOWN:
            return "was lost while it worked"
        case _:
            return f"ended as {outcome.ending}{', and is out of service' if outcome.drained else ''}"
