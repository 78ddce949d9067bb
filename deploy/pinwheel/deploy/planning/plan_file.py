"""A plan as a document, which a later rollout can be held to. Pure. It holds digests, and no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pinwheel.deploy.planning.outcome import named
from pinwheel.deploy.planning.plan import HostPlan, Plan
from pinwheel.errors import PinwheelError, UsageError

FORMAT = 1

Document = Mapping[str, Any]


class Moved(PinwheelError):
    """What was planned is not what would be done now; nothing was touched."""

    def __init__(self, differences: list[str], command: str) -> None:
        super().__init__(
            "the plan is not what would be done any more; nothing was touched",
            where="\n".join(differences),
            remedy=f"look at a new one: {command}",
        )


def document(plan: Plan, environment: str) -> dict[str, Any]:
    """Everything that decides what the plan does: the release, and for each host what runs there, its conf, how it
    shall be set up, and what is to be done."""
    return {
        "plan": FORMAT,
        "environment": environment,
        "application": plan.wish.application,
        "version": plan.wish.version,
        "release": plan.wish.release,
        "lock_sha256": plan.wish.lock_sha256,
        "commit": plan.wish.commit,
        "signer": plan.wish.signer,
        "changes": plan.changes,
        "waves": [list(wave) for wave in plan.waves],
        "tasks": [
            {"name": each.name, "when": each.when, "host": each.host, "so_far": each.so_far} for each in plan.tasks
        ],
        "hosts": [_host(plan, each) for each in plan.hosts],
        "blocked": [
            {"name": each.host, "outcome": each.ending, "reason": each.reason, "remedy": each.remedy}
            for each in plan.blocked
        ],
    }


def read(text: str, where: str) -> Document:
    """What `document` made. Raises `UsageError`."""
    try:
        found = json.loads(text)
        if found["plan"] != FORMAT:
            raise ValueError
        _ = [(each["name"], each["current"], each["setup_sha256"], each["activate"]) for each in found["hosts"]]
        _ = found["environment"], found["release"], _by_name(found), _order(found), _tasks(found)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "this is no plan of this version of pinwheel",
            where=where,
            remedy="make one: pinwheel deploy.plan APP==VER --env ENV --out FILE",
        ) from error
    return dict(found)


def hold(planned: Document, now: Document) -> None:
    """Raise `Moved` unless `now` does what was `planned`."""
    found = [
        f"{what} is {now[key]}, planned was {planned.get(key)}"
        for key, what in (
            ("environment", "the environment"),
            ("application", "the application"),
            ("release", "the release"),
            ("lock_sha256", "its lock"),
        )
        if now[key] != planned.get(key)
    ]
    if not found:
        found = _hosts_that_moved(planned, now)
    if not found and now["waves"] != planned["waves"]:
        found = [f"the order is {_order(now)}, planned was {_order(planned)}"]
    if not found and now["tasks"] != planned.get("tasks", []):
        found = [f"what runs once is {_tasks(now)}, planned was {_tasks(planned)}"]
    if found:
        raise Moved(
            found, f"pinwheel deploy.plan {now['application']}=={now['version']} --env {now['environment']} --out FILE"
        )


def _hosts_that_moved(planned: Document, now: Document) -> list[str]:
    before, after = _by_name(planned), _by_name(now)
    found = [
        f"{name}: the plan does not know it; it is new, or was not among those of --host and --group"
        for name in after
        if name not in before
    ]
    for name, then in before.items():
        here = after.get(name)
        if here is None:
            found.append(f"{name}: it is not among the hosts any more, or not among those of --host and --group")
        elif "reason" in here and "reason" not in then:
            found.append(f"{name}: {here['reason']}")
        elif "reason" in then and "reason" not in here:
            found.append(f"{name}: it can be worked on by now; planned was to leave it out")
        elif "reason" not in here:
            found += [f"{name}: {moved}" for moved in _moved(then, here)]
    return found


def _moved(then: Document, here: Document) -> list[str]:
    if here["current"] != then["current"]:
        return [f"it runs {here['current'] or 'nothing'}, planned was for {then['current'] or 'nothing'}"]
    moved = []
    if here["conf_sha256"] != then.get("conf_sha256"):
        moved.append("its conf on the host is another one")
    if here["setup_sha256"] != then["setup_sha256"]:
        moved.append("pinwheel.toml, or what its secrets are, sets it up otherwise")
    if not moved and here["activate"] != then["activate"]:
        moved.append("it would be activated" if here["activate"] else "it would not be activated")
    if more := {*here["removes"]} - {*then.get("removes", ())}:
        moved.append(f"{named(sorted(more))} would be removed")
    return moved


def _by_name(of: Document) -> dict[str, Document]:
    return {each["name"]: each for each in (*of["hosts"], *of["blocked"])}


def _order(of: Document) -> str:
    return " → ".join(named(wave) for wave in of["waves"]) or "nobody"


def _tasks(of: Document) -> str:
    told = [f"{each['name']} on {each['host']} ({each['so_far'] or 'new'})" for each in of.get("tasks", [])]
    return named(told) or "nothing"


def _host(plan: Plan, each: HostPlan) -> dict[str, Any]:
    setup = plan.wish.delivery.setups[each.host].sha256 if plan.wish.delivery else ""
    return {
        "name": each.host,
        "current": each.current,
        "wanted": each.wanted,
        "prepare": each.builds,
        "how": each.making.how,
        "how_why": each.making.why,
        "base": each.making.base,
        "shared": each.making.shared,
        "bytes": each.making.bytes,
        "removes": list(each.prepare.superfluous),
        "activate": each.activate is not None,
        "conf_sha256": each.conf_sha256,
        "setup_sha256": setup,
        "why": each.why,
    }
