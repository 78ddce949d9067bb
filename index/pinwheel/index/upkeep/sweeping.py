"""Remove what a crash left behind: temporary files of processes that died, blobs that no record needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.disk import sweep_scratch
from pinwheel.index.store.storing import Needing, drop


@dataclass(frozen=True, slots=True)
class Swept:
    """How many leftovers were removed."""

    temporary: int
    orphans: int


class Needed(Needing, Protocol):
    """Who knows which blobs are needed, one by one and all."""

    def blobs(self) -> set[str]:
        """The sha256 of every blob that a record needs."""


def sweep(records: Needed, blobs: Blobs, temporary: Path) -> Swept:
    """Safe at any time, also while others publish, import or make a backup."""
    needed = records.blobs()
    orphans = [sha256 for sha256 in blobs.every() if sha256 not in needed]
    # each is judged anew under its lock: it may have been put, and not recorded yet, since we looked
    drop(records, blobs, *orphans)
    return Swept(sweep_scratch(temporary), len(orphans))
