"""Writers take turns, in one process and among several; who waits too long is told so."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from pinwheel.index.entries import Busy
from pinwheel.index.store import database
from pinwheel.index.store.database import Database, raised


def test_a_writer_that_waits_for_another_process_in_vain_is_told_that_the_database_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    ours = Database(tmp_path / "index.sqlite")
    theirs = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    theirs.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy), ours.writing():
        pass
    theirs.execute("ROLLBACK")
    with ours.writing() as connection:
        raised(connection, "files")
    theirs.close()
    ours.close()


def test_a_thread_that_waits_for_another_one_in_vain_is_told_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    ours = Database(tmp_path / "index.sqlite")
    told: list[str] = []

    def wait() -> None:
        try:
            with ours.writing():
                pass
        except Busy as error:
            told.append(error.problem)

    with ours.writing():
        other = threading.Thread(target=wait)
        other.start()
        other.join(timeout=30)
    assert len(told) == 1
    ours.close()


def test_who_waits_for_a_connection_in_vain_is_told_that_too_many_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    monkeypatch.setattr(database, "MOST_CONNECTIONS", 1)
    ours = Database(tmp_path / "index.sqlite")
    with ours.reading(), pytest.raises(Busy, match="more than 1"), ours.reading():
        pass
    ours.close()


def test_writers_of_several_threads_and_connections_lose_no_change(tmp_path: Path) -> None:
    places = [Database(tmp_path / "index.sqlite") for _ in range(2)]

    def write(place: Database) -> None:
        for _ in range(10):
            with place.writing() as connection:
                raised(connection, "files")

    with places[0].writing() as connection:
        before = raised(connection, "files")
    writers = [threading.Thread(target=write, args=(place,)) for place in places for _ in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(timeout=60)
    with places[0].writing() as connection:
        assert raised(connection, "files") == before + 61
    for place in places:
        place.close()


def test_a_commit_is_seen_at_once_by_every_other_place(tmp_path: Path) -> None:
    ours, theirs = (Database(tmp_path / "index.sqlite") for _ in range(2))
    seen = ours.state()
    assert ours.state() == seen
    with theirs.writing() as connection:
        raised(connection, "files")
    assert ours.state() != seen
    ours.close()
    theirs.close()


def test_a_commit_of_somebody_who_died_before_telling_of_it_is_seen_soon(tmp_path: Path) -> None:
    ours = Database(tmp_path / "index.sqlite")
    theirs = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    seen = ours.state()
    theirs.execute("UPDATE counters SET value = value + 1")
    deadline = time.monotonic() + 30
    while ours.state() == seen:
        assert time.monotonic() < deadline
    theirs.close()
    ours.close()
