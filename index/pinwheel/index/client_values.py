"""What the client of the index gives back and what it raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from pinwheel.errors import PinwheelError, Refused
from pinwheel.ledger import SinkUnreachable

if TYPE_CHECKING:
    from pinwheel.index.grants import Grant


class IndexUnreachable(SinkUnreachable):
    """The index did not answer, or answered that it cannot work at the moment (5xx)."""


class WrongCredential(PinwheelError):
    """The index does not know the credential (401), or the credential may not do this (403)."""


class Damaged(PinwheelError):
    """What arrived is not what the index promised: another sha256."""


class NoSuchRelease(PinwheelError):
    """The index has no such release, or nothing was ever published under the name."""


class LeaseHeld(Refused):
    """Somebody else holds the environment's lease; `holder` says who."""

    def __init__(self, environment: str, holder: Holder) -> None:
        super().__init__(
            f"another rollout holds {environment}: {holder.rollout} by {holder.owner}, for {holder.age_s:.0f} s",
            where=environment,
            remedy=f"wait for it, or for its lease to run out in {holder.expires_in_s:.0f} s;"
            f" `pinwheel deploy.unlock --env {environment}` tells whether it is alive",
        )
        self.holder = holder


class Fenced(Refused):
    """This lease is no longer ours: it ran out and somebody else may have taken the environment."""


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file of a project, as the Simple API tells it. `upload_time` is RFC 3339 or empty; `yanked` the reason,
    `""` for a yank without one, None when it is not yanked; `size_bytes` None when the index does not know it."""

    filename: str
    url: str
    sha256: str
    size_bytes: int | None
    version: str
    core_metadata_sha256: str | None = None
    requires_python: str = ""
    yanked: str | None = None
    upload_time: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One version and the names of its files. `yanked` is the reason, None when it is not yanked; `channels` are
    those in which one of its files is."""

    version: str
    yanked: str | None
    channels: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the index takes us for, and what that one may do. `scopes` are all that it has for anything; `expires_at`
    is RFC 3339, empty for never."""

    name: str
    kind: str
    scopes: tuple[str, ...]
    grants: tuple[Grant, ...]
    expires_at: str = ""

    def may(self, scope: str, project: str) -> bool:
        """Whether it has the scope for the project of this normalised name."""
        return any(grant.scope in (scope, "admin") and grant.covers(project, "") for grant in self.grants)

    def projects(self, scope: str) -> tuple[str, ...]:
        """Globs of the projects for which it has the scope."""
        return tuple(glob for grant in self.grants if grant.scope in (scope, "admin") for glob in grant.projects)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to change `environment`. `token` is the fencing token: it only ever grows.

    `expires_in_s` counts from the moment of the answer that made this value.
    """

    environment: str
    token: int
    owner: str
    rollout: str
    acquired_at: str
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease now. `acquired_at` is RFC 3339; `token` is its fencing token."""

    owner: str
    rollout: str
    acquired_at: str
    age_s: float
    expires_in_s: float
    token: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document beside a version. `at` is when it was stored, RFC 3339."""

    name: str
    sha256: str
    size_bytes: int
    at: str


def file_of(entry: Mapping[str, Any], page_url: str) -> IndexFile:
    """A file from its entry in the JSON page at `page_url`."""
    metadata = entry.get("core-metadata") or False
    yanked = entry.get("yanked", False)
    return IndexFile(
        filename=entry["filename"],
        url=urljoin(page_url, entry["url"]),
        sha256=entry.get("hashes", {}).get("sha256", ""),
        size_bytes=entry.get("size"),
        version=_version(entry["filename"]),
        core_metadata_sha256=metadata.get("sha256") if isinstance(metadata, dict) else None,
        requires_python=entry.get("requires-python") or "",
        yanked=yanked if isinstance(yanked, str) else ("" if yanked else None),
        upload_time=entry.get("upload-time") or "",
    )


def _version(filename: str) -> str:
    """The version that a filename tells, normalised; empty when it tells none."""
    try:
        if filename.endswith(".whl"):
            return str(parse_wheel_filename(filename)[1])
        return str(parse_sdist_filename(filename)[1])
    except (InvalidWheelFilename, InvalidSdistFilename):
        return ""


def grant_of(document: Mapping[str, Any]) -> Grant:
    from pinwheel.index.grants import Grant  # with all of the index's routes: only who asks about tokens needs them

    return Grant(document["scope"], tuple(document["projects"]), tuple(document["environments"]))


def identity_of(document: Mapping[str, Any]) -> Identity:
    """An identity from the index's answer."""
    return Identity(
        document["name"],
        document["kind"],
        tuple(document["scopes"]),
        tuple(map(grant_of, document["grants"])),
        document["expires_at"] or "",
    )


def release_of(entry: Mapping[str, Any]) -> Release:
    """A release from the index's answer."""
    return Release(entry["version"], entry["yanked"], tuple(entry["channels"]), tuple(entry["files"]))


def lease_of(environment: str, document: Mapping[str, Any]) -> Lease:
    """A lease from the index's answer."""
    return Lease(
        environment,
        int(document["token"]),
        document["owner"],
        document["rollout"],
        document["acquired_at"],
        float(document["expires_in_s"]),
    )


def holder_of(document: Mapping[str, Any]) -> Holder:
    """A holder from the index's answer."""
    return Holder(
        document["owner"],
        document["rollout"],
        document["acquired_at"],
        float(document["age_s"]),
        float(document["expires_in_s"]),
        int(document["token"]),
    )
