"""`pinwheel deploy.run`: a command beside what runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from invoke import Context, Exit, task

from pinwheel.deploy.commands.options import APPLICATION, OF_HOSTS, session_of
from pinwheel.errors import UsageError


@task(
    positional=["application"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "application": APPLICATION,
        "command": "the command in one text, split as a shell does; or write it word for word after -- (default: none)",
        "program": "whose folder, user, limits, variables and secrets it has (default: the first one's)",
        "json": "print one JSON document on stdout, and what the command says on stderr (default: text for people)",
    },
)
def run(
    _context: Context,
    application: str,
    env: str,
    command: str = "",
    program: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    json: bool = False,
) -> None:
    """Run a command in the environment of the release that runs, and show what it says.

    The release's own commands come first on its PATH. What it says on stdout and stderr comes line by line, each under
    its host's name. Exits with the highest exit code of all hosts, 1 at least for a host that could not be asked;
    Ctrl-C ends it there. Who ran what where is in the history: a secret does not belong in its arguments.

    Example:
      pinwheel deploy.run acme-shop --env production --host web1 -- acme-shop shell --dry-run
      pinwheel deploy.run acme-shop --env production --command "acme-shop check"
    """
    from pinwheel import console
    from pinwheel.deploy.planning.outcome import Outcome
    from pinwheel.deploy.rolling import run as verb
    from pinwheel.deploy.showing import exits as shown
    from pinwheel.deploy.showing import outcomes, watch
    from pinwheel.deploy.showing.lines import harmless

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(
            f"the command cannot be split: {error}", where="--command", remedy="close its quotes"
        ) from error
    tell = console.say if json else console.data
    relay = watch.Relay(lambda line: tell(harmless(line)) if sys.stdout.isatty() else tell(line))
    with session_of(env, "", host, group, watcher=relay) as session:
        relay.gone = session.hosts.abort
        exits = verb.on_hosts(session, application, program, words)
    if not relay.read:
        raise BrokenPipeError
    if json:
        console.document(shown.document(exits, env, application, words))
    for each in exits.values():
        if isinstance(each, Outcome):
            console.say("\n".join(outcomes.lines(each)))
    if session.stop.is_set():
        raise Exit(code=session.stop.exit_code)
    if code := verb.worst(exits):
        raise Exit(code=code)
