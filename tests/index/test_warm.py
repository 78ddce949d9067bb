"""What is asked for again is read from memory, and only if it is what its hash says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pinwheel.index.simple import warm
from pinwheel.index.simple.warm import WarmBlobs
from pinwheel.index.store.blobs import FolderBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs", tmp_path / "tmp")


def put(blobs: FolderBlobs, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    blobs.put(data, sha256)
    return sha256


def read(blobs: WarmBlobs, sha256: str) -> bytes | None:
    file = blobs.open(sha256)
    if file is None:
        return None
    with file:
        return file.read()


def test_the_third_to_ask_is_answered_without_the_disk(blobs: FolderBlobs) -> None:
    sha256 = put(blobs, b"asked for")
    readers = WarmBlobs(blobs)
    assert [read(readers, sha256) for _ in range(2)] == [b"asked for"] * 2
    blobs.discard(sha256)
    assert read(readers, sha256) == b"asked for"


def test_what_is_asked_for_once_stays_on_the_disk(blobs: FolderBlobs) -> None:
    sha256 = put(blobs, b"once")
    readers = WarmBlobs(blobs)
    assert read(readers, sha256) == b"once"
    blobs.discard(sha256)
    assert read(readers, sha256) is None


def test_a_damaged_blob_is_never_kept_so_that_its_repair_is_seen(blobs: FolderBlobs) -> None:
    sha256 = put(blobs, b"sound")
    readers = WarmBlobs(blobs)
    blobs.path(sha256).write_bytes(b"rotten")
    assert [read(readers, sha256) for _ in range(4)] == [b"rotten"] * 4
    blobs.put(b"sound", sha256)
    assert read(readers, sha256) == b"sound"


def test_large_ones_are_not_kept_and_the_oldest_go_first(blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "LARGEST_BYTES", 10)
    monkeypatch.setattr(warm, "MOST_BYTES", 20)
    hashes = [put(blobs, data) for data in (b"a" * 11, b"b" * 10, b"c" * 10, b"d" * 10)]
    readers = WarmBlobs(blobs)
    for sha256 in hashes:
        assert read(readers, sha256) == read(readers, sha256)
        blobs.discard(sha256)
    assert [read(readers, sha256) for sha256 in hashes] == [None, None, b"c" * 10, b"d" * 10]


def test_nothing_is_there_until_it_is(blobs: FolderBlobs) -> None:
    readers = WarmBlobs(blobs)
    sha256 = hashlib.sha256(b"later").hexdigest()
    assert [read(readers, sha256) for _ in range(3)] == [None] * 3
    put(blobs, b"later")
    assert read(readers, sha256) == b"later"
