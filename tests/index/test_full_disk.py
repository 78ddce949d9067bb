"""I10: a full disk is 507, nothing becomes visible, and it works again once there is room, without a restart."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.making import wheel
from tests.index.running import Server, Upstream, call, make_token, run_pinwheel, upload

from pinwheel.index.entries import NoSpace
from pinwheel.index.public import mirror
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.public.upstream import UpstreamClient
from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.store.attachments import DatabaseAttachments, StoredAttachment
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.store.storing import recording
from pinwheel.index.upkeep.verifying import verify

PAGE_BYTES = 4096
PADDING = 256 * 1024


def full(*_: object, **__: object) -> None:
    raise NoSpace("the disk is full")


def orphans(index: Stored) -> set[str]:
    return set(index.blobs.every()) - index.records.blobs()


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


def test_an_upload_whose_commit_finds_no_room_leaves_no_blob(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, made = app(), wheel("acme")
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseRecords, "publish", full)
        assert upload(served, made, token).status == 507
        assert list(index.blobs.every()) == []
    assert list(index.temporary.iterdir()) == []
    assert upload(served, made, token).status == 200


def test_an_attachment_whose_commit_finds_no_room_leaves_no_blob(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, path = app(), "/-/attachments/acme/1.0/pylock.toml"
    with monkeypatch.context() as patched:
        patched.setattr(DatabaseAttachments, "add", full)
        assert call(served, "PUT", path, token, body=b"lock").status == 507
    assert list(index.blobs.every()) == []
    assert call(served, "PUT", path, token, body=b"lock").status == 200


def test_bytes_that_something_else_needs_stay(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is an attachment already."""
    served, made = app(), wheel("acme")
    call(served, "PUT", "/-/attachments/acme/1.0/copy", token, body=made.content)
    monkeypatch.setattr(DatabaseRecords, "publish", full)
    assert upload(served, made, token).status == 507
    assert list(index.blobs.every()) == [made.sha256]


def test_a_blob_that_somebody_is_about_to_record_is_left_alone(index: Stored) -> None:
    """Two bring the same bytes; one fails between the other's `put` and its commit."""
    body = b"the same bytes"
    sha256 = hashlib.sha256(body).hexdigest()
    needed: set[str] = set()
    asked = threading.Event()

    def judged(sha256: str) -> bool:
        asked.set()
        return sha256 in needed

    with index.blobs.held(sha256):
        index.blobs.put(body, sha256)
        failed = threading.Thread(target=index.blobs.discard_orphan, args=(sha256, judged))
        failed.start()
        assert not asked.wait(0.1), "nobody may judge while it is held"
        needed.add(sha256)
    failed.join(30)
    assert asked.is_set()
    assert list(index.blobs.every()) == [sha256]
    needed.clear()
    index.blobs.discard_orphan(sha256, judged)
    assert list(index.blobs.every()) == []
    index.blobs.discard_orphan(sha256, judged)


def test_what_fails_for_another_reason_is_tidy_too(index: Stored) -> None:
    body = b"bytes"
    sha256 = hashlib.sha256(body).hexdigest()
    with pytest.raises(KeyError):
        put_and_fail(index, body, sha256)
    assert list(index.blobs.every()) == []


def put_and_fail(index: Stored, body: bytes, sha256: str) -> None:
    with recording(index.records, index.blobs, sha256):
        index.blobs.put(body, sha256)
        raise KeyError


# a real one


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)), check=True)
    try:
        yield folder
    finally:
        subprocess.run(("umount", str(folder)), check=True)


