"""Blobs: immutable bytes named by their sha256. Half a blob is never visible, and one that is visible is on disk."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from pinwheel.index.entries import CHUNK_BYTES, SHA256
from pinwheel.index.store.disk import (
    full_disk_told,
    locked,
    scratch_file,
    scratch_folder,
    synced,
    synced_all,
    write_all,
)


class Blobs(Protocol):
    """What the rest of the index needs of a blob store. A contract test runs against each that there is."""

    def put(self, data: Path | bytes, sha256: str) -> None:
        """Store the bytes under their hash, durably when this returns. A file must lie in the store's own temporary
        folder, and is left there: it may become the blob itself, so nobody else may ever write to it.
        Putting what is there already changes nothing, unless that is damaged: then it is replaced. Raises `NoSpace`."""

    def put_all(self, files: Mapping[str, Path]) -> None:
        """The same for many files by their hashes, with no more waiting for the disk than for one. Raises `NoSpace`."""

    def open(self, sha256: str) -> BinaryIO | None:
        """The blob for reading, positioned at its start; None when there is none."""

    def size_bytes(self, sha256: str) -> int | None:
        """Its length; None when there is none."""

    def every(self) -> Iterator[str]:
        """The hashes of all blobs, in no order."""

    def discard(self, sha256: str) -> None:
        """Remove the blob if it is there. Only for what no record needs."""

    def held(self, *hashes: str) -> AbstractContextManager[None]:
        """Keep `discard_orphan` from these blobs, also in other processes: from before `put` until the record that
        needs them is committed. Raises `NoSpace`."""

    def discard_orphan(self, sha256: str, needed: Callable[[str], bool]) -> None:
        """Remove the blob unless it is needed, which is asked while nobody holds the blob."""


class FolderBlobs:
    """`Blobs` in a local folder: `<first two>/<sha256>`."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        """`temporary` must be on the same file system as `folder`."""
        self._folder = folder
        self._temporary = temporary
        folder.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(parents=True, exist_ok=True)

    def put(self, data: Path | bytes, sha256: str) -> None:
        with full_disk_told(self._folder):
            if isinstance(data, bytes):
                with scratch_file(self._temporary, "blob") as partial:
                    write_all(partial, data)
                    self.put(Path(partial.name), sha256)
                return
            self._check(data)
            synced(data)
            self._place(data, sha256)
            # also when it existed: its own writer may not have come this far
            synced(self._path(sha256).parent)

    def put_all(self, files: Mapping[str, Path]) -> None:
        for file in files.values():
            self._check(file)
        with full_disk_told(self._folder):
            # twice, for the same reason as above: what becomes visible is on disk, and so is that it is visible
            synced_all(self._folder)
            for sha256, file in files.items():
                self._place(file, sha256)
            synced_all(self._folder)

    def _check(self, file: Path) -> None:
        if self._temporary not in file.parents or ".." in file.parts or file.is_symlink():
            raise ValueError(f"not a temporary file of this store: {file}")

    def _place(self, partial: Path, sha256: str) -> None:
        final = self._path(sha256)
        self._make(final.parent)
        # link, not rename: an existing blob that is sound is never replaced, by whatever race
        try:
            os.link(partial, final)
        except FileExistsError:
            if not self._is_sound(sha256):
                fresh = self._temporary / f"blob-{secrets.token_hex(8)}"
                os.link(partial, fresh)
                fresh.replace(final)

    def _is_sound(self, sha256: str) -> bool:
        file = self.open(sha256)
        if file is None:
            return False
        with file:
            return sha256_of(file) == sha256

    def open(self, sha256: str) -> BinaryIO | None:
        try:
            return self._path(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def size_bytes(self, sha256: str) -> int | None:
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def every(self) -> Iterator[str]:
        for folder in self._folder.iterdir():
            if folder.is_dir():
                yield from (file.name for file in folder.iterdir() if SHA256.fullmatch(file.name))

    def discard(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self, *hashes: str) -> Iterator[None]:
        # a lock on the folder that a blob shares with a 256th of all: it needs no file, which a full disk would refuse
        with contextlib.ExitStack() as locks:
            for folder in {self._path(sha256).parent for sha256 in hashes}:
                with full_disk_told(self._folder):
                    self._make(folder)
                locks.enter_context(locked(folder, fcntl.LOCK_SH))
            yield

    def discard_orphan(self, sha256: str, needed: Callable[[str], bool]) -> None:
        final = self._path(sha256)
        if final.exists():
            with locked(final.parent, fcntl.LOCK_EX):
                if not needed(sha256):
                    final.unlink(missing_ok=True)

    @contextlib.contextmanager
    def frozen(self, needed: Callable[[], Iterable[str]]) -> Iterator[dict[str, Path | None]]:
        """Files with the blobs that are `needed()`, which is asked while no blob can be discarded; None for those that
        are missing. They stay while the context lasts, whatever is discarded meanwhile. Nobody may write to them."""
        with scratch_folder(self._temporary, "frozen") as scratch:
            with full_disk_told(self._folder), contextlib.ExitStack() as locks:
                for number in range(256):
                    folder = self._folder / f"{number:02x}"
                    self._make(folder)
                    locks.enter_context(locked(folder, fcntl.LOCK_SH))
                found: dict[str, Path | None] = {}
                for sha256 in needed():
                    found[sha256] = scratch / sha256
                    try:
                        os.link(self._path(sha256), scratch / sha256)
                    except FileNotFoundError:
                        found[sha256] = None
            yield found

    def path(self, sha256: str) -> Path:
        """Where the blob is or would be: for readers that need a file, such as zipfile."""
        return self._path(sha256)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            synced(self._folder)

    def _path(self, sha256: str) -> Path:
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"not a sha256: {sha256!r}")
        return self._folder / sha256[:2] / sha256


def sha256_of(file: BinaryIO) -> str:
    """The hash of what is left to read in `file`."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
