"""One-off commands on hosts, in the environment of what runs there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import steps
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.rolling import programs
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import UsageError

Exits = Mapping[str, int | Outcome]
"""The command's exit code by host, or why there is none."""


def on_hosts(session: Session, application: str, program: str, command: Sequence[str]) -> Exits:
    """Run `command` on the session's hosts: as `program` of `application` would run there, by default the first.

    It changes nothing that pinwheel keeps, so it takes neither the lease nor the hosts' locks. The ledger hears who
    ran what where, and not what it said. Raises `UsageError`.
    """
    found = fleet.application(session.loaded.config, application)
    name = programs.named(session, application, found, program) or next(iter(found.programs))
    if not command:
        raise UsageError("there is no command", where="--", remedy="write it at the end: -- COMMAND ARGUMENT …")
    hosts = session.placed(application)
    wanted = [
        steps.Run(each, application, f"{application}-{name}", tuple(command))
        for each, here in hosts.items()
        if name in here.programs or name not in found.programs
    ]
    session.begin()
    exits: dict[str, int | Outcome] = {}
    for answer in session.pool().each(wanted, None, _exit_code):
        host, code = (answer.host, answer) if isinstance(answer, Outcome) else answer
        exits[host] = code
        session.ledger.append(
            "ran",
            application,
            environment=session.name,
            host=host,
            rollout=session.rollout,
            outcome="ok" if code == 0 else "failed",
            detail={"reason": shlex.join(command), "exit": code if isinstance(code, int) else None},
        )
    return {each.host: exits[each.host] for each in wanted}


def worst(exits: Exits) -> int:
    """The highest exit code; a host without one counts as 1."""
    return max(1 if isinstance(each, Outcome) else each for each in exits.values())


def _exit_code(host: str, result: Mapping[str, Any]) -> tuple[str, int]:
    return host, int(result["exit"])
