"""Who holds an environment, and taking it from them."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from pinwheel import config
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning.holder import Life, life, owner
from pinwheel.deploy.rolling.lease import RENEW_S, TTL_S
from pinwheel.errors import Refused
from pinwheel.index.client import Holder, IndexClient, from_config
from pinwheel.ledger import Ledger, default_spool


@dataclass(frozen=True, slots=True)
class Found:
    """The lease of an environment: who holds it, whether somebody is still behind it, and whether we ended it."""

    holder: Holder
    life: Life
    renewed_s_ago: float
    released: bool = False


def unlocked(name: str, *, force: bool) -> Found | None:
    """Look who holds the environment called `name`; with `force`, end just that lease. None when nobody holds it.

    Whoever held it learns so when it next renews it, within `RENEW_S`, and starts nothing more; a host that was told
    of a later lease refuses it at once. Raises `Refused` when another one took the environment meanwhile.
    """
    loaded = config.load()
    fleet.environment(loaded.config, name)
    return release(from_config(loaded), name, force=force)


def release(client: IndexClient, name: str, *, force: bool) -> Found | None:
    """`unlocked`, with an index at hand."""
    holder = client.lease_holder(name)
    if holder is None:
        return None
    told = owner(holder.owner)
    running = told is not None and Path("/proc", str(told.pid)).exists()
    # the index says when it runs out; every holder asks for the same time
    renewed_s_ago = max(0.0, TTL_S - holder.expires_in_s)
    lives = life(told, socket.gethostname(), running, renewed_s_ago, RENEW_S)
    if not force:
        return Found(holder, lives, renewed_s_ago)
    if not client.end_lease(name, holder.token):
        remedy = f"look again: pinwheel deploy.unlock --env {name}"
        raise Refused(f"the lease of {holder.rollout} had ended before", where=name, remedy=remedy)
    detail = {"owner": holder.owner, "token": holder.token, "life": lives}
    ledger = Ledger(client, default_spool(os.environ, client.url))
    ledger.append("unlocked", "", environment=name, rollout=holder.rollout, detail=detail)
    return Found(holder, lives, renewed_s_ago, released=True)
