"""The local disk: what is written through it is on it, and what is temporary goes when its writer has gone."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pinwheel.index.entries import NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def full_disk_told(where: Path) -> Iterator[None]:
    """Turn the ways in which a file system says "full" into `NoSpace`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace("the disk is full", where=str(where), remedy="free some space and try again") from error
        raise


@contextlib.contextmanager
def scratch_file(folder: Path, purpose: str) -> Iterator[BinaryIO]:
    """A new file for writing, unbuffered, whose `name` is its path. It is gone when the context ends or, at the latest,
    when `sweep_scratch` finds that whoever made it died. Raises `NoSpace`."""
    while True:
        path = folder / f"{purpose}-{secrets.token_hex(8)}"
        with full_disk_told(folder):
            file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            break
        file.close()  # a sweep was faster than our lock
    try:
        yield file
    finally:
        path.unlink(missing_ok=True)
        file.close()


@contextlib.contextmanager
def scratch_folder(folder: Path, purpose: str) -> Iterator[Path]:
    """The same for a folder and all that is put into it."""
    while True:
        path = folder / f"{purpose}-{secrets.token_hex(8)}"
        with full_disk_told(folder):
            path.mkdir(mode=0o700)
        held = contextlib.ExitStack()
        with contextlib.suppress(FileNotFoundError):
            held.enter_context(locked(path, fcntl.LOCK_EX))
            if path.exists():
                break
        held.close()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        held.close()


def sweep_scratch(folder: Path) -> int:
    """Remove what the dead left in the folder of temporary files and say how much it was. Not what is being written."""
    swept = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
                swept += 1
            finally:
                os.close(descriptor)
    return swept


@contextlib.contextmanager
def locked(folder: Path, how: int) -> Iterator[None]:
    """Hold the lock of a folder, as `fcntl.flock` does it; it ends with the process at the latest."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """All of `data`: an unbuffered file may take less, for instance when the disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def synced(path: Path) -> None:
    """Wait until this one file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def synced_all(folder: Path) -> None:
    """Wait until everything that was written so far to the file system of `folder` is on disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
