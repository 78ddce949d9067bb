"""Hosts made ready: first what there is to do, then that, where there is anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import readiness, steps
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.fit import machine
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.readiness import Readied, Surveyed
from pinwheel.deploy.rolling import fetch
from pinwheel.deploy.rolling.pool import Fence, HostPool, Recorder
from pinwheel.deploy.rolling.session import Session
from pinwheel.index.client import IndexFile


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
            case HostFacts(host=host, pip=pip) as known:
                try:
                    uv = fetch.uv_wheel(offered, machine(known))
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
    for answer in session.pool().each([*wanted.values()], None, readiness.surveyed):
        found[answer.host] = answer if isinstance(answer, Outcome) else (wanted[answer.host], answer)
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
        return made_ready(session.pool(context), wanted, held, session.ledger)


def made_ready(
    pool: HostPool, wanted: Sequence[steps.Bootstrap], fence: Fence, ledger: Recorder
) -> dict[str, Readied | Outcome]:
    """Make hosts ready. By host what was done, and what could not be; or how it went wrong altogether."""
    done: dict[str, Readied | Outcome] = {}
    for answer in pool.each(wanted, fence.token, readiness.readied):
        done[answer.host] = answer
        if isinstance(answer, Outcome):
            pool.watcher.ended(answer)
            continue
        if answer.lacks:
            first = answer.lacks[0]
            pool.watcher.ended(Outcome(answer.host, Ending.FAILED, f"{first.what}: {first.problem}", first.remedy))
        else:
            pool.watcher.ended(Outcome(answer.host, Ending.READY, "" if answer.done else "nothing to do"))
        if answer.done:
            ledger.append(
                "bootstrapped",
                "",
                environment=pool.context.environment,
                host=answer.host,
                rollout=pool.context.rollout,
                detail={"changes": list(answer.done)},
            )
    return {each.host: done[each.host] for each in wanted}


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
