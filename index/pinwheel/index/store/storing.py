"""The order in which blobs and the record that needs them are written: no record without its blobs, and no blob that
nobody needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from pinwheel.index.store.blobs import Blobs


class Needing(Protocol):
    """Who knows which blobs are needed."""

    def needs(self, sha256: str) -> bool:
        """Whether a record needs this blob. Must cost the same however many records there are."""


@contextlib.contextmanager
def recording(records: Needing, blobs: Blobs, *hashes: str) -> Iterator[None]:
    """Put the blobs `hashes` and commit the record that needs them within this. When that fails, those that no record
    needs are gone at once: a disk that is full must not become fuller with every attempt."""
    done = False
    try:
        with blobs.held(*hashes):
            yield
            done = True
    finally:
        if not done:
            drop(records, blobs, *hashes)


def drop(records: Needing, blobs: Blobs, *hashes: str) -> None:
    """Remove those of the blobs that no record needs. Safe while others publish the very same bytes."""
    for sha256 in hashes:
        blobs.discard_orphan(sha256, records.needs)
