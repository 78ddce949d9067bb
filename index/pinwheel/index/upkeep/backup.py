"""A backup: one tar with what every file of an index is made from, written while the index serves.

Its members are, in this order, `pinwheel-backup.json` (the `Manifest`), `index.sqlite`, and `blobs/<sha256>`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import CHUNK_BYTES
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.database import DATABASE, Database
from pinwheel.index.store.disk import full_disk_told, scratch_folder, synced
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.store.tables import SCHEMA_VERSION

FORMAT = 1
MANIFEST = "pinwheel-backup.json"
BLOBS = "blobs/"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the backup holds. `at` is RFC 3339; `schema` is the version of the database's."""

    format: int
    schema: int
    at: str
    blobs: int


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What was written; `faults` are the blobs that are missing or damaged in the index itself."""

    blobs: int
    size_bytes: int
    faults: tuple[tuple[str, str], ...]


def write_backup(
    target: Path,
    *,
    database: Database,
    blobs: FolderBlobs,
    temporary: Path,
    at: str,
    begun: Callable[[int], None] = lambda _blobs: None,
    written: Callable[[], None] = lambda: None,
) -> BackedUp:
    """Write the state of one moment to `target`, which must not exist and is for its owner alone.

    `begun` is told how many blobs there are, `written` is called after each. Raises `PinwheelError` and `NoSpace`,
    after which there is no such file.
    """
    faults: list[tuple[str, str]] = []
    with scratch_folder(temporary, "backup") as scratch, _created(target) as out:
        copy = scratch / DATABASE

        def needed() -> set[str]:
            database.copy_to(copy)
            snapshot = Database(copy)
            try:
                return DatabaseRecords(snapshot).blobs()
            finally:
                snapshot.close()

        with blobs.frozen(needed) as frozen, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            begun(len(frozen))
            there = {sha256: file for sha256, file in sorted(frozen.items()) if file is not None}
            faults += [(sha256, "the blob is missing") for sha256 in sorted(frozen.keys() - there.keys())]
            manifest = json.dumps(asdict(Manifest(FORMAT, SCHEMA_VERSION, at, len(there)))).encode()
            _add(tar, MANIFEST, io.BytesIO(manifest), len(manifest))
            with copy.open("rb") as file:
                _add(tar, DATABASE, file, copy.stat().st_size)
            for sha256, path in there.items():
                with path.open("rb") as file:
                    if _add(tar, BLOBS + sha256, file, path.stat().st_size) != sha256:
                        faults.append((sha256, "the blob is damaged"))
                written()
    return BackedUp(len(there), target.stat().st_size, tuple(faults))


class _Hashed:
    """A file for reading whose bytes are hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, file: IO[bytes], size_bytes: int) -> str:
    """Add a member, and give the sha256 of its bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, 0o600
    hashed: Any = _Hashed(file)
    tar.addfile(info, hashed)
    return str(hashed.digest.hexdigest())


@contextlib.contextmanager
def _created(target: Path) -> Iterator[IO[bytes]]:
    """A new file that has its name only once it is whole and on disk. Raises `PinwheelError`."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with contextlib.ExitStack() as undo:
        try:
            # both names at once: nobody else writes a backup of that name meanwhile
            for path in (target, partial):
                descriptor = os.open(path, flags, 0o600)
                undo.callback(path.unlink, missing_ok=True)
                if path == target:
                    os.close(descriptor)
        except FileExistsError as error:
            raise PinwheelError(
                "the file exists already", where=str(target), remedy="name a new file for each backup"
            ) from error
        except OSError as error:
            raise PinwheelError(
                f"the backup cannot be written: {error.strerror}",
                where=str(target),
                remedy="name a file in a folder that exists and that we may write to",
            ) from error
        with full_disk_told(target.parent):
            with os.fdopen(descriptor, "wb", CHUNK_BYTES) as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            partial.replace(target)
            undo.pop_all()
            synced(target.parent)
