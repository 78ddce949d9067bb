"""Documents beside a version: locks and statements. Their bytes are blobs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import and_, select

from pinwheel.index.store.database import Database
from pinwheel.index.store.tables import attachments


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """A document beside a version; its bytes are the blob of that hash."""

    name: str
    sha256: str
    size_bytes: int
    at: str


class Attachments(Protocol):
    """What is stored beside versions. A contract test runs against each store that there is."""

    def add(self, project: str, version: str, stored: StoredAttachment, uploader: str) -> None:
        """Record it as the newest of its name; the same bytes as the newest change nothing."""

    def beside(self, project: str, version: str, name: str = "") -> list[StoredAttachment]:
        """All that were ever stored beside the version, newest first; with `name`, only those of that name."""

    def named(self, names: Collection[str]) -> Iterator[tuple[str, str, StoredAttachment]]:
        """All that were ever stored under one of these names, each with its project and version."""


class DatabaseAttachments:
    """`Attachments` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, project: str, version: str, stored: StoredAttachment, uploader: str) -> None:
        with self._database.writing() as connection:
            same_name = and_(
                attachments.c.project == project,
                attachments.c.version == version,
                attachments.c.name == stored.name,
            )
            newest = select(attachments.c.sha256).where(same_name).order_by(attachments.c.id.desc()).limit(1)
            if connection.execute(newest).scalar() == stored.sha256:
                return
            connection.execute(
                attachments.insert().values(
                    project=project,
                    version=version,
                    name=stored.name,
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    at=stored.at,
                    uploader=uploader,
                )
            )

    def beside(self, project: str, version: str, name: str = "") -> list[StoredAttachment]:
        wanted = select(attachments).where(attachments.c.project == project, attachments.c.version == version)
        if name:
            wanted = wanted.where(attachments.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(attachments.c.id.desc()))
            return [StoredAttachment(row.name, row.sha256, row.size_bytes, row.at) for row in rows]

    def named(self, names: Collection[str]) -> Iterator[tuple[str, str, StoredAttachment]]:
        with self._database.reading() as connection:
            wanted = select(attachments).where(attachments.c.name.in_(names)).order_by(attachments.c.id)
            for row in connection.execution_options(yield_per=1000).execute(wanted):
                yield row.project, row.version, StoredAttachment(row.name, row.sha256, row.size_bytes, row.at)
