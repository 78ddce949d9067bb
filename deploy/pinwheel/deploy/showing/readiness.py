"""Hosts that are made ready, as people and scripts see it: what there is to do, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.readiness import Readied, Surveyed
from pinwheel.deploy.planning.steps import Survey

Found = Mapping[str, tuple[Survey, Surveyed] | Outcome]


def survey_lines(found: Found) -> list[str]:
    """What there is to do to make each host ready, and why."""
    lines: list[str] = []
    for name, each in found.items():
        if isinstance(each, Outcome):
            told = (("where", each.shown), ("remedy", each.remedy))
            lines += [f"{name}: {each.reason}", *(f"  {label}: {text}" for label, text in told if text)]
        else:
            work = each[1].work
            lines.append(f"{name}: {'to do' if work else 'nothing to do'}")
            lines += [f"  {one.what} ({one.why})" for one in work]
    return lines


def survey_notes(found: Found) -> list[str]:
    """What an operator should know of hosts, each once with the hosts that it is about."""
    notes: dict[str, list[str]] = {}
    for name, each in found.items():
        for note in () if isinstance(each, Outcome) else each[1].notes:
            notes.setdefault(note, []).append(name)
    return [f"{', '.join(names)}: {note}" for note, names in notes.items()]


def lines(done: Mapping[str, Readied | Outcome]) -> list[str]:
    """What has become of that."""
    lines: list[str] = []
    for name, each in done.items():
        if isinstance(each, Outcome):
            lines += [f"{name}: {each.reason}", *([f"  remedy: {each.remedy}"] if each.remedy else [])]
            continue
        lines.append(f"{name}: {'ready' if not each.lacks else 'not ready yet, it lacks'}")
        for lack in each.lacks:
            place = f" ({lack.where})" if lack.where not in ("", name) else ""
            lines.append(f"  {lack.what}: {lack.problem}{place}")
            lines += [f"    remedy: {lack.remedy}"] if lack.remedy else []
    return lines


def document(found: Found, done: Mapping[str, Readied | Outcome], environment: str) -> dict[str, Any]:
    """`done` is empty when it was only a question."""
    hosts: list[dict[str, Any]] = []
    for name, asked in found.items():
        became = asked if isinstance(asked, Outcome) else done.get(name)
        plan = () if isinstance(asked, Outcome) else asked[1].work
        lacks = became.lacks if isinstance(became, Readied) else ()
        hosts.append(
            {
                "name": name,
                "outcome": _readiness(became, bool(plan)),
                "reason": became.reason
                if isinstance(became, Outcome)
                else "; ".join(f"{each.what}: {each.problem}" for each in lacks),
                "remedy": became.remedy if isinstance(became, Outcome) else "",
                "plan": [{"what": each.what, "why": each.why} for each in plan],
                "changes": list(became.done) if isinstance(became, Readied) else [],
                "missing": [
                    {"what": each.what, "problem": each.problem, "where": each.where, "remedy": each.remedy}
                    for each in lacks
                ],
                "notes": [] if isinstance(asked, Outcome) else list(asked[1].notes),
            }
        )
    return {"environment": environment, "hosts": hosts}


def _readiness(became: Readied | Outcome | None, work: bool) -> str:
    """How a host stands after a bootstrap, or after the question (None) whether there is `work`."""
    if isinstance(became, Outcome):
        return became.ending
    lacking = became.lacks if became else work
    return "not ready" if lacking else Ending.READY
