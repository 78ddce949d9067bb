"""Restore a backup into an empty data folder: first the blobs, each compared with its name, the database last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import CHUNK_BYTES
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.database import DATABASE, Database
from pinwheel.index.store.disk import full_disk_told, scratch_folder, synced
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.store.tables import SCHEMA_VERSION
from pinwheel.index.store.tokens import DatabaseTokens
from pinwheel.index.upkeep.backup import BLOBS, FORMAT, MANIFEST, Manifest

BATCH_BLOBS = 500
BATCH_BYTES = 1024 * 1024 * 1024
_BLOB = re.compile(re.escape(BLOBS) + r"([0-9a-f]{64})")
_NOTHING = {"blobs", "tmp", "lost+found"}  # what an interrupted restore leaves, and a file system of its own has


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored; `damaged` are blobs whose bytes in the backup are not what they were, `tokens` the names of
    the tokens that are valid now, without those that they have minted."""

    manifest: Manifest
    damaged: tuple[str, ...]
    tokens: tuple[str, ...]


def restore(
    source: Path,
    folder: Path,
    *,
    now_s: float,
    at: str,
    private: tuple[str, ...] = (),
    revoke_tokens: bool = False,
    begun: Callable[[int], None] = lambda _blobs: None,
    read: Callable[[], None] = lambda: None,
) -> Restored:
    """Make `folder` the data folder that `source` was made of, in a new epoch: tokens of leases and serials of events
    that were given after the backup are not given again. `private` are further names, normalised, that are known here
    from now on; with `revoke_tokens` no token of the backup is valid. `now_s` counts from 1970, `at` is the same time
    as text.

    An index is there when all is; killed before, it can be done again into the same folder.
    `begun` is told how many blobs there are, `read` is called after each. Raises `PinwheelError` and `NoSpace`.
    """
    with _opened(source) as tar:
        manifest = _manifest(tar, source)
        begun(manifest.blobs)
        _empty(folder)
        blobs = FolderBlobs(folder / "blobs", folder / "tmp")
        with scratch_folder(folder / "tmp", "restore") as scratch, full_disk_told(folder):
            _extract(tar, _next(tar, DATABASE, source), scratch / DATABASE)
            damaged, count = _blobs(tar, scratch, blobs, read)
            if count != manifest.blobs:
                raise _cut(source)
            tokens = _renewed(scratch / DATABASE, now_s, at, private, revoke_tokens=revoke_tokens)
            synced(scratch / DATABASE)
            try:
                # last, and never over another: from here on this folder holds an index
                os.link(scratch / DATABASE, folder / DATABASE)
            except FileExistsError as error:
                raise _not_empty(folder) from error
            synced(folder)
    return Restored(manifest, tuple(damaged), tokens)


def _blobs(tar: tarfile.TarFile, scratch: Path, blobs: FolderBlobs, read: Callable[[], None]) -> tuple[list[str], int]:
    """Store the rest of the members. Returns the hashes of those that are damaged, and how many there were."""
    damaged: list[str] = []
    batch: dict[str, Path] = {}
    count = size_bytes = 0

    def store() -> None:
        blobs.put_all(batch)
        for file in batch.values():
            file.unlink()
        batch.clear()

    for member in tar:
        found = _BLOB.fullmatch(member.name)
        if not found or not member.isreg():
            continue
        sha256, file = found[1], scratch / found[1]
        if _extract(tar, member, file) == sha256:
            batch[sha256] = file
        else:
            damaged.append(sha256)
            file.unlink()
        count += 1
        size_bytes += member.size
        if len(batch) == BATCH_BLOBS or size_bytes >= BATCH_BYTES:
            store()
            size_bytes = 0
        read()
    store()
    return damaged, count


def _renewed(file: Path, now_s: float, at: str, private: tuple[str, ...], *, revoke_tokens: bool) -> tuple[str, ...]:
    """Let the database begin its new epoch, all of it in the one file. Returns the tokens that are valid in it."""
    with contextlib.ExitStack() as opened:
        database = Database(file)
        opened.callback(database.close)
        records, tokens = DatabaseRecords(database), DatabaseTokens(database)
        records.reserve(private, at)
        if revoke_tokens:
            tokens.revoke_all(at)
        records.begin_epoch(now_s)
        lasting = [each for each in tokens.every() if each.expires_at is None or each.expires_at > now_s]
        opened.pop_all()
        # only this file gets a name in the data folder
        database.close_as_one_file()
    return tuple(each.name for each in lasting if not each.revoked_at and not each.parent)


def _empty(folder: Path) -> None:
    """Make the folder. Raises `PinwheelError` when there is more in it than an interrupted restore leaves."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        there = {each.name for each in folder.iterdir()}
    except OSError as error:
        raise PinwheelError(
            f"the data folder cannot be written: {error.strerror}",
            where=str(folder),
            remedy="name an empty folder of ours, or one that does not exist, with --data",
        ) from error
    if there - _NOTHING:
        raise _not_empty(folder)


def _not_empty(folder: Path) -> PinwheelError:
    return PinwheelError(
        "the data folder is not empty", where=str(folder), remedy="name one that is empty or does not exist with --data"
    )


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|", bufsize=CHUNK_BYTES) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise _cut(source) from error
    except FileNotFoundError as error:
        if error.filename != str(source):
            raise
        raise PinwheelError(
            "there is no such backup", where=str(source), remedy="name a file of index.backup"
        ) from error
    except PermissionError as error:
        raise PinwheelError(
            f"it cannot be read or written: {error.strerror}", where=str(error.filename), remedy="work as its owner"
        ) from error


def _cut(source: Path) -> PinwheelError:
    return PinwheelError(
        "this is no whole backup: it was cut, or is something else", where=str(source), remedy="restore another one"
    )


def _next(tar: tarfile.TarFile, name: str, source: Path) -> tarfile.TarInfo:
    member = tar.next()
    if member is None or member.name != name or not member.isreg():
        raise _cut(source)
    return member


def _manifest(tar: tarfile.TarFile, source: Path) -> Manifest:
    file = tar.extractfile(_next(tar, MANIFEST, source))
    try:
        manifest = Manifest(**json.loads(_whole(file, 64 * 1024)))
    except (ValueError, TypeError) as error:
        raise _cut(source) from error
    if (manifest.format, manifest.schema) != (FORMAT, SCHEMA_VERSION):
        newer = manifest.format > FORMAT or manifest.schema > SCHEMA_VERSION
        raise PinwheelError(
            f"the backup has schema version {manifest.schema}, this pinwheel works with {SCHEMA_VERSION}",
            where=str(source),
            remedy=f"restore it with the {'newer' if newer else 'older'} pinwheel that wrote it",
        )
    return manifest


def _whole(file: IO[bytes] | None, most_bytes: int) -> bytes:
    return file.read(most_bytes) if file is not None else b""


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, to: Path) -> str:
    """Write the member's bytes to a new file, and give their sha256."""
    digest = hashlib.sha256()
    source = tar.extractfile(member)
    with to.open("xb") as out:
        while source is not None and (chunk := source.read(CHUNK_BYTES)):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
