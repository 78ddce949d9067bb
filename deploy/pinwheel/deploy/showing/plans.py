"""Plans as people and scripts see them: rows, notes and documents. Pure."""

from __future__ import annotations

from typing import Any

from pinwheel.deploy.host.space import MIB
from pinwheel.deploy.planning import plan_file
from pinwheel.deploy.planning.making import How
from pinwheel.deploy.planning.outcome import named
from pinwheel.deploy.planning.plan import HostPlan, Plan, PlannedTask
from pinwheel.deploy.showing import outcomes

COLUMNS = ("host", "now", "wanted", "prepare", "activate", "why")


def document(plan: Plan, environment: str) -> dict[str, Any]:
    """What `deploy.rollout --plan` takes, and the conf diffs."""
    document = plan_file.document(plan, environment)
    for host, each in zip(document["hosts"], plan.hosts, strict=True):
        host["conf_diff"] = each.conf_diff
    return document


def exit_code(plan: Plan) -> int:
    """What a plan exits with: 1 when there is a host with which it cannot go on, 4 for changes, else 0."""
    return 1 if plan.blocked else 4 if plan.changes else 0


def rows(plan: Plan) -> list[tuple[str, ...]]:
    rows = [_plan_row(each) for each in plan.hosts]
    return rows + [(each.host, "?", plan.wish.release, "", "", outcomes.one_line(each)) for each in plan.blocked]


def notes(plan: Plan) -> list[str]:
    """What the table has no room for: the waves, and each conf diff once with the hosts that it is for."""
    notes = []
    if plan.waves:
        notes.append("order: " + " → ".join(", ".join(wave) for wave in plan.waves))
    have_turn = {host for wave in plan.waves for host in wave}
    if left := [each.host for each in plan.hosts if each.activate and each.host not in have_turn]:
        notes.append(f"no turn for {named(left)}: {plan.service.full(plan.policy)}")
    makings: dict[str, list[str]] = {}
    for each in plan.hosts:
        if each.builds:
            makings.setdefault(f"{each.making.how}: {each.making.why}", []).append(each.host)
    notes += [f"prepare {', '.join(hosts)} by {why}" for why, hosts in makings.items()]
    removals: dict[str, list[str]] = {}
    for each in plan.hosts:
        if each.prepare.superfluous:
            removals.setdefault(", ".join(each.prepare.superfluous), []).append(each.host)
    notes += [f"remove from {', '.join(hosts)}: {gone}" for gone, hosts in removals.items()]
    notes += [_task_note(each) for each in plan.tasks]
    diffs: dict[str, list[str]] = {}
    for each in plan.hosts:
        if each.conf_diff:
            diffs.setdefault(each.conf_diff, []).append(each.host)
    for diff, hosts in diffs.items():
        notes.append(f"conf on {', '.join(hosts)}:\n" + "\n".join(f"  {line}" for line in diff.splitlines()))
    return notes


def _task_note(task: PlannedTask) -> str:
    time = {"before": "before the first activation", "after": "after the last activation"}[task.when]
    so_far = {
        "": "",
        "failed": "; it failed there before",
        "running": "; it began there, and nobody knows how it ended",
    }
    return f"task {task.name}: once, on {task.host}, {time}{so_far[task.so_far]}"


def _plan_row(each: HostPlan) -> tuple[str, ...]:
    yes = {True: "yes", False: "-"}
    return (
        each.host,
        each.current or "-",
        each.wanted,
        _making(each),
        yes[each.activate is not None],
        each.why,
    )


def _making(each: HostPlan) -> str:
    """How the release comes to be there, and how much moves for that."""
    making = each.making
    if making.how is How.THERE:
        return "-"
    how = f"{making.how} of {making.base}" if making.how is How.CLONE else making.how
    deliver = "pushed" if each.prepare.deliver == "push" else "fetched"
    return f"{how}, {_size(making.bytes)} {deliver}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB" if size_bytes >= MIB / 10 else f"{-(-size_bytes // 1024)} KiB"
