"""Blobs: the contract of every store, and what only a folder must keep."""

from __future__ import annotations

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pinwheel.index.entries import NoSpace
from pinwheel.index.store.blobs import Blobs, FolderBlobs

BODY = b"immutable"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(params=["folder"])
def blobs(tmp_path: Path) -> Blobs:
    return FolderBlobs(tmp_path / "blobs", tmp_path / "tmp")


def test_what_was_put_can_be_read(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "tmp" / "source"
    source.write_bytes(BODY)
    blobs.put(source, SHA256)
    source.unlink()
    file = blobs.open(SHA256)
    assert file is not None
    with file:
        assert file.read() == BODY
    assert blobs.size_bytes(SHA256) == len(BODY)
    assert list(blobs.every()) == [SHA256]


def test_a_file_of_somebody_else_is_not_taken(blobs: Blobs, tmp_path: Path) -> None:
    """It could become the blob itself, and be written to later."""
    (tmp_path / "source").write_bytes(BODY)
    (tmp_path / "tmp" / "link").symlink_to(tmp_path / "source")
    for foreign in (tmp_path / "source", tmp_path / "tmp" / "link", tmp_path / "tmp" / ".." / "source"):
        with pytest.raises(ValueError, match="temporary"):
            blobs.put(foreign, SHA256)
    assert list(blobs.every()) == []


def test_bytes_can_be_put_too(blobs: Blobs) -> None:
    blobs.put(BODY, SHA256)
    assert blobs.size_bytes(SHA256) == len(BODY)


def test_what_is_not_there_is_none(blobs: Blobs) -> None:
    assert blobs.open(SHA256) is None
    assert blobs.size_bytes(SHA256) is None
    assert list(blobs.every()) == []
    blobs.discard(SHA256)


def test_a_damaged_blob_is_replaced(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put(b"x" * len(BODY), SHA256)
    blobs.put(BODY, SHA256)
    file = blobs.open(SHA256)
    assert file is not None
    with file:
        assert file.read() == BODY
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_sound_blob_is_never_replaced(blobs: Blobs) -> None:
    blobs.put(BODY, SHA256)
    blobs.put(b"something else", SHA256)
    file = blobs.open(SHA256)
    assert file is not None
    with file:
        assert file.read() == BODY


def test_putting_at_once_is_harmless(blobs: Blobs) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: blobs.put(BODY, SHA256), range(50)))
    assert list(blobs.every()) == [SHA256]


def test_a_discarded_blob_is_gone(blobs: Blobs) -> None:
    blobs.put(BODY, SHA256)
    blobs.discard(SHA256)
    assert blobs.open(SHA256) is None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "a" * 63])
def test_only_a_hash_names_a_blob(blobs: Blobs, name: str) -> None:
    with pytest.raises(ValueError, match="not a sha256"):
        blobs.open(name)


def test_nothing_temporary_stays(tmp_path: Path) -> None:
    FolderBlobs(tmp_path / "blobs", tmp_path / "tmp").put(BODY, SHA256)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blobs = FolderBlobs(tmp_path / "blobs", tmp_path / "tmp")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(NoSpace):
            blobs.put(BODY, SHA256)
    assert list(blobs.every()) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    blobs.put(BODY, SHA256)
    assert list(blobs.every()) == [SHA256]
