"""The tasks `deploy.*`: what they are called, what they take, what they print.

`session_of` and `finish` are what every one of them begins and ends with, and for tasks of one's own as well.
"""

from __future__ import annotations

from invoke import Collection

from pinwheel.deploy.commands.ending import finish
from pinwheel.deploy.commands.hosts import bootstrap
from pinwheel.deploy.commands.looking import history, status
from pinwheel.deploy.commands.options import session_of
from pinwheel.deploy.commands.reading import logs
from pinwheel.deploy.commands.rollouts import plan, resume, rollback, rollout
from pinwheel.deploy.commands.running import run
from pinwheel.deploy.commands.tending import prune, restart, unlock

__all__ = ["collection", "finish", "session_of"]


def collection() -> Collection:
    """The tasks named `deploy.…`."""
    rolling = (plan, rollout, resume, rollback, restart)
    return Collection("deploy", bootstrap, *rolling, run, status, history, logs, prune, unlock)
