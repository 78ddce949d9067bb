"""The outbox: which pages have changed since they were last kept as files. A change puts them there with itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sqlalchemy import literal, select, tuple_

from pinwheel.index.store.database import Database
from pinwheel.index.store.tables import dirty, projects

ROOTS = ""
"""Stands for the pages that list the projects."""


class Outbox(Protocol):
    """What is still to be rendered. Pages are named by their project, or `ROOTS`."""

    def pending(self, most: int) -> tuple[str, ...]:
        """At most so many pages that have changed, the oldest changes first and `ROOTS` last: a project is listed once
        it has its page."""

    def serial(self, page: str) -> int | None:
        """The serial of the page's last change, None when it is not pending."""

    def clear(self, rendered: Mapping[str, int]) -> None:
        """These pages, at most 1,000, were rendered as of these serials. A later change stays."""

    def fill(self) -> None:
        """Every page is pending."""


class DatabaseOutbox:
    """`Outbox` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, most: int) -> tuple[str, ...]:
        with self._database.reading() as connection:
            wanted = (
                select(dirty.c.project).order_by(dirty.c.project == ROOTS, dirty.c.serial, dirty.c.project).limit(most)
            )
            return tuple(connection.execute(wanted).scalars())

    def serial(self, page: str) -> int | None:
        with self._database.reading() as connection:
            return connection.execute(select(dirty.c.serial).where(dirty.c.project == page)).scalar()

    def clear(self, rendered: Mapping[str, int]) -> None:
        if rendered:
            with self._database.writing() as connection:
                which = tuple_(dirty.c.project, dirty.c.serial).in_(list(rendered.items()))
                connection.execute(dirty.delete().where(which))

    def fill(self) -> None:
        with self._database.writing() as connection:
            missing = select(projects.c.name, projects.c.serial).where(projects.c.name.not_in(select(dirty.c.project)))
            connection.execute(dirty.insert().from_select(["project", "serial"], missing))
            connection.execute(dirty.delete().where(dirty.c.project == ROOTS))
            connection.execute(dirty.insert().from_select(["project", "serial"], select(literal(ROOTS), literal(0))))
