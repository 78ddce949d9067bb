"""Publish a file that was admitted: blob, metadata blob, record. It exists from the commit of the record on."""

from __future__ import annotations

from collections.abc import Callable

from pinwheel.index.entries import AlreadyThere, Closed, Outcome, Taken
from pinwheel.index.intake.admission import Admitted
from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.records import Records
from pinwheel.index.store.storing import drop, recording


class Publisher:
    """Write to `blobs` and `records`. `now` is the clock (RFC 3339, UTC); `published` is called with the project
    after each change."""

    def __init__(
        self,
        records: Records,
        blobs: Blobs,
        now: Callable[[], str],
        published: Callable[[str], None],
    ) -> None:
        self._records = records
        self._blobs = blobs
        self._now = now
        self._published = published

    def publish(self, admitted: Admitted, uploader: str) -> Outcome:
        """Make the file exist, or say who has its place. Raises `NoSpace`, after which nothing is visible and the space
        is free again."""
        new = admitted.record(uploader, self._now())
        taken = self._records.by_identity(new.identity)
        if taken is not None and (taken.sha256 != admitted.sha256 or taken.removed):
            # spares the disk; whether it is so is decided again within the transaction
            return taken
        hashes = [admitted.sha256, *([admitted.metadata_sha256] if admitted.metadata_sha256 else [])]
        with recording(self._records, self._blobs, *hashes):
            self._blobs.put(admitted.path, admitted.sha256)
            if admitted.metadata_sha256:
                self._blobs.put(admitted.distribution.core_metadata, admitted.metadata_sha256)
            # of what was there already, only what was missing or damaged has been put again
            outcome = AlreadyThere() if taken is not None else self._records.publish(new)
        if isinstance(outcome, Taken | Closed):
            # nobody needs our bytes: somebody was faster with others, or the project takes none
            drop(self._records, self._blobs, *hashes)
        self._published(new.entry.project)
        return outcome
