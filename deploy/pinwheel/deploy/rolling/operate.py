"""The acts that change what runs, on a session: roll out, roll back, restart. `commands` shows what they say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import plan_file
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.plan import Plan, plan
from pinwheel.deploy.planning.releases import earlier
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.planning.restart import restart
from pinwheel.deploy.planning.wish import Wish
from pinwheel.deploy.reaching.hosts import Files
from pinwheel.deploy.rolling import compose, execute, programs
from pinwheel.deploy.rolling.chronicle import Chronicle
from pinwheel.deploy.rolling.pool import Fence
from pinwheel.deploy.rolling.session import Session
from pinwheel.deploy.rolling.stop import Interrupted
from pinwheel.deploy.rolling.tasks import Tasks
from pinwheel.errors import PinwheelError


def planned(session: Session, text: str) -> Plan:
    """The plan for `APP==VER`. Changes nothing, and is what `rolled_out` carries out."""
    wanted, hosts = compose.wish(session, text)
    return _plan(session, wanted, session.facts(hosts))


def rolled_out(
    session: Session,
    text: str,
    planned_before: plan_file.Document | None = None,
    task_modes: Mapping[str, str] | None = None,
) -> tuple[Plan, Report]:
    """Take every host to `APP==VER`, by exactly the plan that was made before, if there is one. `task_modes` says of
    tasks whether they are to run again, or are done.

    Raises `Refused` when somebody else holds the environment, `plan_file.Moved`."""
    wanted, hosts = compose.wish(session, text)
    session.task_modes = task_modes or {}
    compose.check_tasks(session.task_modes, wanted)
    with session.lease(wanted.application) as held:
        made = _plan(session, wanted, session.facts(hosts))
        if planned_before is not None:
            plan_file.hold(planned_before, plan_file.document(made, session.name))
        for name in sorted(session.task_modes.keys() - {each.name for each in made.tasks}):
            session.watcher.said(f"the task {name} is not due: it is done, or nothing is to be activated")
        return carried_out(session, made, held)


def _plan(session: Session, wanted: Wish, told: Mapping[str, HostFacts | Outcome]) -> Plan:
    return plan(wanted, told, session.environment.rollout, session.environment.keep)


def rolled_back(session: Session, application: str, to: str) -> tuple[Plan, Report]:
    """Take every host back to the newest good release before the running one, or to `to`. Needs no lock: the hosts
    have kept all of it. Raises `Refused`, `releases.NothingToGoBackTo`, `PinwheelError` when no host answers."""
    project, hosts = fleet.project(session.loaded.config, application), session.placed(application)
    with session.lease(application) as held:
        told = _answering(session, hosts)
        found = earlier(application, [each for each in told.values() if isinstance(each, HostFacts)], to)
        wanted = Wish(application, project, found.version, found.release, None, found.lock_sha256, act="rollback")
        return carried_out(session, plan(wanted, told, session.environment.rollout), held)


def restarted(session: Session, application: str, program: str) -> tuple[Plan, Report]:
    """Start the application again, or one program of it, on every host that runs it, in waves as a rollout does.

    Raises `Refused`, `restart.NothingRuns`, `UsageError`, `PinwheelError` when no host answers.
    """
    configured = fleet.application(session.loaded.config, application)
    project, named = configured.project or application, programs.named(session, application, configured, program)
    with session.lease(application) as held:
        told = _answering(session, session.placed(application))
        made = restart(application, project, told, session.environment.rollout, named)
        return carried_out(session, made, held)


def _answering(session: Session, hosts: Collection[str]) -> dict[str, HostFacts | Outcome]:
    """What `hosts` say, if any of them says something. Raises `PinwheelError`."""
    told = session.facts(hosts)
    away = [each for each in told.values() if isinstance(each, Outcome)]
    if len(away) == len(told):
        reasons = "\n".join(f"{each.host}: {each.reason}" for each in away)
        raise PinwheelError("no host answers", where=reasons, remedy=away[0].remedy)
    return told


def carried_out(
    session: Session, made: Plan, held: Fence, drained: Collection[str] = frozenset()
) -> tuple[Plan, Report]:
    """Do what the plan says, with the operator's commands around it, and put who was `drained` before back into
    service; nothing at all when neither has anything to do."""
    if not made.changes and not made.blocked and not drained:
        return made, _unchanged(session, made)
    context = session.context
    if any(each.builds for each in made.hosts):
        context = replace(context, index_url=session.index_for_hosts(), files=_files(session, made))
    hooks = session.hooks(made.wish.application, made.wish.version)
    hooks.before()
    pool, ledger = session.pool(context), session.announced()
    traffic = hooks if session.environment.hooks.drain else None
    once = Tasks(made, pool, held, ledger)
    report = execute.rollout(made, pool, held, ledger, traffic=traffic, drained=drained, once=once)
    if problem := hooks.after(report.conclusion):
        session.watcher.said(f"the command after the rollout failed: {problem}")
    return made, report


def _unchanged(session: Session, made: Plan) -> Report:
    """The end of what finds every host as wished."""
    outcomes = tuple(execute.unchanged(each) for each in made.hosts)
    if made.wish.act != "resume":  # what hosts should run is known from now on, also where they do
        chronicle = Chronicle(made, session.ledger, session.context)
        chronicle.started()
        chronicle.finished(Conclusion.DONE, "", outcomes, ())
    return Report(session.rollout, Conclusion.DONE, "", outcomes, 0)


def _files(session: Session, made: Plan) -> Files:
    """For hosts that are sent their wheels: those that move are fetched now, while nothing has been touched yet. What
    a host wants beyond the plan (what it has turned out to be damaged) is fetched when it asks."""
    delivery = made.wish.delivery
    house = session.wheelhouse(
        {wheel.sha256: each.name for each in (delivery.packages if delivery else ()) for wheel in each.wheels}
    )
    if session.environment.deliver == "push":
        moving = {wheel.sha256: wheel for host in made.hosts for wheel in host.making.moving}
        for number, wheel in enumerate(moving.values(), 1):
            if session.stop.is_set():
                raise Interrupted(session.stop)
            session.watcher.phase(f"fetch {wheel.filename} for the hosts ({number} of {len(moving)})")
            house.file(wheel.sha256)
    return house.file
