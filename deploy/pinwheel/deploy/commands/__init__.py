"""The tasks `deploy.*`: what they are called, what they take, what they print."""

from __future__ import annotations

from invoke import Collection

from pinwheel.deploy.commands.hosts import bootstrap
from pinwheel.deploy.commands.looking import history, status
from pinwheel.deploy.commands.reading import logs
from pinwheel.deploy.commands.rollouts import plan, resume, rollback, rollout
from pinwheel.deploy.commands.running import run
from pinwheel.deploy.commands.tending import prune, restart, unlock


def collection() -> Collection:
    """The tasks named `deploy.…`."""
    rolling = (plan, rollout, resume, rollback, restart)
    return Collection("deploy", bootstrap, *rolling, run, status, history, logs, prune, unlock)
