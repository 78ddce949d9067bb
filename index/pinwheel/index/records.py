"""The records of what is published. The commit of `publish` is the one moment at which a file exists."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from packaging.utils import canonicalize_version
from sqlalchemy import Connection, Row, and_, or_, select

from pinwheel.events import Event
from pinwheel.index.database import Database
from pinwheel.index.entries import AlreadyThere, FileEntry, NewFile, Outcome, Published, Taken
from pinwheel.index.tables import attachments, counters, dirty, events, files, projects, releases


class Records(Protocol):
    """What the rest of the index needs of a store of records. A contract test runs against each that there is."""

    def publish(self, new: NewFile) -> Outcome:
        """Make the file exist, in one transaction with its event. Raises `NoSpace`."""

    def remove(self, filename: str, at: str, actor: str) -> bool:
        """Take the file away for good; its name stays taken. False when there is none."""

    def project(self, name: str) -> tuple[FileEntry, ...]:
        """The files of the project with this normalised name, ordered by filename."""

    def file(self, filename: str) -> FileEntry | None:
        """The file of that name, unless it was removed."""

    def by_identity(self, identity: str) -> Taken | None:
        """Who has this identity already, removed or not."""

    def every_file(self) -> Iterator[FileEntry]:
        """Every file that is not removed, ordered by filename."""

    def names(self) -> tuple[str, ...]:
        """The projects that have at least one file, sorted."""

    def is_private(self, name: str) -> bool:
        """Whether this normalised name was ever published here, also when all its files are removed."""

    def blobs(self) -> set[str]:
        """The sha256 of every blob that a record needs."""

    def needs(self, sha256: str) -> bool:
        """Whether a record needs this blob. Costs the same however many records there are."""

    def stamp(self) -> int:
        """A number that differs whenever anything may have changed since it was last asked. Must be very cheap."""

    def serials(self) -> Serials:
        """The counters that a change of files or of access raises."""

    def changed_since(self, serial: int) -> tuple[str, ...]:
        """The projects whose files changed after that value of `Serials.files`."""


@dataclass(frozen=True, slots=True)
class Serials:
    """How often the published files and the access rules have changed since the database was made."""

    files: int
    access: int


class DatabaseRecords:
    """`Records` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, new: NewFile) -> Outcome:
        entry = new.entry
        with self._database.writing() as connection:
            taken = _taken(connection, or_(files.c.identity == new.identity, files.c.filename == entry.filename))
            if taken is not None:
                return AlreadyThere() if taken.sha256 == entry.sha256 and not taken.removed else taken
            serial = raised(connection, "files")
            project_id = _project_id(connection, entry.project, entry.upload_time)
            connection.execute(
                files.insert().values(
                    project_id=project_id,
                    release_id=_release_id(connection, project_id, entry.version),
                    filename=entry.filename,
                    identity=new.identity,
                    kind=new.kind,
                    version=entry.version,
                    sha256=entry.sha256,
                    size_bytes=entry.size_bytes,
                    metadata_sha256=entry.core_metadata or None,
                    requires_python=entry.requires_python,
                    upload_time=entry.upload_time,
                    uploader=new.uploader,
                )
            )
            _touch(connection, project_id, entry.project, serial)
            _note(connection, entry.upload_time, new.uploader, entry)
            return Published(serial)

    def remove(self, filename: str, at: str, actor: str) -> bool:
        with self._database.writing() as connection:
            which = and_(files.c.filename == filename, files.c.removed_at.is_(None))
            wanted = select(files.c.id, files.c.project_id, projects.c.name).join(projects).where(which)
            row = connection.execute(wanted).first()
            if row is None:
                return False
            serial = raised(connection, "files")
            connection.execute(files.update().where(files.c.id == row.id).values(removed_at=at, removed_by=actor))
            _touch(connection, row.project_id, row.name, serial)
            return True

    def project(self, name: str) -> tuple[FileEntry, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(_visible().where(projects.c.name == name).order_by(files.c.filename))
            return tuple(map(_entry, rows))

    def file(self, filename: str) -> FileEntry | None:
        with self._database.reading() as connection:
            row = connection.execute(_visible().where(files.c.filename == filename)).first()
            return _entry(row) if row else None

    def by_identity(self, identity: str) -> Taken | None:
        with self._database.reading() as connection:
            return _taken(connection, files.c.identity == identity)

    def every_file(self) -> Iterator[FileEntry]:
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=1000).execute(_visible().order_by(files.c.filename))
            yield from map(_entry, rows)

    def names(self) -> tuple[str, ...]:
        wanted = (
            select(projects.c.name)
            .where(select(files.c.id).where(files.c.project_id == projects.c.id, files.c.removed_at.is_(None)).exists())
            .order_by(projects.c.name)
        )
        with self._database.reading() as connection:
            return tuple(connection.execute(wanted).scalars())

    def is_private(self, name: str) -> bool:
        with self._database.reading() as connection:
            return connection.execute(select(projects.c.id).where(projects.c.name == name)).first() is not None

    def blobs(self) -> set[str]:
        with self._database.reading() as connection:
            needed = set(connection.execute(select(files.c.sha256).where(files.c.removed_at.is_(None))).scalars())
            metadata = select(files.c.metadata_sha256).where(files.c.removed_at.is_(None))
            needed |= {each for each in connection.execute(metadata).scalars() if each}
            return needed | set(connection.execute(select(attachments.c.sha256)).scalars())

    def needs(self, sha256: str) -> bool:
        there = files.c.removed_at.is_(None)
        wanted = (
            select(files.c.id).where(files.c.sha256 == sha256, there),
            select(files.c.id).where(files.c.metadata_sha256 == sha256, there),
            select(attachments.c.id).where(attachments.c.sha256 == sha256),
        )
        with self._database.reading() as connection:
            return any(connection.execute(each.limit(1)).first() is not None for each in wanted)

    def stamp(self) -> int:
        return self._database.stamp()

    def serials(self) -> Serials:
        with self._database.reading() as connection:
            found = {row.name: row.value for row in connection.execute(select(counters.c.name, counters.c.value))}
            return Serials(found["files"], found["access"])

    def changed_since(self, serial: int) -> tuple[str, ...]:
        with self._database.reading() as connection:
            return tuple(connection.execute(select(projects.c.name).where(projects.c.serial > serial)).scalars())


