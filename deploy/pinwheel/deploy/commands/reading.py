"""`pinwheel deploy.logs`: what the programs on many hosts say."""

from __future__ import annotations

import json as documents
import signal
import sys
from collections.abc import Sequence
from typing import Any

from invoke import Context, Exit, Task, task

from pinwheel import console
from pinwheel.deploy.commands.options import APPLICATION, OF_HOSTS, session_of


class Followed(Task):  # type: ignore[type-arg]
    """A task whose flag --follow is also -f, as everybody types it. No other short flag is made up."""

    def arg_opts(self, name: str, default: str, taken_names: set[str]) -> dict[str, Any]:
        made = super().arg_opts(name, default, taken_names)
        return made | {"names": ["follow", "f"]} if name == "follow" else made


class Printed:
    """`rolling.logs.Reader` on stdout, and for what is about a host and not of its logs on stderr."""

    def __init__(self, application: str, width: int, *, json: bool) -> None:
        self._strip = f"{application}-"
        self._width = width
        self._json = json

    def lines(self, host: str, process: str, lines: Sequence[str]) -> None:
        from pinwheel.deploy.showing.lines import harmless, prefix

        name = process.removeprefix(self._strip)
        if self._json:
            console.data("\n".join(documents.dumps({"host": host, "process": name, "line": line}) for line in lines))
            return
        terminal = sys.stdout.isatty()
        before = prefix(host, name, self._width, colour=terminal)
        console.data("\n".join(f"{before} {harmless(line) if terminal else line}" for line in lines))

    def said(self, host: str, text: str) -> None:
        console.say(f"{host}: {text}")


@task(
    klass=Followed,
    positional=["application"],
    iterable=["host", "group"],
    help={
        **OF_HOSTS,
        "application": APPLICATION,
        "follow": "go on with what is added, until Ctrl-C (default: end after the last line)",
        "program": "only this one of its programs (default: all)",
        "lines": "how many of the last lines of each process (default: 20)",
        "json": "print each line as a JSON document of its own (default: text for people)",
    },
)
def logs(
    _context: Context,
    application: str,
    env: str,
    follow: bool = False,
    program: str = "",
    host: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
    lines: int = 20,
    json: bool = False,
) -> None:
    """Show what an application's programs write on every host, each line after the names of its host and process.

    With --follow it goes on, through rotations, until Ctrl-C, which is no failure. A host that goes away is told once
    and asked again until it is back; then it goes on where it was. Exits 1 when a host could not be read.

    Example:
      pinwheel deploy.logs acme-shop --env production -f
      pinwheel deploy.logs acme-shop --env production --program web --host web1 --lines 200
    """
    from pinwheel.deploy.rolling import logs as verb

    with session_of(env, "", host, group) as session:
        width = max(len(each.name) for each in session.targets)
        reader = Printed(application, width, json=json)
        complete = verb.read(session, application, reader, program=program, lines=lines, follow=follow)
    stop = session.stop
    if stop.is_set() and not (follow and stop.number == signal.SIGINT):
        raise Exit(code=stop.exit_code)
    if not complete:
        raise Exit(code=1)
