"""Compare records with blobs: name what is missing or damaged, and put right what can be made from the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from pinwheel import archive
from pinwheel.archive import BadArchive, Limits
from pinwheel.index.entries import FileEntry
from pinwheel.index.store.blobs import FolderBlobs, sha256_of

READERS = 4
PART = 1024


class Kept(Protocol):
    """Where the records are kept."""

    def faults(self) -> Iterable[str]:
        """What is wrong with the place itself."""


class Recorded(Protocol):
    """What the records say of blobs."""

    def every_file(self) -> Iterator[FileEntry]:
        """Every file that is there, ordered by filename."""

    def blobs(self) -> set[str]:
        """The sha256 of every blob that is needed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as recorded. `what` is the file or the hash, `problem` what is wrong with it."""

    what: str
    problem: str


@dataclass(frozen=True, slots=True)
class LostMetadata(Fault):
    """Core metadata that is not as recorded; it can be read from its distribution again."""

    entry: FileEntry


def verify_database(database: Kept, name: str) -> Iterator[Fault]:
    """Compare the database with itself. `name` is what its faults are said of."""
    return (Fault(name, f"the database is damaged: {said}") for said in database.faults())


def verify(
    records: Recorded, blobs: FolderBlobs, checked: Callable[[int], None] = lambda _bytes: None
) -> Iterator[Fault]:
    """Read every blob that a record needs and compare it with its record. Safe while the index serves.

    `checked` is called with the size of each blob that was read.
    """
    named: dict[str, FileEntry] = {}
    metadata: dict[str, FileEntry] = {}
    for entry in records.every_file():
        named[entry.sha256] = entry
        if isinstance(entry.core_metadata, str):
            metadata[entry.core_metadata] = entry
    unsound: set[str] = set()
    for sha256, problem in _unsound(blobs, sorted(records.blobs()), checked):
        unsound.add(sha256)
        if sha256 in named:
            yield Fault(named[sha256].filename, problem)
        elif sha256 in metadata:
            yield LostMetadata(f"{metadata[sha256].filename}.metadata", problem, metadata[sha256])
        else:
            yield Fault(sha256, problem)
    for entry in records.every_file():
        # of a damaged blob this would be the same fault again; of a sound one it is the record that is wrong
        size_bytes = None if entry.sha256 in unsound else blobs.size_bytes(entry.sha256)
        if size_bytes is not None and size_bytes != entry.size_bytes:
            yield Fault(entry.filename, f"the blob has {size_bytes} bytes, recorded are {entry.size_bytes}")


def repaired(fault: Fault, blobs: FolderBlobs, limits: Limits) -> bool:
    """Put the fault right, if that can be done without bytes that are lost."""
    if not isinstance(fault, LostMetadata):
        return False
    wanted = str(fault.entry.core_metadata)
    try:
        document = archive.read(blobs.path(fault.entry.sha256), fault.entry.filename, limits).core_metadata
    except (BadArchive, FileNotFoundError):
        return False
    if hashlib.sha256(document).hexdigest() != wanted:
        return False
    with blobs.held(wanted):
        blobs.put(document, wanted)
    return True


def _unsound(blobs: FolderBlobs, hashes: list[str], checked: Callable[[int], None]) -> Iterator[tuple[str, str]]:
    """Those of the blobs that are not what their names say, each with what is wrong; read by several threads."""

    def problem(sha256: str) -> tuple[str, int]:
        file = blobs.open(sha256)
        if file is None:
            return "the blob is missing", 0
        with file:
            found, size_bytes = sha256_of(file), file.tell()
        if found == sha256:
            return "", size_bytes
        return f"the blob is damaged: it has sha256 {found}, recorded is {sha256}", size_bytes

    with ThreadPoolExecutor(READERS) as pool:
        # a part at a time: a pool would take all of a large index as its queue
        for start in range(0, len(hashes), PART):
            part = hashes[start : start + PART]
            for sha256, (said, size_bytes) in zip(part, pool.map(problem, part), strict=True):
                checked(size_bytes)
                if said:
                    yield sha256, said
