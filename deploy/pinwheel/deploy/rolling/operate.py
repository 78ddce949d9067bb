"""The operator's acts on a session; `commands` shows what they say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from pinwheel import pin
from pinwheel.deploy.inventory import fleet, settings
from pinwheel.deploy.planning import plan_file, resumption, steps, supervisor_file
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.gate import Ending, Outcome
from pinwheel.deploy.planning.plan import Plan, earlier, plan
from pinwheel.deploy.planning.readiness import Readied, Surveyed
from pinwheel.deploy.planning.restart import restart
from pinwheel.deploy.planning.resumption import Intent
from pinwheel.deploy.planning.wish import Delivery, Wish
from pinwheel.deploy.reaching.hosts import Files
from pinwheel.deploy.rolling import execute, fetch, lease, prune, secret_sources
from pinwheel.deploy.rolling.execute import Report
from pinwheel.deploy.rolling.session import Interrupted, Session
from pinwheel.deploy.rolling.tasks import Tasks
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexFile


def planned(session: Session, text: str) -> Plan:
    """The plan for `APP==VER`. Changes nothing, and is what `rolled_out` carries out."""
    wanted, hosts = _wish(session, text)
    return plan(wanted, session.facts(hosts), session.environment.rollout)


def rolled_out(
    session: Session,
    text: str,
    planned_before: plan_file.Document | None = None,
    task_modes: Mapping[str, str] | None = None,
) -> tuple[Plan, Report]:
    """Take every host to `APP==VER`, by exactly the plan that was made before, if there is one. `task_modes` says of
    tasks whether they are to run again, or are done.

    Raises `Refused` when somebody else holds the environment, `plan_file.Moved`."""
    wanted, hosts = _wish(session, text)
    session.task_modes = task_modes or {}
    _check_tasks(session, wanted)
    with session.lease(wanted.application, wanted.project) as held:
        told = session.facts(hosts)
        made = plan(wanted, told, session.environment.rollout)
        if planned_before is not None:
            plan_file.hold(planned_before, plan_file.document(made, session.name))
        made, report = _carried_out(session, made, held)
        if made.changes and report.conclusion is execute.Conclusion.DONE:
            prune.tidied(session, made, told, held)
        return made, report


def rolled_back(session: Session, application: str, to: str) -> tuple[Plan, Report]:
    """Take every host back to the newest good release before the running one, or to `to`. Needs no lock: the hosts
    have kept all of it. Raises `Refused`, `plan.NothingToGoBackTo`, `PinwheelError` when no host answers."""
    known = fleet.application(session.loaded.config, application)
    project, hosts = known.project or application, session.placed(application, known)
    with session.lease(application, project) as held:
        told = _answering(session, hosts)
        found = earlier(application, [each for each in told.values() if isinstance(each, HostFacts)], to)
        wanted = Wish(application, project, found.version, found.release, None, found.lock_sha256, act="rollback")
        return _carried_out(session, plan(wanted, told, session.environment.rollout), held)


def restarted(session: Session, application: str, program: str) -> tuple[Plan, Report]:
    """Start the application again, or one program of it, on every host that runs it, in waves as a rollout does.

    Raises `Refused`, `restart.NothingRuns`, `UsageError`, `PinwheelError` when no host answers.
    """
    configured = fleet.application(session.loaded.config, application)
    project = configured.project or application
    if program and program.removeprefix(f"{application}-") not in configured.programs:
        known = ", ".join(configured.programs)
        raise UsageError(f"{application} has no program {program}", where="--program", remedy=f"name one of {known}")
    with session.lease(application, project) as held:
        hosts = session.placed(application, configured)
        made = restart(application, project, _answering(session, hosts), session.environment.rollout, program)
        return _carried_out(session, made, held)


@dataclass(frozen=True, slots=True)
class Resumed:
    """What one application should be at, and what was done about it; `report` None when it was only asked."""

    intent: Intent
    plan: Plan
    report: Report | None = None


def to_resume(session: Session, application: str, *, force: bool) -> list[Resumed]:
    """What `resumed` would do. Changes nothing."""
    told, events = session.facts(), session.events()
    return [Resumed(each, made) for each, made in _resumptions(session, application, told, events, force=force)]


def resumed(session: Session, application: str, *, force: bool) -> list[Resumed]:
    """Bring `application` (empty: each that was ever rolled out) to what should run by now, wherever it does not, and
    put back into service whoever is healthy. Raises `Refused`, `NothingToResume`, `NotAgain`."""
    projects: tuple[str, ...] = ()  # all
    if application:
        projects = (application, fleet.application(session.loaded.config, application).project or application)
    with session.lease(*projects) as held:
        told, events = session.facts(), session.events()
        done = []
        for each, made in _resumptions(session, application, told, events, force=force):
            session.watcher.said(f"{each.application} should be at {each.told}")
            drained = resumption.drained(each.application, events) & told.keys()
            made, report = _carried_out(session, made, held, drained)
            done.append(Resumed(each, made, report))
            if report.exit_code and report.conclusion is not execute.Conclusion.FAILED:
                break
        return done


def surveyed(session: Session) -> dict[str, tuple[steps.Survey, Surveyed] | Outcome]:
    """By host what there is to do to make it ready, with the step that found it out. Changes nothing."""
    told = session.facts()
    offered, supervisor = session.client.files("uv"), _supervisor(session)
    found: dict[str, tuple[steps.Survey, Surveyed] | Outcome] = {}
    wanted: dict[str, steps.Survey] = {}
    for target in session.targets:
        match told[target.name]:
            case Outcome() as outcome:
                found[target.name] = outcome
            case HostFacts(host=host, machine=machine, libc=libc, pip=pip):
                try:
                    uv = fetch.uv_wheel(offered, machine, libc)
                except fetch.NotInTheIndex as error:
                    if not pip:
                        found[host] = Outcome(host, Ending.FAILED, error.problem, error.remedy, shown=target.where)
                        continue
                    session.watcher.said(f"{host} has to do with pip: {error.problem}")
                    uv = None
                users = fleet.users(session.loaded.config.applications, target)
                wheels = tuple({"filename": each.filename, "sha256": each.sha256} for each in supervisor)
                wheel = session.as_hosts_see(uv) if uv else None
                wanted[host] = steps.Survey(
                    host, wheel, fetch.requirements(supervisor), users, wheels, session.environment.deliver
                )
    for host, answer in execute.survey(session.pool(session.context), [*wanted.values()]).items():
        found[host] = answer if isinstance(answer, Outcome) else (wanted[host], answer)
    return {each.name: found[each.name] for each in session.targets}


def bootstrapped(
    session: Session, found: Mapping[str, tuple[steps.Survey, Surveyed] | Outcome]
) -> dict[str, Readied | Outcome]:
    """Do what the survey found, where it found anything. Raises `Refused` when somebody else holds the environment."""
    wanted = [
        steps.Bootstrap(
            survey.host, survey.uv, survey.supervisor_requirements, survey.users, survey.wheels, survey.deliver
        )
        for each in found.values()
        if not isinstance(each, Outcome)
        for survey, told in [each]
        if told.work
    ]
    if not wanted:
        return {}
    with session.lease() as held:
        projects = {each.uv["sha256"]: "uv" for each in wanted if each.uv}
        projects |= {file["sha256"]: "supervisor" for each in wanted for file in each.wheels}
        files = session.wheelhouse(projects).file
        context = replace(session.context, index_url=session.index_for_hosts(), files=files)
        session.watcher.phase(f"make ready {', '.join(each.host for each in wanted)}")
        return execute.bootstrap(session.pool(context), wanted, held, session.ledger, session.watcher, context)


def _answering(session: Session, hosts: Collection[str]) -> dict[str, HostFacts | Outcome]:
    """What `hosts` say, if any of them says something. Raises `PinwheelError`."""
    told = session.facts(hosts)
    away = [each for each in told.values() if isinstance(each, Outcome)]
    if len(away) == len(told):
        reasons = "\n".join(f"{each.host}: {each.reason}" for each in away)
        raise PinwheelError("no host answers", where=reasons, remedy=away[0].remedy)
    return told


def _resumptions(
    session: Session,
    application: str,
    told: Mapping[str, HostFacts | Outcome],
    events: resumption.Events,
    *,
    force: bool,
) -> Iterator[tuple[Intent, Plan]]:
    names = (application,) if application else resumption.applications(events)
    for name in names:
        known = fleet.application(session.loaded.config, name)
        found = resumption.intent(name, events, told.values(), force=force)
        hosts: Collection[str]
        if found.back:
            wanted = Wish(name, known.project or name, found.version, found.release, None)
            hosts = session.placed(name, known)
        else:
            wanted, hosts = _wish(session, f"{name}=={found.version}")
            if wanted.release != found.release:
                raise resumption.lock_changed(found, wanted.release)
        if apart := resumption.apart(name, events) & told.keys():
            session.watcher.said(
                f"left alone, because the last rollout there was of some hosts only: {', '.join(sorted(apart))}"
            )
        mine = {host: each for host, each in told.items() if host in hosts and host not in apart}
        asked = mine if force else resumption.without_the_bad(wanted, mine)
        wanted = replace(resumption.left_alone(wanted, mine), act="resume")
        yield found, plan(wanted, asked, session.environment.rollout)


def _carried_out(
    session: Session, made: Plan, held: lease.Held[lease.Granted], drained: Collection[str] = frozenset()
) -> tuple[Plan, Report]:
    context = session.context
    if made.changes:
        if any(each.builds for each in made.hosts):
            context = replace(context, index_url=session.index_for_hosts(), files=_files(session, made))
    elif not made.blocked and not drained:
        outcomes = tuple(execute.unchanged(each) for each in made.hosts)
        return made, Report(session.rollout, execute.Conclusion.DONE, "", outcomes, 0)
    hooks = session.hooks(made.wish.application, made.wish.version)
    hooks.before()
    pool, ledger = session.pool(context), session.announced()
    report = execute.rollout(
        made,
        pool,
        held,
        ledger,
        session.watcher,
        context,
        session.stop,
        hooks if session.environment.hooks.drain else None,
        drained,
        Tasks(made, pool, held, ledger, session.watcher, context),
    )
    if problem := hooks.after(report.conclusion):
        session.watcher.said(f"the command after the rollout failed: {problem}")
    return made, report


def _check_tasks(session: Session, wanted: Wish) -> None:
    """Refuse words about tasks that there are not. Raises `UsageError`."""
    delivery = wanted.delivery
    known = {task.name for setup in delivery.setups.values() for task in setup.tasks} if delivery else set()
    for name in sorted({*session.task_modes} - known):
        known_text = ", ".join(sorted(known)) or "none"
        raise UsageError(f"there is no task {name!r}", where="--task-done, --task-again", remedy=f"known: {known_text}")


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


def _supervisor(session: Session) -> list[IndexFile]:
    """What hosts without a supervisor of their own install; nothing when the index has none. Raises `NotInTheIndex`
    when there are hosts that are to have the index's in any case."""
    sources = {each.layout.supervisor_from for each in session.targets}
    if sources == {"host"}:
        return []
    try:
        return [fetch.supervisor_wheel(session.client.files("supervisor"))]
    except fetch.NotInTheIndex:
        if "index" in sources:
            raise
        return []


