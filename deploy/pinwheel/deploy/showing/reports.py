"""Rollouts that are over, as people and scripts see them: rows, documents, and what to do now. Pure."""

from __future__ import annotations

from typing import Any

from pinwheel.deploy.planning.outcome import Ending, named, so_many
from pinwheel.deploy.planning.plan import Plan
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.showing import outcomes

COLUMNS = ("host", "outcome", "release", "reason")

TOUCHED = {Ending.ACTIVATED, Ending.RESTARTED, Ending.TAKEN_BACK, Ending.STAYED}
"""What a host cannot have ended as of which nothing was touched."""


def document(report: Report, plan: Plan) -> dict[str, Any]:
    return {
        "rollout": report.rollout,
        "act": plan.wish.act,
        "application": plan.wish.application,
        "version": plan.wish.version,
        "outcome": report.conclusion,
        "reason": report.reason,
        "hosts": [outcomes.document(each) for each in report.outcomes],
    }


def rows(report: Report) -> list[tuple[str, ...]]:
    return [(each.host, each.ending, each.release or "-", _short(outcomes.reason(each))) for each in report.outcomes]


def next_step(report: Report, plan: Plan, scope: str) -> str:
    """How it ended, and what to do now: a few sentences. `scope` is the environment and what it was limited to, as on
    the command line."""
    drained = [each.host for each in report.outcomes if each.drained]
    stayed = [each.host for each in report.outcomes if each.ending is Ending.STAYED]
    more = []
    if stayed:
        back = f"pinwheel deploy.rollback {plan.wish.application} --env {scope}"
        more.append(f"{named(stayed)} should have gone back and did not: {back}")
    if drained:
        it = "it is" if len(drained) == 1 else "they are"
        resume = f"pinwheel deploy.resume --env {scope} --application {plan.wish.application}"
        more.append(f"Still out of service: {named(drained)}. Once {it} healthy: {resume}")
    return ". ".join([_ending(report, plan, scope), *more])


def _ending(report: Report, plan: Plan, scope: str) -> str:
    again, look = _again(plan, scope), f"pinwheel deploy.status --env {scope}"
    match report.conclusion:
        case Conclusion.DONE:
            hosts = so_many(len(report.outcomes))
            if plan.wish.act == "restart":
                return f"done: {plan.wish.application} began anew on {hosts}"
            return f"done: {plan.wish.application} {plan.wish.version} runs on {hosts}"
        case Conclusion.FENCED:
            return f"stopped: {report.reason}. See who is at work: {look}"
        case Conclusion.INTERRUPTED:
            return f"stopped: {report.reason}. To go on: {again}"
        case Conclusion.FAILED:
            return f"not everywhere: {report.reason}. When these hosts are well again: {again}"
    endings = {each.ending for each in report.outcomes}
    taken = [each.host for each in report.outcomes if each.ending is Ending.TAKEN_BACK]
    reason = report.reason + (f"; {named(taken)} went back too" if taken else "")
    back = next((each for each in report.outcomes if each.ending in (Ending.REVERTED, Ending.REMOVED)), None)
    if Ending.UNHEALTHY in endings:
        todo = f"Look at that host first: {look}"
    elif back:
        todo = back.remedy[:1].upper() + back.remedy[1:]
    elif Ending.UNKNOWN in endings:
        todo = f"See how it ended there: {look}"
    else:
        rest = "" if endings & TOUCHED else "Nothing that runs was touched. "
        return f"halted: {reason}. {rest}Put that right, then: {again}"
    # what did not pass is not rolled out once more as it is, but it may be gone back to: it was good before
    return f"halted: {reason}. {todo}" + (f", then: {again}" if plan.wish.delivery is None else "")


def _again(plan: Plan, scope: str) -> str:
    """The command that goes on where this one stopped."""
    wish = plan.wish
    if wish.act == "restart":
        return f"pinwheel deploy.restart {wish.application} --env {scope}"
    if wish.act == "resume":
        return f"pinwheel deploy.resume --env {scope} --application {wish.application}"
    if wish.delivery is not None:
        return f"pinwheel deploy.rollout {wish.application}=={wish.version} --env {scope}"
    # of two locks of one version, the version alone would name the newer one
    locks = {each.current for each in plan.hosts if each.current and each.current.startswith(f"{wish.version}-")}
    to = wish.release if locks - {wish.release} else wish.version
    return f"pinwheel deploy.rollback {wish.application} --to {to} --env {scope}"


def _short(text: str, length: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"
