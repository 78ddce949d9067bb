"""The index's database: the one place that opens it, SQLite in WAL mode.

Every write transaction takes the write lock when it begins, so that what it reads stays true until it commits.
Nothing here assumes one process.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, bindparam, create_engine, event, inspect, select
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as NoConnection

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import Busy, NoSpace
from pinwheel.index.store.changes import Changes
from pinwheel.index.store.tables import SCHEMA_VERSION, counters, meta, schema

DATABASE = "index.sqlite"  # in a data folder, and in a backup of one
BUSY_S = 20
MOST_CONNECTIONS = 264
TURN_S = 0.0005
ASK_S = 0.05
COUNTERS = ("files", "access", "events")
EPOCH_BITS = 20  # so many changes a second fit between two epochs


class Database:
    """Connections to one index database. Safe to share between threads; open it anew in each process."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which is made when it does not exist. Raises `PinwheelError` for another schema version."""
        self.path = path
        self._engine = _engine(path)
        self._turn = threading.Lock()
        self._changes = Changes(path.with_suffix(".changes"))
        with _translated(path):
            self._prepare()
        # its numbers mean nothing to another connection, so all threads share this one
        self._watcher = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._watching = threading.Lock()
        self._state = (b"", 0)
        self._asked_at = 0.0

    def close(self) -> None:
        self._watcher.close()
        self._changes.close()
        self._engine.dispose()

    def close_as_one_file(self) -> None:
        """Close it with all of it in the one file: nothing is left in SQLite's log, which whoever takes the file alone
        would lose. Raises `PinwheelError` when that cannot be."""
        self.close()
        with _translated(self.path), contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S)) as last:
            _fold(last, self.path)

    def state(self) -> object:
        """A value that differs from the last one whenever anybody may have committed in between. Very cheap.

        Whoever commits tells so before it says anything to a client. Of somebody who was killed in between, and of
        writers that are not this program, SQLite itself knows; it is asked every `ASK_S`.
        """
        seen = self._changes.seen()
        now = time.monotonic()
        if seen != self._state[0] or now - self._asked_at > ASK_S:
            with _translated(self.path), self._watching:
                version = int(self._watcher.execute("PRAGMA data_version").fetchone()[0])
                if (seen, version) != self._state:
                    self._state = (seen, version)
                self._asked_at = now
        return self._state

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with _translated(self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its beginning. Raises `NoSpace` and `Busy`."""
        with (
            _translated(self.path),
            self._my_turn(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection
        self._changes.tell()

    def copy_to(self, file: Path) -> None:
        """Make `file` a copy of one moment, while others read and write. Raises `NoSpace`."""
        with (
            _translated(file),
            contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S)) as source,
            contextlib.closing(sqlite3.connect(file)) as copy,
        ):
            source.backup(copy)
            _fold(copy, file)

    @contextlib.contextmanager
    def _my_turn(self) -> Iterator[None]:
        """One writer of this process at a time asks SQLite for the lock; the others wait without asking."""
        if not self._turn.acquire(timeout=BUSY_S):
            raise _busy(self.path)
        try:
            yield
        finally:
            self._turn.release()

    def faults(self) -> tuple[str, ...]:
        """What is wrong with the file itself: damaged pages, indexes unlike their tables, rows that lead nowhere."""
        with self.reading() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            lost = [row[0] for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]
        broken = [f"a row of {table} names one that is not there" for table in lost]
        return (*(said for said in found if said != "ok"), *broken)

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            found = inspect(connection).has_table("meta")
        if not found:
            with self.writing() as connection:
                # somebody else may have made them since; the write lock is ours now
                schema.create_all(connection)
                if connection.execute(select(meta.c.value).where(meta.c.key == "schema")).first() is None:
                    connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
                    connection.execute(meta.insert().values(key="epoch", value="0"))
                    connection.execute(counters.insert(), [{"name": name, "value": 0} for name in COUNTERS])
                    raise_epoch(connection, time.time())
        with self.reading() as connection:
            version = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if version != str(SCHEMA_VERSION):
            newer = version is not None and version.isdigit() and int(version) > SCHEMA_VERSION
            raise PinwheelError(
                f"the index's database has schema version {version}, this pinwheel works with {SCHEMA_VERSION}",
                where=str(self.path),
                remedy=_NEWER if newer else _OLDER,
            )


_NEWER = "use the newer pinwheel that wrote it: this one is too old for it"
_OLDER = (
    "use the older pinwheel that wrote it: before the first release nothing is migrated, so this one can only begin "
    "anew in another folder (--data)"
)

_RAISE = (
    counters.update()
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + bindparam("by"))
    .returning(counters.c.value)
)


def raised(connection: Connection, counter: str, by: int = 1) -> int:
    """Raise a counter within the running write transaction and return its new value."""
    return int(connection.execute(_RAISE, {"counter": counter, "by": by}).scalar_one())


def epoch(connection: Connection) -> int:
    """The first number of the time since the database was made or restored: tokens and serials are above it."""
    return int(connection.execute(select(meta.c.value).where(meta.c.key == "epoch")).scalar_one()) << EPOCH_BITS


def raise_epoch(connection: Connection, now: float) -> None:
    """Begin a new epoch, `now` in seconds since 1970: no token of a lease and no serial that anybody saw before,
    of this database or of the one whose place it takes, will be given again."""
    before = int(connection.execute(select(meta.c.value).where(meta.c.key == "epoch")).scalar_one())
    connection.execute(meta.update().where(meta.c.key == "epoch").values(value=str(max(before + 1, int(now)))))
    floor = epoch(connection)
    connection.execute(counters.update().where(counters.c.value < floor).values(value=floor))


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
        pool_size=min(8, MOST_CONNECTIONS),
        max_overflow=max(0, MOST_CONNECTIONS - 8),
        pool_timeout=BUSY_S,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if connection.get_execution_options().get("writes"):
            _begin_writing(driver)
        else:
            driver.execute("BEGIN")

    return engine


def _begin_writing(connection: Any) -> None:
    """Wait for the write lock ourselves: SQLite sleeps longer and longer, up to 100 ms, for one that is held for 3."""
    deadline = time.monotonic() + BUSY_S
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(TURN_S)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S * 1000}")


def _fold(connection: sqlite3.Connection, path: Path) -> None:
    """Bring all of SQLite's log into the file itself, and on disk. Raises `Busy` when somebody else is there."""
    if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
        raise _busy(path)


def _code(error: object) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the rest says more, in dozens of ways


def _busy(path: Path) -> Busy:
    return Busy(
        f"the index's database is held by another writer for more than {BUSY_S} s",
        where=str(path),
        remedy="try again in a moment",
    )


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = error.orig if isinstance(error, DatabaseError) else error
        code = _code(reason)
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace("the disk is full", where=str(path), remedy="free some space and try again") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise _busy(path) from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise PinwheelError(
                "the index's database is damaged",
                where=str(path),
                remedy="stop the server and restore a backup: pinwheel index.restore FILE --data DIR",
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise PinwheelError(
                "the index's database cannot be opened for writing",
                where=str(path),
                remedy="work as the folder's owner, correct its permissions, or name another with --data",
            ) from error
        if isinstance(reason, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:  # that one is a fault of ours
            raise PinwheelError(
                f"the index's database cannot be read or written: {reason}",
                where=str(path),
                remedy="look for faults of the disk and its file system",
            ) from error
        raise
    except NoConnection as error:
        raise Busy(
            f"more than {MOST_CONNECTIONS} use the index's database at once",
            where=str(path),
            remedy="try again in a moment",
        ) from error
