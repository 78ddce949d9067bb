"""What the index knows of a file: the values that records, pages, uploads and the upstream pass to one another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from pinwheel.errors import PinwheelError

CHUNK_BYTES = 256 * 1024
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


class NoSpace(PinwheelError):
    """The disk is full (or a quota is): nothing became visible, and it works again once there is room."""


class Busy(PinwheelError):
    """Others keep the database from us for too long: nothing changed, and it works again once they are done."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file as a page lists it.

    `project` is normalised; `version` is as `packaging` prints it. `size_bytes` is None and `upload_time` (RFC 3339,
    UTC) is empty when an upstream does not tell. `core_metadata` is the sha256 of the core metadata, True when it can
    be had without a known hash, False when there is none. `yanked` is the reason, None when the file is not yanked.
    """

    project: str
    filename: str
    version: str
    sha256: str
    size_bytes: int | None = None
    core_metadata: str | bool = False
    requires_python: str = ""
    upload_time: str = ""
    yanked: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, and when (RFC 3339, UTC)."""

    at: str
    actor: str


Status = Literal["active", "archived", "quarantined", "deprecated"]
STATUSES: tuple[Status, ...] = get_args(Status)
CLOSED: tuple[Status, ...] = ("archived", "quarantined")
"""These take no uploads; a quarantined project does not offer its files either (PEP 792)."""


@dataclass(frozen=True, slots=True)
class Project:
    """What is offered of a project: the files by filename. `reason` is why it has its status, or empty; `serial` is
    the number of its last change."""

    name: str
    files: tuple[FileEntry, ...] = ()
    status: Status = "active"
    reason: str = ""
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A project that was ever published here, and the channels in which it has files."""

    name: str
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that admission let pass, and what its record will say. `identity` is `archive.Named.identity`."""

    entry: FileEntry
    kind: str
    identity: str
    uploader: str


@dataclass(frozen=True, slots=True)
class Published:
    """The file exists from now on; `serial` is the number of this change."""

    serial: int


@dataclass(frozen=True, slots=True)
class AlreadyThere:
    """The same bytes were published before; nothing changed."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Another file has this identity, or had it and was removed; nothing changed."""

    filename: str
    sha256: str
    removed: bool

    def refusal(self, filename: str, sha256: str) -> str:
        """Why the file of that name and hash cannot be published, naming both hashes."""
        if self.removed:
            return (
                f"{self.filename} was removed; a removed file never comes back, publish a new version "
                f"(removed: sha256 {self.sha256}, uploaded: sha256 {sha256})"
            )
        also = "" if self.filename == filename else f" under the name {self.filename}"
        return (
            f"{filename} exists already{also} with other bytes; publish a new version "
            f"(published: sha256 {self.sha256}, uploaded: sha256 {sha256})"
        )


@dataclass(frozen=True, slots=True)
class Closed:
    """The project takes no uploads; nothing changed."""

    project: str
    status: Status
    reason: str

    def refusal(self, filename: str, sha256: str) -> str:
        """Why the file of that name and hash cannot be published."""
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"{self.project} is {self.status}{because} and takes no uploads: {filename} was not published "
            f"(sha256 {sha256})"
        )


@dataclass(frozen=True, slots=True)
class Changed:
    """The release or project is otherwise from now on; `files` are those concerned, `serial` numbers the change."""

    serial: int
    files: tuple[FileEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class AsBefore:
    """It was so already; nothing changed and nothing was recorded."""


@dataclass(frozen=True, slots=True)
class NotThere:
    """There is no such release or project; nothing changed."""


@dataclass(frozen=True, slots=True)
class Position:
    """The last event and the last attachment that there were when somebody looked."""

    event: int
    attachment: int


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Something that may need the release was recorded since somebody looked; nothing changed."""


Curated = Changed | AsBefore | NotThere

Outcome = Published | AlreadyThere | Taken | Closed
