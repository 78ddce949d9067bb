"""How hosts end, and hosts in a sentence. Pure."""

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
    UNKNOWN = "unknown"  # lost or silent while it activated; the host finishes or reverts by itself
    SKIPPED = "skipped"  # the rollout stopped before its turn


GOOD = frozenset({Ending.READY, Ending.PREPARED, Ending.ACTIVATED, Ending.RESTARTED, Ending.UNCHANGED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """One host's ending. `reason` is one line; `remedy` what to do next; `shown` what a person should see of logs;
    `code` the runner's word for an error; `release` the one that runs now, as far as is known; `drained` why it was not
    put back into service, empty when it was, or nobody had taken it out; `removed` are paths below the root."""

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
    removed: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return self.ending in GOOD and not self.drained


def named(names: Sequence[str], at_most: int = 5) -> str:
    """Hosts in a sentence: all of a few, the first of many."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def so_many(number: int) -> str:
    """A number of hosts, in a sentence."""
    return "1 host" if number == 1 else f"{number} hosts"
