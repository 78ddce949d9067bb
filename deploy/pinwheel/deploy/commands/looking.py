"""`pinwheel deploy.status` and `deploy.history`: what runs, and how it came to that."""

from __future__ import annotations

from collections.abc import Sequence

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import ENV, GROUP, HOST, JSON, session_of
from pinwheel.errors import UsageError


@task(
    auto_shortflags=False,
    iterable=["host", "group"],
    help={"env": ENV, "application": "only this one (default: all)", "host": HOST, "group": GROUP, "json": JSON},
)
def status(
    _context: Context,
    env: str,
    application: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Show what every host runs, since when, and what is not as it should be. The hosts are asked, not the index.

    Exits 1 when a host did not answer; the others are shown all the same.

    Example:
      pinwheel deploy.status --env production
      pinwheel deploy.status --env production --json
    """
    from pinwheel import console
    from pinwheel.deploy.planning.gate import Outcome
    from pinwheel.deploy.showing import present

    with session_of(env, "status", host, group) as session:
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
    from pinwheel.deploy.rolling import operate
    from pinwheel.deploy.showing import present

    if limit < 1:
        raise UsageError(f"{limit} events cannot be shown", where="--limit", remedy="write 1 or more")
    events = operate.history(env, limit)
    if json:
        console.document({"environment": env, "events": events})
    else:
        console.table(present.HISTORY_COLUMNS, present.history_rows(events))
