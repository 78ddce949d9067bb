"""`pinwheel deploy.restart`, `deploy.prune` and `deploy.unlock`: what keeps a fleet in order between rollouts."""

from __future__ import annotations

from collections.abc import Sequence

from invoke import Context, Exit, task

from pinwheel.deploy.commands import ending
from pinwheel.deploy.commands.options import APPLICATION, CHANGES, HELD, OF_ALL, OF_HOSTS, session_of
from pinwheel.errors import UsageError


@task(
    positional=["application"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "application": APPLICATION,
        "program": "only this one of its programs (default: all)",
    },
)
def restart(
    _context: Context,
    application: str,
    env: str,
    program: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Start an application again where it runs, each host with the release that it has.

    It goes in waves as a rollout does: the canary first, never more than max_unavailable at once, and every host must
    pass its health checks before the next one. Exits as deploy.rollout does.

    Example:
      pinwheel deploy.restart acme-shop --env production
      pinwheel deploy.restart acme-shop --env production --program worker --host web1
    """
    from pinwheel.deploy.rolling import operate

    with session_of(env, f"restart of {application}", host, group) as session:
        made, report = operate.restarted(session, application, program)
    ending.finish(made, report, session, json=json, lines=False)


@task(
    help=OF_ALL | {"force": "end the lease, whoever holds it (default: only say who does)"},
)
def unlock(_context: Context, env: str, force: bool = False, json: bool = False) -> None:
    """Say who holds an environment, since when, and whether somebody is still behind it; with --force take it away.

    A lease runs out 45 s after its holder died, so this is seldom needed. Whoever held it starts nothing more as soon
    as it hears of it, and every host refuses it once the next rollout has something to do there. Exits 0 when nobody
    holds the environment any more, 3 while somebody does.

    Example:
      pinwheel deploy.unlock --env production
      pinwheel deploy.unlock --env production --force
    """
    from pinwheel import console
    from pinwheel.deploy.rolling import unlock as verb
    from pinwheel.deploy.showing import holder

    found = verb.unlocked(env, force=force)
    if json:
        console.document(holder.document(env, found))
    else:
        console.data(holder.line(env, found))
    if found and not found.released:
        raise Exit(code=HELD)


@task(
    positional=["application"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "application": "as pinwheel.toml names it, or all (default: none; it must be named)",
        "keep": "how many of the newest releases stay (default: 0, as environments.ENV.keep says)",
        "check": "only say what would be removed; exit 4 if anything (default: remove it)",
    },
)
def prune(
    _context: Context,
    application: str,
    env: str,
    keep: int = 0,
    check: bool = False,
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Remove from hosts what nobody needs: old releases, what was cut off half-way, and what the cache held for them.

    The newest releases stay, and, however old, what runs anywhere, what ran before, what a rollback would go to, and
    what any process still uses. A rollout that came through does the same by itself for its application.

    Example:
      pinwheel deploy.prune acme-shop --env production --check
      pinwheel deploy.prune all --env production --keep 3
    """
    from pinwheel import console
    from pinwheel.deploy.planning.outcome import Outcome
    from pinwheel.deploy.rolling import prune as verb
    from pinwheel.deploy.showing import removals

    if keep < 0:
        raise UsageError(f"{keep} releases cannot be kept", where="--keep", remedy="write 1 or more")
    with session_of(env, f"prune {application}", host, group) as session:
        ends = verb.pruned(session, application, keep=keep or session.environment.keep, check=check)
    if json:
        console.document(removals.document(ends, env, check=check))
    else:
        if rows := removals.rows(ends):
            console.table(removals.COLUMNS, rows)
        console.say(removals.last_line(ends, check=check))
    if session.stop.is_set():
        raise Exit(code=session.stop.exit_code)
    if any(isinstance(end, Outcome) for end in ends.values()):
        raise Exit(code=1)
    if check and any(end.removed for end in ends.values() if not isinstance(end, Outcome)):
        raise Exit(code=CHANGES)
