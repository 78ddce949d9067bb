"""What workers do beside requests outlives a database that fails: said once, tried again, done in the end."""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.index.making import new_file, wheel
from tests.index.running import eventually, make_token

from pinwheel.index.channels import Channels
from pinwheel.index.credentials import last_use
from pinwheel.index.credentials.last_use import LastUse
from pinwheel.index.server import housekeeping
from pinwheel.index.server.assembly import Stored, stamp
from pinwheel.index.server.housekeeping import keep_house
from pinwheel.index.simple import rendering
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.rendering import Renderer
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.outbox import DatabaseOutbox

OFTEN_S = 0.01


@contextlib.contextmanager
def failing(index: Stored) -> Iterator[None]:
    """Each commit is a disk I/O error: the log of SQLite may not grow. Files that are smaller may still be written."""
    log = index.folder / "index.sqlite-wal"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@dataclass
class Duty:
    """Something that is done again and again in a thread, and how often it was tried."""

    work: Callable[[], None]
    tried: int = 0
    log: list[str] = field(default_factory=list)

    def __call__(self) -> None:
        self.tried += 1
        self.work()

    def fails_and_is_tried_again(self) -> bool:
        """Whether it was tried some more times since the first failure was said."""
        if not self.log:
            self.tried = 0
        return self.tried > 5


@pytest.fixture
def leaving() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def test_pages_are_kept_again_once_the_database_works(
    index: Stored, tmp_path: Path, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "EVERY_S", OFTEN_S)
    outbox, cache = DatabaseOutbox(index.database), PageCache(index.records, Channels({}))
    tree = StaticTree(tmp_path / "static", index.folder / "blobs", "us")
    duty = Duty(lambda: None)
    renderer = Renderer(outbox, index.records, index.blobs, cache, tree, duty.log.append)
    duty.work = renderer.catch_up
    monkeypatch.setattr(renderer, "catch_up", duty)
    duty()
    made = wheel("acme")
    index.blobs.put(made.content, made.sha256)
    index.records.publish(new_file(made))
    keeping = threading.Thread(target=renderer.keep_up, args=(leaving,))
    with failing(index):
        keeping.start()
        eventually(duty.fails_and_is_tried_again)
    assert len(duty.log) == 1
    assert "disk I/O error" in duty.log[0]
    eventually(lambda: outbox.pending(1) == ())
    assert (tmp_path / "static" / "simple" / "acme" / "index.html").exists()
    leaving.set()
    keeping.join(30)


def test_the_house_is_kept_again_once_the_database_works(
    index: Stored, tmp_path: Path, leaving: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "EVERY_S", OFTEN_S)
    make_token(index.folder, "minted", "read", parent="ci", expires_at=1.0)
    duty = Duty(lambda: index.tokens.forget_minted(expired_before=time.time()))
    keeping = threading.Thread(target=keep_house, args=(duty, tmp_path / "lock", leaving, duty.log.append))
    with failing(index):
        keeping.start()
        eventually(duty.fails_and_is_tried_again)
        assert index.tokens.every()
    assert "disk I/O error" in duty.log[0]
    eventually(lambda: not index.tokens.every())
    leaving.set()
    keeping.join(30)


def test_the_use_of_tokens_is_written_again_once_the_database_works(
    index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_use, "EVERY_S", OFTEN_S)
    make_token(index.folder, "ci", "read")
    duty = Duty(lambda: None)
    uses = LastUse(index.tokens.used, lambda: 0.0, stamp, duty.log.append)
    duty.work = uses.write
    monkeypatch.setattr(uses, "write", duty)
    uses.note("ci")
    with failing(index):
        threading.Thread(target=uses.keep_writing, daemon=True).start()
        eventually(duty.fails_and_is_tried_again)
    assert len(duty.log) == 1
    assert "disk I/O error" in duty.log[0]
    eventually(lambda: index.tokens.every()[0].last_used_at == stamp(0.0))
