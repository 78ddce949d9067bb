"""Every host at what should run by now, wherever it is not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import resumption
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.plan import Plan, plan
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.planning.resumption import Intent
from pinwheel.deploy.planning.wish import Wish
from pinwheel.deploy.rolling import compose
from pinwheel.deploy.rolling.operate import carried_out
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import PinwheelError


@dataclass(frozen=True, slots=True)
class Resumed:
    """What one application should be at, and what was done about it; `report` None when it was only asked."""

    intent: Intent
    plan: Plan
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Withheld:
    """An application that is left as it is while the others are resumed, and why."""

    application: str
    why: PinwheelError


def to_resume(session: Session, application: str, *, force: bool) -> list[Resumed | Withheld]:
    """What `resumed` would do. Changes nothing."""
    told, events = session.facts(), session.events()
    found = _resumptions(session, application, told, events, force=force)
    return [each if isinstance(each, Withheld) else Resumed(*each) for each in found]


def resumed(session: Session, application: str, *, force: bool) -> list[Resumed | Withheld]:
    """Bring `application` to what should run by now, wherever it does not, and put who is healthy back into service.
    When it is empty, each that was ever rolled out, and one that cannot be resumed keeps none of the others from it.

    Raises `Refused`, and of a named application `NothingToResume`, `NotAgain`.
    """
    with session.lease(application) as held:
        told, events = session.facts(), session.events()
        done: list[Resumed | Withheld] = []
        for found in _resumptions(session, application, told, events, force=force):
            if isinstance(found, Withheld):
                done.append(found)
                continue
            each, made = found
            session.watcher.said(f"{each.application} should be at {each.told}")
            drained = resumption.drained(each.application, events) & told.keys()
            made, report = carried_out(session, made, held, drained)
            done.append(Resumed(each, made, report))
            if report.exit_code and report.conclusion is not Conclusion.FAILED:
                break
        return done


def _resumptions(
    session: Session,
    application: str,
    told: Mapping[str, HostFacts | Outcome],
    events: resumption.Events,
    *,
    force: bool,
) -> Iterator[tuple[Intent, Plan] | Withheld]:
    if application:
        yield _resumption(session, application, told, events, force=force)
        return
    for name in resumption.applications(events):
        try:
            yield _resumption(session, name, told, events, force=force)
        except PinwheelError as error:
            yield Withheld(name, error)


def _resumption(
    session: Session, name: str, told: Mapping[str, HostFacts | Outcome], events: resumption.Events, *, force: bool
) -> tuple[Intent, Plan]:
    project = fleet.project(session.loaded.config, name)
    found = resumption.intent(name, events, told.values(), force=force)
    hosts: Collection[str]
    if found.back:
        wanted = Wish(name, project, found.version, found.release, None)
        hosts = session.placed(name)
    else:
        wanted, hosts = compose.wish(session, f"{name}=={found.version}")
        if wanted.release != found.release:
            raise resumption.lock_changed(found, wanted.release)
    if apart := resumption.apart(name, events) & told.keys():
        session.watcher.said(
            f"left alone, because the last rollout there was of some hosts only: {', '.join(sorted(apart))}"
        )
    mine = {host: each for host, each in told.items() if host in hosts and host not in apart}
    asked = mine if force else resumption.without_the_bad(wanted, mine)
    wanted = replace(resumption.left_alone(wanted, mine), act="resume")
    return found, plan(wanted, asked, session.environment.rollout)
