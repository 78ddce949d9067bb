"""The index's copy of the ledger: every event once, in the order in which it was recorded."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, select

from pinwheel.events import Event
from pinwheel.index.entries import Act
from pinwheel.index.store import statements
from pinwheel.index.store.database import Database, raised
from pinwheel.index.store.tables import events

MOST_EVENTS = 5000


class EventLog(Protocol):
    """The recorded events. A contract test runs against each store that there is."""

    def add(self, documents: Iterable[Mapping[str, Any]], recorded_by: str) -> int:
        """Record the events that are not known by their id, all or none. Returns how many were new.

        `recorded_by` is the principal who sent them; the `actor` is only what was claimed.
        """

    def after(
        self,
        serial: int,
        limit: int,
        visible: Callable[[str, str], bool] = lambda _subject, _environment: True,
        **equal: str,
    ) -> tuple[list[dict[str, Any]], int]:
        """Events after `serial` in its order, each with its `serial`; and the last serial that there is.

        `visible` says by subject and environment which of them count. `equal` may name kind, subject and
        environment; empty text means any.
        """


class DatabaseEventLog:
    """`EventLog` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, documents: Iterable[Mapping[str, Any]], recorded_by: str) -> int:
        with self._database.writing() as connection:
            return sum(insert(connection, dict(document), recorded_by) for document in documents)

    def after(
        self,
        serial: int,
        limit: int,
        visible: Callable[[str, str], bool] = lambda _subject, _environment: True,
        **equal: str,
    ) -> tuple[list[dict[str, Any]], int]:
        wanted = select(events).where(events.c.serial > serial).order_by(events.c.serial)
        for column, value in equal.items():
            if value:
                wanted = wanted.where(events.c[column] == value)
        with self._database.reading() as connection:
            every = connection.execution_options(yield_per=500).execute(wanted)
            ours = (row for row in every if visible(row.subject, row.environment))
            rows = list(itertools.islice(ours, min(limit, MOST_EVENTS)))
            every.close()
            last = connection.execute(select(events.c.serial).order_by(events.c.serial.desc()).limit(1)).scalar()
        return [json.loads(row.document) | {"serial": row.serial} for row in rows], last or 0


def insert(connection: Connection, document: dict[str, Any], recorded_by: str) -> bool:
    """Record an event's document, and the principal who sent it, unless its id is known. True when it is new."""
    if connection.execute(select(events.c.serial).where(events.c.id == document["id"])).first() is not None:
        return False
    connection.execute(events.insert().values(**_row(document, recorded_by, raised(connection, "events"))))
    return True


def own(kind: str, act: Act, subject: str, version: str, detail: Mapping[str, Any]) -> Event:
    """An event of the index itself."""
    return Event(uuid.uuid4().hex, act.at, kind, act.actor, subject, version, detail=detail)


def append(connection: Connection, told: Sequence[Event]) -> None:
    """Record the index's own events, all of them new, within the transaction of what they tell of."""
    last = raised(connection, "events", by=len(told))
    first = last - len(told) + 1
    rows = [_row(event.document(), event.actor, serial) for serial, event in enumerate(told, first)]
    connection.execute(statements.ADD_EVENTS, rows)


def _row(document: dict[str, Any], recorded_by: str, serial: int) -> dict[str, Any]:
    named = {key: document[key] for key in ("id", "at", "kind", "subject", "environment")}
    return {**named, "serial": serial, "document": json.dumps(document | {"recorded_by": recorded_by})}
