"""The tasks `deploy.*`: what they are called, what they take, what they print."""

from __future__ import annotations

from invoke import Collection

from pinwheel.deploy.commands.hosts import bootstrap
from pinwheel.deploy.commands.looking import history, status
from pinwheel.deploy.commands.rollouts import plan, resume, rollback, rollout


def collection() -> Collection:
    """The tasks named `deploy.…`."""
    return Collection("deploy", bootstrap, plan, rollout, resume, rollback, status, history)
