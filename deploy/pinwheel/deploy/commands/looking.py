"""`pinwheel deploy.status` and `deploy.history`: what runs, and how it came to that."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import OF_ALL, OF_HOSTS, session_of
from pinwheel.errors import UsageError


@task(
    iterable=["host", "group"],
    help=OF_HOSTS | {"application": "only this one (default: all)"},
)
def status(
    _context: Context,
    env: str,
    application: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Show what every host runs, since when and by whom, and what is not as it should be. The index is not asked.

    The first lines are the fleet at a glance. On a terminal, hosts that are alike become one line when there are many;
    elsewhere, and with --json, each is shown. Exits 1 when a host did not answer; the others are shown all the same.

    Example:
      pinwheel deploy.status --env production
      pinwheel deploy.status --env production --host web1 --json
    """
    from pinwheel import console
    from pinwheel.deploy.inventory import fleet
    from pinwheel.deploy.planning.facts import HostFacts
    from pinwheel.deploy.planning.outcome import Outcome
    from pinwheel.deploy.showing import status as shown

    with session_of(env, "status", host, group, asks_once=True) as session:
        told = session.facts()
        if application:
            on_hosts = {name for each in told.values() if isinstance(each, HostFacts) for name in each.applications}
            fleet.check_application(application, session.loaded.config, on_hosts)
    if json:
        console.document(shown.document(told, env, application))
    else:
        for line in shown.summary(told, env, application):
            console.data(line)
        lines = shown.lines(told, application)
        if sys.stdout.isatty() and len(lines) > shown.ALIKE_ABOVE:
            lines = shown.alike(lines)
        console.table(shown.COLUMNS, [each.cells for each in lines])
    if any(isinstance(each, Outcome) for each in told.values()):
        raise Exit(code=1)


@task(
    help={
        **OF_ALL,
        "application": "only this one (default: all)",
        "limit": "how many of the last rollouts (default: 20)",
        "rollout": "ID of one rollout: show everything that happened in it (default: one line for each rollout)",
    },
)
def history(
    _context: Context, env: str, application: str = "", limit: int = 20, rollout: str = "", json: bool = False
) -> None:
    """Show what was done to an environment: who, what, when, with which outcome. The index is asked, not the hosts.

    A rollout without an end is under way, or was cut off: its hosts tell how it ended there, by deploy.status.

    Example:
      pinwheel deploy.history --env production --application acme-shop --limit 5
      pinwheel deploy.history --env production --rollout 20261128T101500-3f9a1c
    """
    from pinwheel import console
    from pinwheel.deploy.rolling import history as verb
    from pinwheel.deploy.showing import story

    if limit < 1:
        raise UsageError(f"{limit} rollouts cannot be shown", where="--limit", remedy="write 1 or more")
    if rollout:
        events = verb.events_of_rollout(env, rollout)
        if json:
            console.document({"environment": env, "rollout": rollout, "events": events})
        else:
            console.table(story.EVENT_COLUMNS, story.event_rows(events))
        return
    told = story.chapters(verb.events(env, story.KINDS, application))[-limit:]
    if json:
        console.document(story.document(told, env))
    elif not told:
        console.data(f"nothing was ever done{f' with {application}' if application else ''} in {env}")
    else:
        console.table(story.COLUMNS, story.rows(told))
