"""What is decided about releases and projects after their files were published: yanks, channels, removal, status.

A release is all files of one version, and versions are compared as versions: what is said of `1` is said of `1.0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from packaging.utils import canonicalize_version
from sqlalchemy import Connection, and_, func, select

from pinwheel.index.channels import MAIN
from pinwheel.index.entries import (
    Act,
    AsBefore,
    Changed,
    Curated,
    FileEntry,
    NotThere,
    Overtaken,
    Position,
    Status,
)
from pinwheel.index.store import event_log, statements
from pinwheel.index.store.database import Database, raised
from pinwheel.index.store.records import entry_of, touch
from pinwheel.index.store.tables import attachments, channel_files, events, files, projects, releases

NEEDING = ("promoted", "rollout-started", "activated")
"""The events after which a release may be needed that was not before."""


@dataclass(frozen=True, slots=True)
class Release:
    """The files of one version that were not removed. `channels` has those in which one of them is; `yanked` is the
    reason, None when it is not yanked."""

    project: str
    version: str
    yanked: str | None
    channels: frozenset[str]
    files: tuple[FileEntry, ...]


class Releases(Protocol):
    """What may be decided about releases. Each is one transaction with its event, and leaves the pages to be made
    again. A contract test runs against each store that there is.

    Projects are named by their normalised name. All raise `NoSpace`.
    """

    def of(self, project: str) -> tuple[Release, ...]:
        """The releases of the project that have files."""

    def yank(self, project: str, version: str, reason: str, act: Act) -> Curated:
        """Let installers choose the release only when it is asked for by its version (PEP 592)."""

    def unyank(self, project: str, version: str, act: Act) -> Curated:
        """Take the yank back."""

    def promote(self, project: str, version: str, channel: str, act: Act) -> Curated:
        """Show all files that the release has now in the channel; one that comes later is not promoted by this."""

    def demote(self, project: str, version: str, channel: str, act: Act) -> Curated:
        """Show none of the release's files in the channel any more."""

    def remove(self, project: str, version: str, act: Act) -> Curated:
        """Take all files of the release away for good; their names stay taken."""

    def position(self) -> Position:
        """How far the ledger and the attachments go now: for `prune`, before looking what may go."""

    def prune(self, project: str, version: str, act: Act, looked_at: Position) -> Changed | NotThere | Overtaken:
        """The same, unless anything was promoted, deployed or attached since `looked_at`."""

    def set_status(self, project: str, status: Status, reason: str, act: Act) -> Curated:
        """Say how the project stands (PEP 792)."""


