"""Who holds an environment's lease, and whether somebody is still behind it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that took a lease; `str` of it is what the index is told."""

    user: str
    machine: str
    pid: int

    def __str__(self) -> str:
        return f"{self.user}@{self.machine} pid {self.pid}"


class Life(StrEnum):
    """What is known of a lease's holder."""

    ALIVE = "alive"  # its process is on this machine
    GONE = "gone"  # it was on this machine, and has ended
    RENEWING = "renewing"  # it is elsewhere, and has renewed its lease in time
    SILENT = "silent"  # it is elsewhere, and should have renewed its lease


def owner(text: str) -> Owner | None:
    """The owner that `str` made a text of; None for another text."""
    found = re.fullmatch(r"(.+)@([^@ ]+) pid (\d+)", text)
    return Owner(found[1], found[2], int(found[3])) if found else None


def life(holder: Owner | None, machine: str, running: bool, renewed_s_ago: float, renew_s: float) -> Life:
    """What can be said on `machine`. `running`: is there a process with the holder's pid here? It may be another one
    by now, so one that has not renewed its lease for two times `renew_s` is not taken for the holder."""
    late = renewed_s_ago > 2 * renew_s
    if holder is not None and holder.machine == machine:
        return Life.ALIVE if running and not late else Life.SILENT if running else Life.GONE
    return Life.SILENT if late else Life.RENEWING
