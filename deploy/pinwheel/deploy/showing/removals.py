"""What was removed from hosts, or would be, as people and scripts see it. Pure."""

from __future__ import annotations

from typing import Any

from pinwheel.deploy.host.space import MIB
from pinwheel.deploy.planning.outcome import Outcome, so_many
from pinwheel.deploy.rolling.prune import Ends
from pinwheel.deploy.showing import outcomes

COLUMNS = ("host", "removed", "MiB", "kept")


def rows(ends: Ends) -> list[tuple[str, ...]]:
    """What is about each host with which something is: a row, and one more for each other thing that was removed."""
    found: list[tuple[str, ...]] = []
    for name, end in ends.items():
        if isinstance(end, Outcome):
            found.append((name, "", "", f"{end.ending}: {outcomes.one_line(end)}"))
        elif end.removed or end.kept:
            kept = ", ".join(f"{release}: {why}" for release, why in end.kept.items())
            first, *more = end.removed or ("",)
            found.append((name, first, f"{end.bytes / MIB:.1f}", kept))
            found += [("", each, "", "") for each in more]
    return found


def document(ends: Ends, environment: str, *, check: bool) -> dict[str, Any]:
    hosts = []
    for name, end in ends.items():
        if isinstance(end, Outcome):
            about: dict[str, Any] = {"outcome": end.ending, "reason": end.reason, "removed": [], "kept": {}, "bytes": 0}
        else:
            about = {"outcome": "ok", "reason": "", "removed": list(end.removed), "kept": dict(end.kept)}
            about["bytes"] = end.bytes
        hosts.append({"name": name} | about)
    return {"environment": environment, "check": check, "bytes": total_bytes(ends), "hosts": hosts}


def total_bytes(ends: Ends) -> int:
    return sum(end.bytes for end in ends.values() if not isinstance(end, Outcome))


def last_line(ends: Ends, *, check: bool) -> str:
    hosts = sum(not isinstance(end, Outcome) and bool(end.removed) for end in ends.values())
    if not hosts:
        return "nothing to remove"
    done = "would be freed" if check else "freed"
    return f"{total_bytes(ends) / MIB:.1f} MiB {done} on {so_many(hosts)}"
