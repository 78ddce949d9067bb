"""The operator's acts on a session; `commands` shows what they say."""

from __future__ import annotations

from dataclasses import replace

from pinwheel import config, pin
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import steps, supervisor_file
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.gate import Outcome
from pinwheel.deploy.planning.plan import Plan, earlier, plan
from pinwheel.deploy.planning.wish import Delivery, Setup, Wish, pins
from pinwheel.deploy.rolling import evidence, execute, fetch, lease
from pinwheel.deploy.rolling.execute import Report
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import from_config


def planned(session: Session, text: str) -> Plan:
    """The plan for `APP==VER`. Changes nothing, and is what `rolled_out` carries out."""
    return plan(_wish(session, text), session.facts(), session.environment.rollout)


def rolled_out(session: Session, text: str) -> tuple[Plan, Report]:
    """Take every host to `APP==VER`. Raises `Refused` when somebody else holds the environment."""
    wanted = _wish(session, text)
    with session.lease() as held:
        return _carried_out(session, plan(wanted, session.facts(), session.environment.rollout), held)


def rolled_back(session: Session, application: str, to: str) -> tuple[Plan, Report]:
    """Take every host back to the newest good release before the running one, or to `to`. Needs no lock: the hosts
    have kept all of it. Raises `Refused`, `plan.NothingToGoBackTo`, `PinwheelError` when no host answers."""
    project = fleet.application(session.loaded.config, application).project or application
    with session.lease() as held:
        told = session.facts()
        away = [each for each in told.values() if isinstance(each, Outcome)]
        if len(away) == len(told):
            reasons = "\n".join(f"{each.host}: {each.reason}" for each in away)
            raise PinwheelError("no host answers", where=reasons, remedy=away[0].remedy)
        found = earlier(application, [each for each in told.values() if isinstance(each, HostFacts)], to)
        wanted = Wish(application, project, found.version, found.release, None, found.lock_sha256)
        return _carried_out(session, plan(wanted, told, session.environment.rollout), held)


def bootstrapped(session: Session, *, check: bool) -> dict[str, tuple[str, ...] | Outcome]:
    """By host what was changed, or with `check` what would be; () for a host that was ready."""
    if check:
        return {name: told if isinstance(told, Outcome) else told.missing for name, told in session.facts().items()}
    with session.lease() as held:
        told = session.facts()
        bare = [each for each in told.values() if isinstance(each, HostFacts) and not each.ready]
        done: dict[str, tuple[str, ...] | Outcome] = {
            name: each if isinstance(each, Outcome) else () for name, each in told.items()
        }
        if not bare:
            return done
        uv = session.client.files("uv")
        supervisor = ""
        if any(each.layout.supervisor_from == "index" for each in session.targets):
            supervisor = fetch.supervisor_requirements(session.client.files("supervisor"))
        wanted = [
            steps.Bootstrap(each.host, session.as_hosts_see(fetch.uv_wheel(uv, each.machine, each.libc)), supervisor)
            for each in bare
        ]
        context = replace(session.context, index_url=session.index_for_hosts())
        session.watcher.phase(f"make ready {', '.join(each.host for each in bare)}")
        return done | execute.bootstrap(session.pool(context), wanted, held, session.ledger, session.watcher, context)


def history(name: str, limit: int) -> list[dict[str, object]]:
    """The last `limit` events of the environment, oldest first."""
    loaded = config.load()
    fleet.environment(loaded.config, name)
    client = from_config(loaded)
    found: list[dict[str, object]] = []
    while page := client.events(after=int(str(found[-1]["serial"])) if found else 0, environment=name):
        found += page
    return found[-limit:]


def _carried_out(session: Session, made: Plan, held: lease.Held[lease.Granted]) -> tuple[Plan, Report]:
    context = session.context
    if made.changes:
        if any(each.builds for each in made.hosts):
            context = replace(context, index_url=session.index_for_hosts())
    elif not made.blocked:
        outcomes = tuple(execute.unchanged(each) for each in made.hosts)
        return made, Report(session.rollout, execute.Conclusion.DONE, "", outcomes, 0)
    hooks = session.hooks(made.wish.application, made.wish.version)
    hooks.before()
    report = execute.rollout(
        made,
        session.pool(context),
        held,
        session.announced(),
        session.watcher,
        context,
        session.stop,
        hooks if session.environment.hooks.drain else None,
    )
    if problem := hooks.after(report.conclusion):
        session.watcher.said(f"the command after the rollout failed: {problem}")
    return made, report


def _wish(session: Session, text: str) -> Wish:
    name, wanted = pin.parse(text)
    application = fleet.application(session.loaded.config, name)
    project = application.project or name
    found = fetch.locked(session.client, project, str(wanted))
    lock, version = found.lock, found.version
    level, judge = evidence.demanded(session.loaded, session.name)
    origin = evidence.Origin(found.commit)
    if level != "no":
        origin = evidence.require(session.client, project, pins(lock.requirements), judge)
    session.hooks(name, version)  # a template that cannot be filled in is an error now
    try:
        setups = {
            target.name: Setup(
                supervisor_file.conf(name, application, target, lock.release, version),
                supervisor_file.programs(name, application, target, lock.release, version),
            )
            for target in session.targets
        }
    except UsageError as error:
        raise UsageError(error.problem, where=session.loaded.place(error.where), remedy=error.remedy) from error
    return Wish(
        application=name,
        project=project,
        version=version,
        release=lock.release,
        delivery=Delivery(setups, lock.requirements, lock.space_bytes),
        lock_sha256=lock.sha256,
        commit=origin.commit,
        signer=origin.signer,
    )
