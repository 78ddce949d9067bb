"""`pinwheel deploy.plan`, `deploy.rollout` and `deploy.rollback`: a version brought to hosts, or taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import CHANGES, ENV, JSON, RELEASE, session_of

if TYPE_CHECKING:
    from pinwheel.deploy.planning.plan import Plan
    from pinwheel.deploy.rolling.execute import Report


@task(auto_shortflags=False, positional=["release"], help={"release": RELEASE, "env": ENV, "json": JSON})
def plan(_context: Context, release: str, env: str, json: bool = False) -> None:
    """Say what a rollout would do on each host, and why. Changes nothing.

    The rollout computes the same plan with the same code and carries it out. Exits 4 when there are changes, 1 when
    there is a host with which it cannot go on.

    Example:
      pinwheel deploy.plan acme-shop==1.1.0 --env production
    """
    from pinwheel import console
    from pinwheel.deploy.rolling import operate
    from pinwheel.deploy.showing import present

    with session_of(env, f"plan of {release}") as session:
        made = operate.planned(session, release)
    if json:
        console.document(present.plan_document(made, env))
    else:
        console.table(present.PLAN_COLUMNS, present.plan_rows(made))
        for note in present.plan_notes(made):
            console.data(note)
        if not made.changes and not made.blocked:
            console.say("nothing to do")
    if made.changes or made.blocked:
        raise Exit(code=1 if made.blocked else CHANGES)


@task(auto_shortflags=False, positional=["release"], help={"release": RELEASE, "env": ENV, "json": JSON})
def rollout(_context: Context, release: str, env: str, json: bool = False) -> None:
    """Bring a version to every host: prepare everywhere, then activate in waves.

    A version that does not pass its health checks on the canary goes back there by itself, and no other host is
    touched. Exits 0 when every host runs it, 1 when not, 3 when somebody else holds the environment.

    Example:
      pinwheel deploy.rollout acme-shop==1.1.0 --env production
    """
    from pinwheel.deploy.rolling import operate

    with session_of(env, f"rollout of {release}") as session:
        made, report = operate.rolled_out(session, release)
    _finish(made, report, env, json)


@task(
    auto_shortflags=False,
    positional=["application"],
    help={
        "application": "as pinwheel.toml names it (default: none; it must be named)",
        "to": "the version (or release) to go back to (default: the newest good one before the running one)",
        "env": ENV,
        "json": JSON,
    },
)
def rollback(_context: Context, application: str, env: str, to: str = "", json: bool = False) -> None:
    """Go back to the release that ran before, on every host, in waves.

    It is the newest release older than the running one that passed its health checks. The hosts have kept it with its
    configuration, so neither a lock nor a download is needed.

    Example:
      pinwheel deploy.rollback acme-shop --env production
      pinwheel deploy.rollback acme-shop --env production --to 1.0.0
    """
    from pinwheel.deploy.rolling import operate

    with session_of(env, f"rollback of {application}") as session:
        made, report = operate.rolled_back(session, application, to)
    _finish(made, report, env, json)


def _finish(made: Plan, report: Report, env: str, json: bool) -> None:
    """Show how it ended, and exit with the code that says so."""
    from pinwheel import console
    from pinwheel.deploy.showing import present

    if json:
        console.document(present.report_document(report, made))
    elif not made.changes and not made.blocked:
        console.data(f"nothing to do: {made.wish.application} {made.wish.version} runs on every host")
    else:
        console.table(present.REPORT_COLUMNS, present.report_rows(report))
        console.say(present.next_step(report, made, env))
    if report.exit_code:
        raise Exit(code=report.exit_code)
