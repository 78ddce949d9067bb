"""`pinwheel deploy.plan`, `deploy.rollout`, `deploy.resume` and `deploy.rollback`: a version brought to hosts, or taken
back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from pinwheel.deploy.commands import ending, plan_files
from pinwheel.deploy.commands.options import APPLICATION, CHANGES, LINES, OF_ALL, OF_HOSTS, RELEASE, session_of
from pinwheel.errors import UsageError, describe

if TYPE_CHECKING:
    from pinwheel.deploy.rolling.resume import Resumed, Withheld


@task(
    positional=["release"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "release": RELEASE,
        "out": "write the plan into this FILE, for deploy.rollout --plan (default: none)",
    },
)
def plan(
    _context: Context,
    release: str,
    env: str,
    out: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Say what a rollout would do on each host, and why. Changes nothing.

    The rollout computes the same plan with the same code and carries it out. Exits 4 when there are changes, 1 when
    there is a host with which it cannot go on.

    Example:
      pinwheel deploy.plan acme-shop==1.1.0 --env production
      pinwheel deploy.plan acme-shop==1.1.0 --env production --out shop.plan
    """
    from pinwheel import console
    from pinwheel.deploy.planning import plan_file
    from pinwheel.deploy.rolling import operate
    from pinwheel.deploy.showing import plans

    with session_of(env, f"plan of {release}", host, group, asks_once=True) as session:
        made = operate.planned(session, release)
    if out:
        plan_files.write(out, plan_file.document(made, env))
    if json:
        console.document(plans.document(made, env))
    else:
        ending.show(made)
    if code := plans.exit_code(made):
        raise Exit(code=code)


@task(
    positional=["release"],
    iterable=["host", "group", "task_again", "task_done"],
    help={
        **OF_HOSTS,
        "release": RELEASE,
        "plan": "do exactly what this FILE of deploy.plan says, or nothing (default: plan anew)",
        "task_again": "run this task although nobody knows how it ended before (default: stop and say so)",
        "task_done": "take this task for done, and do not run it (default: run what is not done)",
        "json_lines": LINES,
    },
)
def rollout(
    _context: Context,
    release: str,
    env: str,
    plan: str = "",
    task_again: Sequence[str] | None = None,
    task_done: Sequence[str] | None = None,
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
    json_lines: bool = False,
) -> None:
    """Bring a version to every host: prepare everywhere, then activate in waves.

    A version that does not pass its health checks on the canary goes back there by itself, and no other host is
    touched. Tasks of the application run once for each release, before or after that. Exits 0 when every host runs it,
    1 when not, or when hosts have moved since the plan, 3 when somebody else holds the environment.

    Example:
      pinwheel deploy.rollout acme-shop==1.1.0 --env production
      pinwheel deploy.rollout acme-shop==1.1.0 --env production --group web --host 'web-eu-*'
      pinwheel deploy.rollout acme-shop==1.1.0 --env production --plan shop.plan
    """
    from pinwheel.deploy.planning import plan_file
    from pinwheel.deploy.rolling import operate

    planned = plan_file.read(plan_files.read(plan), plan) if plan else None
    _one_of(json, json_lines)
    with session_of(env, f"rollout of {release}", host, group, lines=json_lines) as session:
        modes = {**dict.fromkeys(task_again or (), "again"), **dict.fromkeys(task_done or (), "done")}
        made, report = operate.rolled_out(session, release, planned, modes)
    ending.finish(made, report, session, json=json, lines=json_lines)


@task(
    help={
        **OF_ALL,
        "application": "only this one (default: each that was ever rolled out)",
        "force": "also where the release failed its health checks before (default: leave these hosts alone)",
        "check": "only say what would be done; exit 4 if anything (default: do it)",
    },
)
def resume(
    _context: Context, env: str, application: str = "", force: bool = False, check: bool = False, json: bool = False
) -> None:
    """Bring every host to what should run by now: those that were away, that a rollout did not reach, or lost.

    What should run is the wish of the newest rollout, as the ledger tells it; where that failed its health checks and
    nothing of it is left, of the one before. Hosts that run it well are left alone, and hosts that were taken out of
    service are put back once they are healthy.

    Example:
      pinwheel deploy.resume --env production --check
      pinwheel deploy.resume --env production --application acme-shop
    """
    from pinwheel import console
    from pinwheel.deploy.rolling import resume as verb

    with session_of(env, "resume") as session:
        act = verb.to_resume if check else verb.resumed
        done = act(session, application, force=force)
    if json:
        console.document({"environment": env, "applications": [_resumed_document(each, env) for each in done]})
    elif not done:
        console.data("nothing to do: nothing was ever rolled out here")
    for each in done if not json else ():
        if isinstance(each, verb.Withheld):
            console.say(f"{each.application} is left as it is: {describe(each.why).removeprefix('error: ')}")
        elif each.report is None:
            console.data(f"{each.intent.application} should be at {each.intent.told}")
            ending.show(each.plan)
        else:
            ending.tell(each.plan, each.report, env)
    codes = [_resumed_code(each) for each in done]
    if any(codes):
        raise Exit(code=max(codes, key=lambda code: (code != CHANGES, code)))


@task(
    positional=["application"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "application": APPLICATION,
        "to": "the version (or release) to go back to (default: the newest good one before the running one)",
        "json_lines": LINES,
    },
)
def rollback(
    _context: Context,
    application: str,
    env: str,
    to: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
    json_lines: bool = False,
) -> None:
    """Go back to the release that ran before, on every host, in waves.

    It is the newest release older than the running one that passed its health checks. The hosts have kept it with its
    configuration, so neither a lock nor a download is needed.

    Example:
      pinwheel deploy.rollback acme-shop --env production
      pinwheel deploy.rollback acme-shop --env production --to 1.0.0
    """
    from pinwheel.deploy.rolling import operate

    _one_of(json, json_lines)
    with session_of(env, f"rollback of {application}", host, group, lines=json_lines) as session:
        made, report = operate.rolled_back(session, application, to)
    ending.finish(made, report, session, json=json, lines=json_lines)


def _resumed_code(done: Resumed | Withheld) -> int:
    from pinwheel.deploy.rolling.resume import Withheld
    from pinwheel.deploy.showing import plans

    if isinstance(done, Withheld):
        return done.why.exit_code
    return plans.exit_code(done.plan) if done.report is None else done.report.exit_code


def _resumed_document(done: Resumed | Withheld, env: str) -> dict[str, object]:
    from pinwheel.deploy.rolling.resume import Withheld
    from pinwheel.deploy.showing import plans, reports

    if isinstance(done, Withheld):
        error = {"problem": done.why.problem, "where": done.why.where, "remedy": done.why.remedy}
        return {"application": done.application, "error": error}
    about = {"resumes": done.intent.rollout, "should_run": done.intent.release}
    if done.report is None:
        return {**about, **plans.document(done.plan, env)}
    return {**about, **reports.document(done.report, done.plan)}


def _one_of(json: bool, json_lines: bool) -> None:
    if json and json_lines:
        raise UsageError("it is one or the other", where="--json, --json-lines", remedy="leave one of them out")