def _wish(session: Session, text: str) -> tuple[Wish, Collection[str]]:
    """What `APP==VER` says, and the hosts that it is for."""
    name, wanted = pin.parse(text)
    application = fleet.application(session.loaded.config, name)
    project = application.project or name
    session.placed(name, application)  # what cannot be is an error now
    found = fetch.locked(session.client, project, str(wanted))
    lock, version = found.lock, found.version
    commit, signer = found.commit, ""
    if settings.demanded(session.loaded.config, session.name) != "no":
        from pinwheel.deploy.rolling import evidence  # with all that reads statements: most rollouts need none of it

        origin = evidence.require(session.client, project, lock.pins, evidence.judge(session.loaded, session.name))
        commit, signer = origin.commit, origin.signer
    session.hooks(name, version)  # likewise
    session.announced()
    try:
        application = settings.settled(name, application, session.name, session.environment)
        kept = secret_sources.secret_set(session.loaded, session.name, name, application)
        session.secrets = {**session.secrets, **({name: kept} if kept else {})}
        secrets, names = (kept.id, kept.names) if kept else ("", ())
        placed = session.placed(name, application)
        setups = supervisor_file.setups(name, placed, session.targets, lock.release, version, secrets)
    except UsageError as error:
        raise UsageError(error.problem, where=session.loaded.place(error.where), remedy=error.remedy) from error
    wish = Wish(
        application=name,
        project=project,
        version=version,
        release=lock.release,
        delivery=Delivery(setups, lock.packages, lock.needs, session.environment.deliver, secrets, names),
        lock_sha256=lock.sha256,
        commit=commit,
        signer=signer,
    )
    return wish, setups
