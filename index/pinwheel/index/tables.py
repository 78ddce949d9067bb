"""The schema of the index's database, and the one place that opens it.

SQLite in WAL mode; every write transaction takes the write lock when it begins, so that what it reads stays true
until it commits. Nothing here assumes one process.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.exc import DatabaseError

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import NoSpace

SCHEMA_VERSION = 1
BUSY_S = 20

schema = MetaData()

meta = Table("meta", schema, Column("key", String, primary_key=True), Column("value", String, nullable=False))

counters = Table(
    "counters",
    schema,
    Column("name", String, primary_key=True),  # files: changes of what is published; access: revocations of tokens
    Column("value", Integer, nullable=False),
)

projects = Table(
    "projects",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),  # normalised
    Column("serial", Integer, nullable=False, index=True),  # counters.files at its last change
    Column("created_at", String, nullable=False),
)

files = Table(
    "files",
    schema,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False, index=True),
    Column("filename", String, nullable=False, unique=True),
    Column("identity", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    Column("version", String, nullable=False),
    Column("sha256", String, nullable=False, index=True),
    Column("size_bytes", Integer, nullable=False),
    Column("metadata_sha256", String),
    Column("requires_python", String, nullable=False),
    Column("upload_time", String, nullable=False),
    Column("uploader", String, nullable=False),
    Column("yanked", String),  # the reason; NULL when it is not yanked
    Column("removed_at", String),  # a removed file keeps its row: its name never comes back
    Column("removed_by", String),
)

tokens = Table(
    "tokens",
    schema,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("hash", String, nullable=False, unique=True),  # sha256 of 256 random bits needs no slow hash
    Column("scopes", String, nullable=False),
    Column("projects", String, nullable=False),
    Column("environments", String, nullable=False),
    Column("created_at", String, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", String),
    Column("parent", String, nullable=False),
)

leases = Table(
    "leases",
    schema,
    Column("environment", String, primary_key=True),
    Column("token", Integer, nullable=False),  # the row outlives the lease, so that the token only ever grows
    Column("owner", String, nullable=False),
    Column("rollout", String, nullable=False),
    Column("acquired_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

events = Table(
    "events",
    schema,
    Column("serial", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("at", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("environment", String, nullable=False),
    Column("document", String, nullable=False),
    Index("events_by_subject", "subject", "serial"),
    Index("events_by_environment", "environment", "serial"),
    sqlite_autoincrement=True,
)

attachments = Table(
    "attachments",
    schema,
    Column("id", Integer, primary_key=True),
    Column("project", String, nullable=False),
    Column("version", String, nullable=False),
    Column("name", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("at", String, nullable=False),
    Column("uploader", String, nullable=False),
    Index("attachments_by_version", "project", "version", "name"),
)


class Database:
    """Connections to one index database. Safe to share between threads; open it anew in each process."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which is made when it does not exist. Raises `PinwheelError` for another schema version."""
        self.path = path
        self._engine = _engine(path)
        with _translated(path):
            self._prepare()

    def close(self) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view."""
        with _translated(self.path), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its beginning. Raises `NoSpace`."""
        with (
            _translated(self.path),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _prepare(self) -> None:
        with self._engine.connect() as connection:
            found = inspect(connection).has_table("meta")
        if not found:
            with self.writing() as connection:
                # somebody else may have made them since; the write lock is ours now
                schema.create_all(connection)
                if connection.execute(select(meta.c.value).where(meta.c.key == "schema")).first() is None:
                    connection.execute(meta.insert().values(key="schema", value=str(SCHEMA_VERSION)))
                    connection.execute(
                        counters.insert(), [{"name": "files", "value": 0}, {"name": "access", "value": 0}]
                    )
        with self.reading() as connection:
            version = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if version != str(SCHEMA_VERSION):
            newer = version is not None and version.isdigit() and int(version) > SCHEMA_VERSION
            raise PinwheelError(
                f"the index's database has schema version {version}, this pinwheel works with {SCHEMA_VERSION}",
                where=str(self.path),
                remedy="use the newer pinwheel that wrote it" if newer else "migrate it, or start with an empty folder",
            )


def watcher(path: Path) -> sqlite3.Connection:
    """A plain connection whose `PRAGMA data_version` changes with every commit of any other connection."""
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
        pool_size=8,
        max_overflow=256,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the rest says more, in dozens of ways
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace("the disk is full", where=str(path), remedy="free some space and try again") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise PinwheelError(
                "the index's database is damaged",
                where=str(path),
                remedy="stop the server and restore a copy of the whole data folder",
            ) from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise PinwheelError(
                "the index's database cannot be opened for writing",
                where=str(path),
                remedy="work as the folder's owner, correct its permissions, or name another with --data",
            ) from error
        raise
