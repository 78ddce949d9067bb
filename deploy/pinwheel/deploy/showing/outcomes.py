"""How hosts ended, as people and scripts see it. Pure."""

from __future__ import annotations

from typing import Any

from pinwheel.deploy.planning.outcome import Outcome


def document(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.host,
        "outcome": outcome.ending,
        "release": outcome.release,
        "reason": outcome.reason,
        "drained": outcome.drained,
        "seconds": outcome.seconds,
    }


def lines(outcome: Outcome) -> list[str]:
    """A host's ending, and what a person needs to see of it."""
    took = f" in {outcome.seconds:.1f} s" if outcome.seconds >= 0.05 else ""
    why = reason(outcome)
    shown = [f"  {outcome.host}: {outcome.ending}{took}{': ' if why else ''}{why}"]
    shown += [f"    | {line}" for line in outcome.shown.splitlines()]
    if outcome.remedy and not outcome.good:
        shown.append(f"    remedy: {outcome.remedy}")
    return shown


def one_line(outcome: Outcome) -> str:
    """Why a host did not say what it was asked, and what to do. Which file it is about stands first; not which address,
    because hosts with the same fault are shown as one."""
    file = outcome.shown.rpartition(": ")[2]
    about = [file] if file.startswith("/") and file not in outcome.reason else []
    return "; ".join(filter(None, [": ".join([*about, outcome.reason]), outcome.remedy]))


def reason(outcome: Outcome) -> str:
    drained = f"out of service: {outcome.drained}" if outcome.drained else ""
    return "; ".join(filter(None, [outcome.reason, drained]))
