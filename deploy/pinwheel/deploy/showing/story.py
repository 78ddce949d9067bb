"""What was done to an environment, from the events of the ledger: one line for each rollout. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pinwheel.deploy.showing.status import duration

Event = Mapping[str, Any]

COLUMNS = ("when", "rollout", "what", "application", "version", "outcome", "hosts", "took", "by")
EVENT_COLUMNS = ("when", "what", "application", "version", "host", "outcome", "took", "by")
KINDS = ("rollout-started", "rollout-finished", "unlocked", "ran")
"""The events that tell how rollouts went, and what else people did."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One rollout (rollback, restart), or an environment that was taken from somebody. `outcome` is `unfinished` when
    nobody has said how it ended: it is under way, or who did it was cut off. `hosts` counts them by their ending."""

    rollout: str
    at: str
    act: str
    application: str
    version: str
    outcome: str
    reason: str
    seconds: float | None
    by: str
    hosts: Mapping[str, int] = field(default_factory=dict)


def chapters(events: Sequence[Event]) -> list[Chapter]:
    """One for each rollout of `events` (of `KINDS`), in the order in which they were started."""
    begun: dict[str, Event] = {}
    ended: dict[str, Event] = {}
    ran: dict[str, list[Event]] = {}
    found: list[Chapter | str] = []
    for event in sorted(events, key=lambda each: each["serial"]):
        if event["kind"] == "rollout-finished":
            ended[event["rollout"]] = event
        elif event["kind"] == "rollout-started":
            begun[event["rollout"]] = event
            found.append(event["rollout"])
        elif event["kind"] == "ran":
            found += [] if event["rollout"] in ran else [event["rollout"]]
            ran.setdefault(event["rollout"], []).append(event)
        else:
            taken = f"taken from {event['detail'].get('owner', 'somebody')}"
            about = (event["rollout"], event["at"], "unlock", "", "", str(event["outcome"]))
            found.append(Chapter(*about, taken, None, event["actor"]))
    told = {each: _command(commands) for each, commands in ran.items()}
    told |= {each: _chapter(event, ended.get(each)) for each, event in begun.items()}
    return [each if isinstance(each, Chapter) else told[each] for each in found]


def _command(events: Sequence[Event]) -> Chapter:
    """A command that a person ran on hosts, one event for each."""
    first, counts = events[0], Counter(str(each["outcome"]) for each in events)
    outcome = "ok" if set(counts) == {"ok"} else "failed"
    about = (
        first["rollout"],
        first["at"],
        "run",
        first["subject"],
        "",
        outcome,
        str(first["detail"].get("reason", "")),
    )
    return Chapter(*about, None, first["actor"], counts)


def document(told: Sequence[Chapter], environment: str) -> dict[str, Any]:
    rollouts = [
        {
            "rollout": each.rollout,
            "at": each.at,
            "act": each.act,
            "application": each.application,
            "version": each.version,
            "outcome": each.outcome,
            "reason": each.reason,
            "seconds": each.seconds,
            "by": each.by,
            "hosts": dict(each.hosts),
        }
        for each in told
    ]
    return {"environment": environment, "rollouts": rollouts}


def rows(told: Sequence[Chapter]) -> list[tuple[str, ...]]:
    return [
        (
            _second(each.at),
            each.rollout,
            each.act,
            each.application,
            each.version,
            each.outcome,
            ", ".join(f"{number} {ending}" for ending, number in each.hosts.items()) or each.reason,
            "" if each.seconds is None else duration(each.seconds),
            each.by,
        )
        for each in told
    ]


def event_rows(events: Sequence[Event]) -> list[tuple[str, ...]]:
    """The events of one rollout."""
    keys = ("kind", "subject", "version", "host", "outcome")
    found = []
    for event in events:
        detail = event.get("detail") or {}
        took = f"{detail['seconds']:.1f} s" if "seconds" in detail else ""
        cells = [str(event.get(key, "")) for key in keys]
        if detail.get("reason"):
            cells[-1] += f": {' '.join(str(detail['reason']).split())}"
        found.append((_second(str(event.get("at", ""))), *cells, took, str(event.get("actor", ""))))
    return found


def _chapter(begun: Event, ended: Event | None) -> Chapter:
    detail = ended["detail"] if ended else {}
    took = datetime.fromisoformat(ended["at"]) - datetime.fromisoformat(begun["at"]) if ended else None
    return Chapter(
        rollout=begun["rollout"],
        at=begun["at"],
        act=begun["detail"].get("act", "rollout"),
        application=begun["subject"],
        version=begun["version"],
        outcome=("done" if ended["outcome"] == "ok" else ended["outcome"]) if ended else "unfinished",
        reason=detail.get("reason", ""),
        seconds=took.total_seconds() if took else None,
        by=begun["actor"],
        hosts=detail.get("hosts", {}),
    )


def _second(at: str) -> str:
    """`at` without what is smaller than a second, in UTC."""
    return f"{at[:19]}Z" if len(at) > 19 else at