def free_bytes(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def leave(disk: Path, left_bytes: int) -> Path:
    """A file that leaves only so much room."""
    filler = disk / "filler"
    with filler.open("wb") as out:
        out.write(bytes(free_bytes(disk) - left_bytes))
    assert free_bytes(disk) == left_bytes
    return filler


def database_bytes(server: Server) -> int:
    return sum(file.stat().st_blocks * 512 for file in server.folder.glob("index.sqlite*"))


@pytest.mark.root
def test_a_disk_that_is_really_full_is_free_again_at_once_wherever_it_was_full(disk: Path) -> None:
    """From "not even the upload fits" to "all but the last page of the commit fits"."""
    statuses: list[int] = []
    with running.running(disk / "data") as server:
        token = server.token("t", "read", "upload")
        kept = wheel("kept")
        assert server.upload(kept, token).status == 200
        for number, left_bytes in enumerate([0, PADDING // 2, *range(PADDING, PADDING + 24 * PAGE_BYTES, PAGE_BYTES)]):
            made = wheel("acme", f"1.0.{number}", padding=PADDING)
            filler = leave(disk, left_bytes)
            before = database_bytes(server)
            reply = server.upload(made, token)
            statuses.append(reply.status)
            index = stored(server.folder)
            try:
                assert orphans(index) == set()
                assert list(index.temporary.iterdir()) == []
                assert list(verify(index.records, index.blobs)) == []
            finally:
                index.close()
            if reply.status != 200:
                assert (reply.status, "full" in reply.text) == (507, True)
                # what the database's journal has grown by stays its own, and is used by the next
                assert free_bytes(disk) == left_bytes - (database_bytes(server) - before)
                assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).status == 404
            assert server.ask("GET", f"/files/{kept.sha256}/{kept.filename}", token).body == kept.content
            filler.unlink()
            assert server.upload(made, token).status == 200
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
        assert server.process.poll() is None
    assert (statuses[0], statuses[-1]) == (507, 200)


@pytest.mark.root
def test_an_import_that_fills_the_disk_leaves_it_as_it_was_and_goes_on_once_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for number in range(24):
        made = wheel("acme", f"1.{number}", padding=1024 * 1024)
        (packages / made.filename).write_bytes(made.content)
    data = ("--data", str(disk / "data"))
    stored(disk / "data", create=True).close()
    done = run_pinwheel("index.import", str(packages), *data)
    assert (done.returncode, "the disk is full" in done.stderr) == (1, True), done.stderr
    with contextlib.closing(stored(disk / "data")) as index:
        assert (list(index.blobs.every()), list(index.temporary.iterdir())) == ([], [])
        assert index.records.names() == ()
    subprocess.run(("mount", "-o", "remount,size=64m", str(disk)), check=True)
    done = run_pinwheel("index.import", str(packages), *data)
    assert (done.returncode, "24 published" in done.stderr) == (0, True), done.stderr
    assert run_pinwheel("index.verify", *data).returncode == 0


@pytest.mark.root
def test_a_backup_that_fills_the_disk_leaves_it_as_it_was(disk: Path, index: Stored) -> None:
    body = bytes(20 * 1024 * 1024)
    sha256 = hashlib.sha256(body).hexdigest()
    with recording(index.records, index.blobs, sha256):
        index.blobs.put(body, sha256)
        index.attachments.add("acme", "1", StoredAttachment("zeros", sha256, len(body), "2024"), "ann")
    before = free_bytes(disk)
    done = run_pinwheel("index.backup", str(disk / "backup.tar"), "--data", str(index.folder))
    assert (done.returncode, "the disk is full" in done.stderr) == (1, True), done.stderr
    assert (list(disk.iterdir()), free_bytes(disk)) == ([], before)
    assert run_pinwheel("index.backup", str(index.folder.parent / "b.tar"), "--data", str(index.folder)).returncode == 0
    done = run_pinwheel("index.restore", str(index.folder.parent / "b.tar"), "--data", str(disk / "data"))
    assert (done.returncode, "the disk is full" in done.stderr) == (1, True), done.stderr
    assert not (disk / "data" / "index.sqlite").exists()


@pytest.mark.root
def test_a_cache_whose_disk_is_full_serves_what_it_has_and_forgets_nothing(
    disk: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, later = wheel("public", padding=PADDING), wheel("later")
    upstream.add(made, later)
    cache = mirror.Mirror(disk / "upstream", UpstreamClient(Upstreams((upstream.url,)), print))
    assert cache.page("public") is not None
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    for left_bytes in (0, PAGE_BYTES, PADDING // 2):
        filler = leave(disk, left_bytes)
        assert cache.page("public") is not None
        with pytest.raises(NoSpace):
            cache.open(made.filename, made.sha256)
        if left_bytes == 0:
            with pytest.raises(NoSpace):
                cache.page("later")
        assert list((disk / "upstream" / "tmp").iterdir()) == []
        filler.unlink()
    again = mirror.Mirror(disk / "upstream", UpstreamClient(Upstreams((upstream.url,)), print))
    file = again.open(made.filename, made.sha256)
    assert file is not None
    with file:
        assert file.read() == made.content
