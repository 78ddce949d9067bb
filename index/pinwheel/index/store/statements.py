"""The statements that pages and uploads need, built once: to build one takes longer than SQLite takes to answer it."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select, true, tuple_

from pinwheel.index.channels import MAIN
from pinwheel.index.entries import CLOSED
from pinwheel.index.store.tables import channel_files, counters, dirty, events, files, projects, releases

_OFFERED = projects.c.status != "quarantined"
_THERE = and_(files.c.project_id == projects.c.id, files.c.removed_at.is_(None))

FILES_THERE = (
    select(projects.c.name.label("project"), files, releases.c.yanked)
    .join(projects, files.c.project_id == projects.c.id)
    .join(releases, files.c.release_id == releases.c.id)
    .where(files.c.removed_at.is_(None))
)
FILES_OFFERED = FILES_THERE.where(_OFFERED)


def _in(visible: frozenset[str]) -> ColumnElement[bool]:
    if MAIN in visible:
        return true()
    return files.c.id.in_(select(channel_files.c.file_id).where(channel_files.c.channel.in_(visible)))


@functools.cache  # there are as many as an index has channels
def files_of_project(visible: frozenset[str]) -> Select[Any]:
    """The files of the project `project_id` that are offered in one of the channels."""
    return FILES_OFFERED.where(files.c.project_id == bindparam("project_id"), _in(visible)).order_by(files.c.filename)


PROJECT = select(projects).where(projects.c.name == bindparam("name"))
FILE = FILES_OFFERED.where(files.c.filename == bindparam("filename"))
SERIALS = select(counters.c.name, counters.c.value)

_CHANGED = projects.c.serial > bindparam("after")
CHANGED = select(projects.c.name, select(files.c.id).where(_THERE).exists().label("there")).where(_CHANGED)
CHANGED_CHANNELS = (
    select(projects.c.name, channel_files.c.channel)
    .join_from(projects, files, _THERE)
    .join(channel_files, channel_files.c.file_id == files.c.id)
    .where(_CHANGED)
    .distinct()
)

BY_IDENTITY = select(files.c.filename, files.c.sha256, files.c.removed_at).where(
    files.c.identity == bindparam("identity")
)
TAKERS = select(files.c.identity, files.c.filename, files.c.sha256, files.c.removed_at).where(
    or_(
        files.c.identity.in_(bindparam("identities", expanding=True)),
        files.c.filename.in_(bindparam("filenames", expanding=True)),
    )
)
CLOSED_PROJECTS = select(projects).where(
    projects.c.name.in_(bindparam("names", expanding=True)), projects.c.status.in_(CLOSED)
)
PROJECT_IDS = select(projects.c.name, projects.c.id).where(projects.c.name.in_(bindparam("names", expanding=True)))
RELEASE_IDS = select(releases.c.project_id, releases.c.version, releases.c.id).where(
    tuple_(releases.c.project_id, releases.c.version).in_(bindparam("wanted", expanding=True))
)

ADD_PROJECTS, ADD_RELEASES, ADD_FILES = projects.insert(), releases.insert(), files.insert()
ADD_EVENTS = events.insert()
TOUCH = projects.update().where(projects.c.id.in_(bindparam("ids", expanding=True))).values(serial=bindparam("now"))
CLEAN = dirty.delete().where(dirty.c.project.in_(bindparam("pages", expanding=True)))
SOIL = dirty.insert()
