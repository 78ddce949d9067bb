"""The tasks of the index: `pinwheel index.serve` and what looks after it."""

from __future__ import annotations

from invoke import Collection

from pinwheel.index.commands.clients import client
from pinwheel.index.commands.folder import backup, prune, restore
from pinwheel.index.commands.projects import list_, why
from pinwheel.index.commands.releases import demote, project_status, promote, unyank, yank
from pinwheel.index.commands.serving import serve
from pinwheel.index.commands.takeover import import_
from pinwheel.index.commands.tokens import token_create, token_list, token_revoke, token_rotate
from pinwheel.index.commands.verification import verify


def collection() -> Collection:
    """The tasks named `index.…`."""
    return Collection(
        *("index", serve, client, list_, why),
        *(yank, unyank, promote, demote, project_status),
        *(token_create, token_list, token_revoke, token_rotate),
        *(verify, import_, backup, restore, prune),
    )
