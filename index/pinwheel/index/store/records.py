"""The records of what is published. The commit of `publish` is the one moment at which a file exists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from packaging.utils import canonicalize_version
from sqlalchemy import Connection, Row, func, select

from pinwheel.index.channels import EVERY_FILE, MAIN
from pinwheel.index.entries import (
    Act,
    AlreadyThere,
    Closed,
    FileEntry,
    NewFile,
    Outcome,
    Project,
    Published,
    Standing,
    Taken,
)
from pinwheel.index.store import event_log, statements
from pinwheel.index.store.database import Database, raise_epoch, raised
from pinwheel.index.store.tables import attachments, files, projects

MOST_AT_ONCE = 10_000  # values in one statement; SQLite takes 32,766


class Records(Protocol):
    """What the rest of the index needs of a store of records. A contract test runs against each that there is."""

    def publish(self, new: NewFile) -> Outcome:
        """Make the file exist, in one transaction with its event. Raises `NoSpace`."""

    def publish_all(self, new: Sequence[NewFile]) -> tuple[Outcome, ...]:
        """The same for many files in one transaction: what becomes of each, in their order. At most 1,000."""

    def begin_epoch(self, now: float) -> None:
        """After a restore: no serial and no lease's token that was given since the backup is given again, and every
        page is made again. `now` counts seconds since 1970."""

    def project(self, name: str, visible: frozenset[str] = EVERY_FILE) -> Project:
        """The project with this normalised name and its files in one of the channels `visible`. Its serial is 0 when
        nothing of it was ever published here."""

    def file(self, filename: str) -> FileEntry | None:
        """The file of that name, unless it was removed or is in quarantine."""

    def by_identity(self, identity: str) -> Taken | None:
        """Who has this identity already, removed or not."""

    def every_file(self, *, offered: bool = False) -> Iterator[FileEntry]:
        """Every file that is not removed, ordered by filename; with `offered`, none that is in quarantine."""

    def names(self) -> tuple[str, ...]:
        """The projects that have at least one file, sorted."""

    def is_private(self, name: str) -> bool:
        """Whether this normalised name was ever published here, also when all its files are removed."""

    def blobs(self) -> set[str]:
        """The sha256 of every blob that a record needs."""

    def needs(self, sha256: str) -> bool:
        """Whether a record needs this blob. Costs the same however many records there are."""

    def totals(self) -> Totals:
        """How much is published."""

    def state(self) -> object:
        """A value that differs whenever anything may have changed since it was last asked. Must be very cheap."""

    def serials(self) -> Serials:
        """The counters that a change of files or of access raises."""

    def standings(self, after: int = -1) -> tuple[Standing, ...]:
        """The projects that changed after that value of `Serials.files`, also those that have no files any more."""

    def reserve(self, names: Sequence[str], at: str) -> None:
        """Let these normalised names be private from now on, as if something had been published."""


@dataclass(frozen=True, slots=True)
class Serials:
    """How often the published files and the access rules have changed since the database was made."""

    files: int
    access: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Projects that have files, and their files."""

    projects: int
    files: int
    size_bytes: int


