"""What upstreams were seen to list of a project: remembered for good, because ages and hashes are judged by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pinwheel.index.entries import FileEntry, Status
from pinwheel.index.public.listing import Listing, UpstreamFile

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Sighting:
    """One file of an upstream as it was first seen, at `first_seen` (seconds since 1970).

    The first hash that a page gave a filename is the one that counts. `disputed` is another one that the page gives
    now, empty while it keeps its word. `listed` is False once the page has the file no more.
    """

    file: UpstreamFile
    first_seen: float
    listed: bool = True
    disputed: str = ""


@dataclass(frozen=True, slots=True)
class Sightings:
    """All that was ever listed of a project, by filename, and what the page at `source` was when it was last read.

    `source` is empty when no upstream has the project any more. `status` and `reason` are the upstream's (PEP 792).
    """

    fetched_at: float
    source: str
    etag: str
    files: Mapping[str, Sighting]
    status: Status = "active"
    reason: str = ""

    @property
    def listed(self) -> tuple[Sighting, ...]:
        return tuple(each for each in self.files.values() if each.listed)


def seen(before: Sightings | None, listing: Listing, now: float, *, source: str = "", etag: str = "") -> Sightings:
    """What is known once the page at `source` was read at `now`."""
    old = before.files if before else {}
    listed = {file.entry.filename: _again(old.get(file.entry.filename), file, now) for file in listing.files}
    gone = {name: dataclasses.replace(each, listed=False) for name, each in old.items() if name not in listed}
    return Sightings(now, source, etag, listed | gone, listing.status, listing.reason)


def _again(before: Sighting | None, file: UpstreamFile, now: float) -> Sighting:
    if before is None:
        return Sighting(file, now)
    if before.file.entry.sha256 != file.entry.sha256:
        return dataclasses.replace(before, listed=True, disputed=file.entry.sha256)
    # a yank or another address is news; another age is not, nor are other metadata of the same bytes
    entry = dataclasses.replace(file.entry, upload_time=before.file.entry.upload_time or file.entry.upload_time)
    if isinstance(before.file.metadata, str):
        entry = dataclasses.replace(entry, core_metadata=before.file.metadata)
        file = dataclasses.replace(file, metadata=before.file.metadata)
    return Sighting(dataclasses.replace(file, entry=entry), before.first_seen)


def document(sightings: Sightings) -> dict[str, Any]:
    """As JSON, which `restored` reads."""
    return {
        "format": FORMAT,
        "fetched_at": sightings.fetched_at,
        "source": sightings.source,
        "etag": sightings.etag,
        "status": sightings.status,
        "reason": sightings.reason,
        "files": [_file_document(each) for each in sightings.files.values()],
    }


def restored(project: str, document: Any) -> Sightings:
    """What `document` was made from. Raises `ValueError`, also for the format of another version."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ValueError("this was written by another version of pinwheel")
    try:
        files = [_file_restored(project, each) for each in document["files"]]
        return Sightings(
            float(document["fetched_at"]),
            document["source"],
            document["etag"],
            {each.file.entry.filename: each for each in files},
            document["status"],
            document["reason"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is not what was written: {error}") from error


def _file_document(sighting: Sighting) -> dict[str, Any]:
    about = {field.name: getattr(sighting.file.entry, field.name) for field in dataclasses.fields(FileEntry)}
    del about["project"]
    return about | {
        "url": sighting.file.url,
        "metadata": sighting.file.metadata,
        "first_seen": sighting.first_seen,
        "listed": sighting.listed,
        "disputed": sighting.disputed,
    }


def _file_restored(project: str, document: Mapping[str, Any]) -> Sighting:
    about = dict(document)
    own = {key: about.pop(key) for key in ("first_seen", "listed", "disputed")}
    url, metadata = about.pop("url"), about.pop("metadata")
    return Sighting(UpstreamFile(FileEntry(project, **about), url, metadata), **own)
