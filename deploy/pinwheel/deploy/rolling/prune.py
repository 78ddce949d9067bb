"""Remove from hosts what nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import steps
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.surplus import surplus
from pinwheel.deploy.rolling.pool import Fence
from pinwheel.deploy.rolling.session import Session

ALL = "all"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is gone from a host, or would be: paths below its root, and bytes on its disk. `kept` has the releases that
    were to go and are in use, each with the reason."""

    host: str
    removed: tuple[str, ...]
    kept: Mapping[str, str]
    bytes: int


Ends = dict[str, Pruned | Outcome]


def pruned(session: Session, application: str, *, keep: int, check: bool) -> Ends:
    """Remove what nobody needs of `application`, or of `ALL` that there are; with `check` only say what it would be.

    By host. Raises `Refused` when somebody else holds the environment, and `UsageError`.
    """
    named = "" if application == ALL else application
    if named:
        fleet.application(session.loaded.config, named)
    if check:
        told = session.facts()
        return _asked(session, _wanted(told, application, keep, check=True), None, told)
    with session.lease(named) as held:
        told = session.facts()
        session.watcher.phase(f"prune {len(told)} hosts")
        return _asked(session, _wanted(told, application, keep, check=False), held, told, application)


def _wanted(
    told: Mapping[str, HostFacts | Outcome], application: str, keep: int, *, check: bool
) -> list[steps.Prune | steps.Weigh]:
    ready = [each for each in told.values() if isinstance(each, HostFacts) and each.ready]
    names = sorted({name for each in ready for name in each.applications}) if application == ALL else [application]
    superfluous = {name: surplus(name, ready, keep) for name in names}
    of = {each.host: {name: superfluous[name][each.host] for name in names} for each in ready}
    return [steps.Weigh(host, mine, True) if check else steps.Prune(host, mine, True) for host, mine in of.items()]


def _asked(
    session: Session,
    wanted: Sequence[steps.Prune | steps.Weigh],
    held: Fence | None,
    told: Mapping[str, HostFacts | Outcome],
    application: str = "",
) -> Ends:
    ends: Ends = {name: each for name, each in told.items() if isinstance(each, Outcome)}
    for end in session.pool().each(wanted, held.token if held else None, _pruned):
        ends[end.host] = end
        if held and isinstance(end, Pruned) and end.removed:
            session.ledger.append(
                "pruned",
                "" if application == ALL else application,
                environment=session.name,
                host=end.host,
                rollout=session.rollout,
                detail={"removed": list(end.removed), "bytes": end.bytes},
            )
    return {each.name: ends[each.name] for each in session.targets if each.name in ends}


def _pruned(host: str, result: Mapping[str, Any]) -> Pruned:
    return Pruned(host, tuple(result["removed"]), dict(result["kept"]), int(result["bytes"]))