class DatabaseRecords:
    """`Records` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, new: NewFile) -> Outcome:
        return self.publish_all((new,))[0]

    def publish_all(self, new: Sequence[NewFile]) -> tuple[Outcome, ...]:
        with self._database.writing() as connection:
            taken = _takers(connection, new)
            closed = _closed(connection, {each.entry.project for each in new})
            fresh: dict[str, NewFile] = {}
            for each in new:
                free = each.identity not in taken and each.entry.filename not in taken
                if free and each.entry.project not in closed:
                    fresh[each.identity] = each
                    ours = Taken(each.entry.filename, each.entry.sha256, removed=False)
                    taken |= {each.identity: ours, each.entry.filename: ours}
            serial = _inserted(connection, list(fresh.values())) if fresh else 0
            return tuple(
                Published(serial)
                if fresh.get(each.identity) is each
                else _outcome(each, taken.get(each.identity) or taken.get(each.entry.filename), closed)
                for each in new
            )

    def begin_epoch(self, now: float) -> None:
        with self._database.writing() as connection:
            raise_epoch(connection, now)
            every = connection.execute(select(projects.c.name, projects.c.id)).all()
            serial = raised(connection, "files")
            for start in range(0, len(every), MOST_AT_ONCE):
                touch(connection, {row.name: row.id for row in every[start : start + MOST_AT_ONCE]}, serial)

    def project(self, name: str, visible: frozenset[str] = EVERY_FILE) -> Project:
        with self._database.reading() as connection:
            row = connection.execute(statements.PROJECT, {"name": name}).first()
            if row is None:
                return Project(name)
            wanted = statements.files_of_project(visible)
            found = tuple(map(entry_of, connection.execute(wanted, {"project_id": row.id})))
            return Project(name, found, row.status, row.status_reason, row.serial)

    def file(self, filename: str) -> FileEntry | None:
        with self._database.reading() as connection:
            row = connection.execute(statements.FILE, {"filename": filename}).first()
            return entry_of(row) if row else None

    def by_identity(self, identity: str) -> Taken | None:
        with self._database.reading() as connection:
            row = connection.execute(statements.BY_IDENTITY, {"identity": identity}).first()
            return _taken(row) if row else None

    def every_file(self, *, offered: bool = False) -> Iterator[FileEntry]:
        wanted = statements.FILES_OFFERED if offered else statements.FILES_THERE
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=1000).execute(wanted.order_by(files.c.filename))
            yield from map(entry_of, rows)

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

    def totals(self) -> Totals:
        counted = (func.count(files.c.project_id.distinct()), func.count(), func.sum(files.c.size_bytes))
        with self._database.reading() as connection:
            row = connection.execute(select(*counted).where(files.c.removed_at.is_(None))).one()
            return Totals(row[0], row[1], int(row[2] or 0))

    def state(self) -> object:
        return self._database.state()

    def serials(self) -> Serials:
        with self._database.reading() as connection:
            found = {row.name: row.value for row in connection.execute(statements.SERIALS)}
            return Serials(found["files"], found["access"])

    def standings(self, after: int = -1) -> tuple[Standing, ...]:
        changed = {"after": after}
        with self._database.reading() as connection:
            found = {
                row.name: {MAIN} if row.there else set() for row in connection.execute(statements.CHANGED, changed)
            }
            for row in connection.execute(statements.CHANGED_CHANNELS, changed):
                found[row.name].add(row.channel)
        # most projects stand alike, and one set for all of them is enough
        alike: dict[frozenset[str], frozenset[str]] = {}
        return tuple(
            Standing(name, alike.setdefault(where, where))
            for name, where in ((name, frozenset(channels)) for name, channels in found.items())
        )

    def reserve(self, names: Sequence[str], at: str) -> None:
        with self._database.writing() as connection:
            for start in range(0, len(names), MOST_AT_ONCE):
                some = names[start : start + MOST_AT_ONCE]
                known = set(connection.execute(select(projects.c.name).where(projects.c.name.in_(some))).scalars())
                missing = {name: at for name in some if name not in known}
                if missing:
                    touch(connection, _project_ids(connection, missing), raised(connection, "files"))


def _inserted(connection: Connection, new: Sequence[NewFile]) -> int:
    """Record files whose places are free, each with its event: both commit or neither. Returns their serial."""
    serial = raised(connection, "files")
    project_ids = _project_ids(connection, {each.entry.project: each.entry.upload_time for each in new})
    release_ids = _release_ids(connection, {_release(project_ids, each) for each in new})
    rows = [
        {
            "project_id": project_ids[each.entry.project],
            "release_id": release_ids[_release(project_ids, each)],
            "filename": each.entry.filename,
            "identity": each.identity,
            "kind": each.kind,
            "version": each.entry.version,
            "sha256": each.entry.sha256,
            "size_bytes": each.entry.size_bytes,
            "metadata_sha256": each.entry.core_metadata or None,
            "requires_python": each.entry.requires_python,
            "upload_time": each.entry.upload_time,
            "uploader": each.uploader,
        }
        for each in new
    ]
    connection.execute(statements.ADD_FILES, rows)
    touch(connection, project_ids, serial)
    _note(connection, new)
    return serial


def _note(connection: Connection, new: Sequence[NewFile]) -> None:
    told = []
    for each in new:
        entry = each.entry
        detail = {"filename": entry.filename, "sha256": entry.sha256, "size": entry.size_bytes}
        act = Act(entry.upload_time, each.uploader)
        told.append(event_log.own("published", act, entry.project, entry.version, detail))
    event_log.append(connection, told)


def _project_ids(connection: Connection, at: Mapping[str, str]) -> dict[str, int]:
    """The rows of the projects named, which are made where they are not there, with the time that is given."""

    def there() -> dict[str, int]:
        rows = connection.execute(statements.PROJECT_IDS, {"names": list(at)})
        return {row.name: row.id for row in rows}

    found = there()
    missing = [name for name in at if name not in found]
    if not missing:
        return found
    made = {"serial": 0, "status": "active", "status_reason": ""}
    rows = [{"name": name, "created_at": at[name], **made} for name in missing]
    connection.execute(statements.ADD_PROJECTS, rows)
    return there()


def _release(project_ids: dict[str, int], new: NewFile) -> tuple[int, str]:
    return project_ids[new.entry.project], canonicalize_version(new.entry.version)


def _release_ids(connection: Connection, wanted: set[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """The rows of the releases, which are made where they are not there."""

    def there() -> dict[tuple[int, str], int]:
        rows = connection.execute(statements.RELEASE_IDS, {"wanted": sorted(wanted)})
        return {(row.project_id, row.version): row.id for row in rows}

    found = there()
    missing = wanted - found.keys()
    if not missing:
        return found
    rows = [{"project_id": one, "version": two} for one, two in sorted(missing)]
    connection.execute(statements.ADD_RELEASES, rows)
    return there()


def touch(connection: Connection, project_ids: Mapping[str, int], serial: int) -> None:
    """The projects changed with `serial`: their pages have to be made again, and so do those that list the projects."""
    connection.execute(statements.TOUCH, {"ids": list(project_ids.values()), "now": serial})
    pages = [*project_ids, ""]
    connection.execute(statements.CLEAN, {"pages": pages})
    connection.execute(statements.SOIL, [{"project": page, "serial": serial} for page in pages])


def entry_of(row: Row[Any]) -> FileEntry:
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


def _taken(row: Any) -> Taken:
    return Taken(row.filename, row.sha256, row.removed_at is not None)


def _takers(connection: Connection, new: Sequence[NewFile]) -> dict[str, Taken]:
    """Who has the places of these files, by identity and by filename."""
    wanted = {"identities": [each.identity for each in new], "filenames": [each.entry.filename for each in new]}
    found: dict[str, Taken] = {}
    for row in connection.execute(statements.TAKERS, wanted):
        found |= dict.fromkeys((row.identity, row.filename), _taken(row))
    return found


def _closed(connection: Connection, names: Collection[str]) -> dict[str, Closed]:
    """Those of the projects that take no uploads."""
    rows = connection.execute(statements.CLOSED_PROJECTS, {"names": list(names)})
    return {row.name: Closed(row.name, row.status, row.status_reason) for row in rows}


def _outcome(new: NewFile, taken: Taken | None, closed: Mapping[str, Closed]) -> Outcome:
    """What became of a file that was not recorded."""
    if taken is None:
        return closed[new.entry.project]
    return AlreadyThere() if taken.sha256 == new.entry.sha256 and not taken.removed else taken