def raised(connection: Connection, counter: str) -> int:
    """Raise a counter within the running write transaction and return its new value."""
    wanted = counters.c.name == counter
    connection.execute(counters.update().where(wanted).values(value=counters.c.value + 1))
    return int(connection.execute(select(counters.c.value).where(wanted)).scalar_one())


def insert_event(connection: Connection, document: dict[str, Any], recorded_by: str) -> bool:
    """Record an event's document, and the principal who sent it, unless its id is known. True when it is new."""
    if connection.execute(select(events.c.serial).where(events.c.id == document["id"])).first() is not None:
        return False
    named = {key: document[key] for key in ("id", "at", "kind", "subject", "environment")}
    stored = json.dumps(document | {"recorded_by": recorded_by})
    connection.execute(events.insert().values(**named, serial=raised(connection, "events"), document=stored))
    return True


def _note(connection: Connection, at: str, actor: str, entry: FileEntry) -> None:
    """The event of a publication: it commits with the record or not at all."""
    detail = {"filename": entry.filename, "sha256": entry.sha256, "size": entry.size_bytes}
    event = Event(uuid.uuid4().hex, at, "published", actor, entry.project, entry.version, detail=detail)
    insert_event(connection, event.document(), actor)


def _project_id(connection: Connection, name: str, at: str) -> int:
    """The project's row, which is made when it is not there."""
    found = connection.execute(select(projects.c.id).where(projects.c.name == name)).scalar()
    if found is not None:
        return int(found)
    made = projects.insert().values(name=name, serial=0, created_at=at, status="active", status_reason="")
    return int(connection.execute(made.returning(projects.c.id)).scalar_one())


def _release_id(connection: Connection, project_id: int, version: str) -> int:
    """The row of the file's release, which is made when it is not there."""
    canonical = canonicalize_version(version)
    which = and_(releases.c.project_id == project_id, releases.c.version == canonical)
    found = connection.execute(select(releases.c.id).where(which)).scalar()
    if found is not None:
        return int(found)
    made = releases.insert().values(project_id=project_id, version=canonical)
    return int(connection.execute(made.returning(releases.c.id)).scalar_one())


def _touch(connection: Connection, project_id: int, name: str, serial: int) -> None:
    """The project changed with `serial`: its pages have to be made again, and so do those that list the projects."""
    connection.execute(projects.update().where(projects.c.id == project_id).values(serial=serial))
    for page in (name, ""):
        if not connection.execute(dirty.update().where(dirty.c.project == page).values(serial=serial)).rowcount:
            connection.execute(dirty.insert().values(project=page, serial=serial))


def _visible() -> Any:
    return (
        select(projects.c.name.label("project"), files, releases.c.yanked)
        .join(projects, files.c.project_id == projects.c.id)
        .join(releases, files.c.release_id == releases.c.id)
        .where(files.c.removed_at.is_(None))
    )


def _entry(row: Row[Any]) -> FileEntry:
    return FileEntry(
        project=row.project,
        filename=row.filename,
        version=row.version,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        core_metadata=row.metadata_sha256 or False,
        requires_python=row.requires_python,
        upload_time=row.upload_time,
        yanked=row.yanked,
    )


def _taken(connection: Connection, which: Any) -> Taken | None:
    row = connection.execute(select(files.c.filename, files.c.sha256, files.c.removed_at).where(which)).first()
    return Taken(row.filename, row.sha256, row.removed_at is not None) if row else None