class DatabaseReleases:
    """`Releases` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, project: str) -> tuple[Release, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(
                statements.FILES_THERE.where(projects.c.name == project).order_by(files.c.filename)
            )
            found: dict[int, list[Any]] = {}
            for row in rows:
                found.setdefault(row.release_id, []).append(row)
            promoted = select(channel_files.c.channel, files.c.release_id).join(files)
            channels: dict[int, set[str]] = {}
            for row in connection.execute(promoted.where(files.c.release_id.in_(found))):
                channels.setdefault(row.release_id, set()).add(row.channel)
        return tuple(
            Release(
                project,
                rows[0].version,
                rows[0].yanked,
                frozenset(channels.get(release_id, set()) | {MAIN}),
                tuple(map(entry_of, rows)),
            )
            for release_id, rows in found.items()
        )

    def yank(self, project: str, version: str, reason: str, act: Act) -> Curated:
        return self._set_yanked(project, version, reason, act)

    def unyank(self, project: str, version: str, act: Act) -> Curated:
        return self._set_yanked(project, version, None, act)

    def _set_yanked(self, project: str, version: str, reason: str | None, act: Act) -> Curated:
        with self._database.writing() as connection:
            found = _Found.look(connection, project, version)
            if found is None:
                return NotThere()
            if found.files[0].yanked == reason:
                return AsBefore()
            connection.execute(releases.update().where(releases.c.id == found.release_id).values(yanked=reason))
            if reason is None:
                return found.changed(connection, "unyanked", act)
            return found.changed(connection, "yanked", act, reason=reason)

    def promote(self, project: str, version: str, channel: str, act: Act) -> Curated:
        with self._database.writing() as connection:
            found = _Found.look(connection, project, version)
            if found is None:
                return NotThere()
            in_it = and_(channel_files.c.channel == channel, channel_files.c.file_id.in_(found.file_ids))
            there = set(connection.execute(select(channel_files.c.file_id).where(in_it)).scalars())
            rows = [
                {"channel": channel, "file_id": each, "promoted_at": act.at, "promoted_by": act.actor}
                for each in found.file_ids
                if each not in there
            ]
            if not rows:
                return AsBefore()
            connection.execute(channel_files.insert(), rows)
            return found.changed(connection, "promoted", act, channel=channel)

    def demote(self, project: str, version: str, channel: str, act: Act) -> Curated:
        with self._database.writing() as connection:
            found = _Found.look(connection, project, version)
            if found is None:
                return NotThere()
            in_it = and_(channel_files.c.channel == channel, channel_files.c.file_id.in_(found.file_ids))
            if not connection.execute(channel_files.delete().where(in_it)).rowcount:
                return AsBefore()
            return found.changed(connection, "demoted", act, channel=channel)

    def remove(self, project: str, version: str, act: Act) -> Curated:
        with self._database.writing() as connection:
            return _removed(connection, project, version, act)

    def position(self) -> Position:
        with self._database.reading() as connection:
            return _position(connection)

    def prune(self, project: str, version: str, act: Act, looked_at: Position) -> Changed | NotThere | Overtaken:
        with self._database.writing() as connection:
            needing = select(events.c.serial).where(events.c.serial > looked_at.event, events.c.kind.in_(NEEDING))
            if (
                connection.execute(needing.limit(1)).first() is not None
                or _position(connection).attachment != looked_at.attachment
            ):
                return Overtaken()
            return _removed(connection, project, version, act)

    def set_status(self, project: str, status: Status, reason: str, act: Act) -> Curated:
        with self._database.writing() as connection:
            row = connection.execute(select(projects).where(projects.c.name == project)).first()
            if row is None:
                return NotThere()
            if (row.status, row.status_reason) == (status, reason):
                return AsBefore()
            update = projects.update().where(projects.c.id == row.id)
            connection.execute(update.values(status=status, status_reason=reason))
            serial = raised(connection, "files")
            touch(connection, {project: row.id}, serial)
            detail = {"status": status, "reason": reason, "before": row.status}
            event_log.append(connection, [event_log.own("status", act, project, "", detail)])
            return Changed(serial)


def _position(connection: Connection) -> Position:
    last = (select(func.coalesce(func.max(each), 0)) for each in (events.c.serial, attachments.c.id))
    return Position(*(connection.execute(each).scalar_one() for each in last))


def _removed(connection: Connection, project: str, version: str, act: Act) -> Changed | NotThere:
    found = _Found.look(connection, project, version)
    if found is None:
        return NotThere()
    connection.execute(channel_files.delete().where(channel_files.c.file_id.in_(found.file_ids)))
    ours = files.update().where(files.c.id.in_(found.file_ids))
    connection.execute(ours.values(removed_at=act.at, removed_by=act.actor))
    return found.changed(connection, "removed", act)


@dataclass(frozen=True, slots=True)
class _Found:
    """A release that has files, within a transaction."""

    project: str
    project_id: int
    release_id: int
    file_ids: tuple[int, ...]
    files: tuple[FileEntry, ...]

    @classmethod
    def look(cls, connection: Connection, project: str, version: str) -> _Found | None:
        of_it = and_(projects.c.name == project, releases.c.version == canonicalize_version(version))
        rows = connection.execute(statements.FILES_THERE.where(of_it).order_by(files.c.filename)).all()
        if not rows:
            return None
        first = rows[0]
        ids = tuple(row.id for row in rows)
        return cls(project, first.project_id, first.release_id, ids, tuple(map(entry_of, rows)))

    def changed(self, connection: Connection, kind: str, act: Act, **detail: str) -> Changed:
        """What changes with the decision: the project's serial, the pages to be made again, the event."""
        serial = raised(connection, "files")
        touch(connection, {self.project: self.project_id}, serial)
        concerned = [{"filename": each.filename, "sha256": each.sha256} for each in self.files]
        told = event_log.own(kind, act, self.project, self.files[0].version, {**detail, "files": concerned})
        event_log.append(connection, [told])
        return Changed(serial, self.files)
