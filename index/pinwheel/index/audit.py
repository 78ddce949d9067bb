"""Compare records with blobs: what a failure or a crash left behind is removed, what is missing or damaged is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pinwheel.index.blobs import Blobs, sha256_of
from pinwheel.index.records import Records


@dataclass(frozen=True, slots=True)
class Swept:
    """How many leftovers were removed."""

    temporary: int
    orphans: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as recorded. `what` is the file or the hash, `problem` what is wrong with it."""

    what: str
    problem: str


@contextlib.contextmanager
def recording(records: Records, blobs: Blobs, *hashes: str) -> Iterator[None]:
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


def drop(records: Records, blobs: Blobs, *hashes: str) -> None:
    """Remove those of the blobs that no record needs. Safe while others publish the very same bytes."""
    for sha256 in hashes:
        blobs.discard_orphan(sha256, records.blobs)


def sweep(records: Records, blobs: Blobs, temporary: Path) -> Swept:
    """Remove temporary files and blobs that no record needs. Only while nobody writes: under the folder's lock."""
    leftovers = [file for file in temporary.iterdir() if file.is_file()]
    for file in leftovers:
        file.unlink()
    needed = records.blobs()
    orphans = [sha256 for sha256 in blobs.every() if sha256 not in needed]
    for sha256 in orphans:
        blobs.discard(sha256)
    return Swept(len(leftovers), len(orphans))


def verify(records: Records, blobs: Blobs) -> Iterator[Fault]:
    """Read every blob that a record needs and compare it with its record. Safe while the index serves."""
    named: dict[str, str] = {}
    for entry in records.every_file():
        named[entry.sha256] = entry.filename
        if isinstance(entry.core_metadata, str):
            named[entry.core_metadata] = f"{entry.filename}.metadata"
        size_bytes = blobs.size_bytes(entry.sha256)
        if size_bytes is not None and size_bytes != entry.size_bytes:
            yield Fault(entry.filename, f"the blob has {size_bytes} bytes, recorded are {entry.size_bytes}")
    for sha256 in sorted(records.blobs()):
        what = named.get(sha256, sha256)
        file = blobs.open(sha256)
        if file is None:
            yield Fault(what, "the blob is missing")
            continue
        with file:
            found = sha256_of(file)
        if found != sha256:
            yield Fault(what, f"the blob is damaged: it has sha256 {found}, recorded is {sha256}")
