"""What the index's ledger tells about an environment."""

from __future__ import annotations

import os
from typing import Any

from pinwheel import config
from pinwheel.deploy.inventory import fleet
from pinwheel.errors import UsageError
from pinwheel.index.client import IndexClient, from_config
from pinwheel.ledger import Ledger, default_spool


def events_of(
    client: IndexClient, environment: str, *, after: int = 0, subject: str = "", kind: str = ""
) -> list[dict[str, Any]]:
    """What was done to the environment after the serial `after`, oldest first; of `subject` and `kind`, if named."""
    found: list[dict[str, Any]] = []
    while page := client.events(
        after=found[-1]["serial"] if found else after, subject=subject, environment=environment, kind=kind
    ):
        found += page
    return found


def events(name: str, kinds: tuple[str, ...], application: str = "") -> list[dict[str, Any]]:
    """Every event of these kinds that is about the environment called `name`, and about `application` when named."""
    client = _client(name)
    return [each for kind in kinds for each in events_of(client, name, subject=application, kind=kind)]


def events_of_rollout(name: str, rollout: str) -> list[dict[str, Any]]:
    """The events of one rollout, oldest first. Raises `UsageError` when there is none of it."""
    client = _client(name)
    begun = (each for each in events_of(client, name, kind="rollout-started") if each["rollout"] == rollout)
    # what belongs to it was recorded after its start; a bootstrap has no such event
    after = next((int(each["serial"]) - 1 for each in begun), 0)
    found = [each for each in events_of(client, name, after=after) if each["rollout"] == rollout]
    if not found:
        raise UsageError(
            f"{name} knows of no rollout {rollout}", where="--rollout", remedy=f"pinwheel deploy.history --env {name}"
        )
    return found


def _client(name: str) -> IndexClient:
    loaded = config.load()
    fleet.environment(loaded.config, name)
    client = from_config(loaded)
    Ledger(client, default_spool(os.environ, client.url)).deliver()  # what waits here belongs to the story
    return client
