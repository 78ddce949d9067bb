"""The tasks of the deploy station. Everything heavy is imported where it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from invoke import Collection, Context, Exit, task

from pinwheel.errors import UsageError

if TYPE_CHECKING:
    from pinwheel.deploy.execute import Report
    from pinwheel.deploy.operate import Session
    from pinwheel.deploy.plan import Plan

CHANGES = 4
"""The exit code of a plan that has changes."""

ENV = "the environment, as pinwheel.toml names it (default: none; it must be named)"
RELEASE = "APP==VER, an application and its version (default: none; it must be named)"
JSON = "print one JSON document on stdout (default: text for people)"


@task(
    auto_shortflags=False,
    help={"env": ENV, "check": "only say what would be done; exit 4 if anything (default: do it)", "json": JSON},
)
def bootstrap(_context: Context, env: str, check: bool = False, json: bool = False) -> None:
    """Make hosts ready: folders, uv from the index, a supervisor that answers.

    Needs sshd and python3 on each host, and sudo where the layout asks for it. What is there stays as it is; a second
    run finds nothing to do.

    Example:
      pinwheel deploy.bootstrap --env production --check
      pinwheel deploy.bootstrap --env production
    """
    from pinwheel import console
    from pinwheel.deploy import operate, present
    from pinwheel.deploy.gate import Outcome

    with _session(env, "bootstrap") as session:
        done = operate.bootstrapped(session, check=check)
    if json:
        console.document(present.bootstrap_document(done, env))
    else:
        for name, changes in done.items():
            if isinstance(changes, Outcome):
                told = (("where", changes.shown), ("remedy", changes.remedy))
                more = [f"  {label}: {text}" for label, text in told if text]
                console.data("\n".join([f"{name}: {changes.reason}", *more]))
            else:
                console.data(f"{name}: {'; '.join(changes) or 'nothing to do'}")
    if any(isinstance(changes, Outcome) for changes in done.values()):
        raise Exit(code=session.stop.exit_code if session.stop.is_set() else 1)
    if check and any(done.values()):
        raise Exit(code=CHANGES)


@task(auto_shortflags=False, positional=["release"], help={"release": RELEASE, "env": ENV, "json": JSON})
def plan(_context: Context, release: str, env: str, json: bool = False) -> None:
    """Say what a rollout would do on each host, and why. Changes nothing.

    The rollout computes the same plan with the same code and carries it out. Exits 4 when there are changes, 1 when
    there is a host with which it cannot go on.

    Example:
      pinwheel deploy.plan acme-shop==1.1.0 --env production
    """
    from pinwheel import console
    from pinwheel.deploy import operate, present

    with _session(env, f"plan of {release}") as session:
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
    from pinwheel.deploy import operate

    with _session(env, f"rollout of {release}") as session:
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
    from pinwheel.deploy import operate

    with _session(env, f"rollback of {application}") as session:
        made, report = operate.rolled_back(session, application, to)
    _finish(made, report, env, json)


@task(auto_shortflags=False, help={"env": ENV, "application": "only this one (default: all)", "json": JSON})
def status(_context: Context, env: str, application: str = "", json: bool = False) -> None:
    """Show what every host runs, since when, and what is not as it should be. The hosts are asked, not the index.

    Exits 1 when a host did not answer; the others are shown all the same.

    Example:
      pinwheel deploy.status --env production
      pinwheel deploy.status --env production --json
    """
    from pinwheel import console
    from pinwheel.deploy import present
    from pinwheel.deploy.gate import Outcome

    with _session(env, "status") as session:
        told = session.facts()
    if json:
        console.document(present.status_document(told, env))
    else:
        console.table(present.STATUS_COLUMNS, present.status_rows(told, application))
    if any(isinstance(each, Outcome) for each in told.values()):
        raise Exit(code=1)


@task(auto_shortflags=False, help={"env": ENV, "limit": "how many of the last events (default: 50)", "json": JSON})
def history(_context: Context, env: str, limit: int = 50, json: bool = False) -> None:
    """Show what was done to an environment: who, what, when, with which outcome. The index is asked, not the hosts.

    Example:
      pinwheel deploy.history --env production --limit 20
    """
    from pinwheel import console
    from pinwheel.deploy import operate, present

    if limit < 1:
        raise UsageError(f"{limit} events cannot be shown", where="--limit", remedy="write 1 or more")
    events = operate.history(env, limit)
    if json:
        console.document({"environment": env, "events": events})
    else:
        console.table(present.HISTORY_COLUMNS, present.history_rows(events))


def collection() -> Collection:
    """The tasks under `deploy.`."""
    return Collection("deploy", bootstrap, plan, rollout, rollback, status, history)


@contextlib.contextmanager
def _session(env: str, title: str) -> Iterator[Session]:
    from pinwheel.deploy import operate, watch

    if not env:
        raise UsageError("no environment is named", where="--env", remedy="name one of pinwheel.toml: --env production")
    with watch.watching(title) as watcher, operate.open_session(env, watcher) as session:
        yield session


def _finish(made: Plan, report: Report, env: str, json: bool) -> None:
    """Show how it ended, and exit with the code that says so."""
    from pinwheel import console
    from pinwheel.deploy import present

    if json:
        console.document(present.report_document(report, made))
    elif not made.changes and not made.blocked:
        console.data(f"nothing to do: {made.wish.application} {made.wish.version} runs on every host")
    else:
        console.table(present.REPORT_COLUMNS, present.report_rows(report))
        console.say(present.next_step(report, made, env))
    if report.exit_code:
        raise Exit(code=report.exit_code)
