"""What this disk allows at most: what an upload has to sync, and nothing else of it."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from ci.bench.uploads import CLIENTS

SUBJECT = "the disk: an upload's syncs alone"
FILES = 2  # a wheel and its metadata
FILE_BYTES = 1024


def per_second(folder: Path, seconds: float) -> float:
    """How often a second `CLIENTS` threads store two small files and commit one row, durably each."""
    folder.mkdir(exist_ok=True)
    database = folder / "rows.sqlite"
    with closing(_opened(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS stored (name TEXT)")
    done: list[int] = []
    turn = threading.Lock()
    began = time.monotonic()

    def client() -> None:
        with closing(_opened(database)) as connection:
            while time.monotonic() < began + seconds:
                for _ in range(FILES):
                    name = _stored(folder)
                with turn:
                    connection.execute("INSERT INTO stored VALUES (?)", (name,))
                done.append(1)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return len(done) / (time.monotonic() - began)


def _opened(database: Path) -> sqlite3.Connection:
    """Each statement commits, and is on disk when it returns: as the index's own database."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _stored(folder: Path) -> str:
    name = secrets.token_hex(8)
    into = folder / name[:2]
    into.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.write(secrets.token_bytes(FILE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    (folder / name).rename(into / name)
    descriptor = os.open(into, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return name
