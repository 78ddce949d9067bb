"""Who holds an environment, as people and scripts see it. Pure."""

from __future__ import annotations

from typing import Any

from pinwheel.deploy.planning.holder import Life
from pinwheel.deploy.rolling.unlock import Found


def document(environment: str, found: Found | None) -> dict[str, Any]:
    if found is None:
        return {"environment": environment, "holder": None, "released": False}
    holder = {
        "owner": found.holder.owner,
        "rollout": found.holder.rollout,
        "since": found.holder.acquired_at,
        "age_s": found.holder.age_s,
        "renewed_s_ago": round(found.renewed_s_ago, 3),
        "expires_in_s": found.holder.expires_in_s,
        "token": found.holder.token,
        "life": found.life,
    }
    return {"environment": environment, "holder": holder, "released": found.released}


def line(environment: str, found: Found | None) -> str:
    if found is None:
        return f"nobody holds {environment}"
    held = found.holder
    since = f"since {held.acquired_at}, renewed {found.renewed_s_ago:.0f} s ago"
    match found.life:
        case Life.ALIVE:
            lives = "it is alive: its process runs on this machine"
        case Life.GONE:
            lives = "it is dead: its process on this machine has ended"
        case Life.RENEWING:
            lives = "it is alive: it renews its lease in time"
        case Life.SILENT:
            lives = "it is probably dead: it has not renewed its lease in time"
    if found.released:
        return f"{environment} is free: it was taken from {held.rollout} by {held.owner} ({since})"
    rest = f"the lease runs out in {held.expires_in_s:.0f} s"
    return f"{environment} is held by {held.owner}, rollout {held.rollout}, {since}; {lives}; {rest}"
