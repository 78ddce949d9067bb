"""The pull-through cache: pages for a short time, files for good, one request for each however many ask at once.

It stores what upstreams say below its own folder. A page that cannot be renewed is served old; a failure is never taken
for "there is no such project". What was once listed is remembered with its hash and the time of its first sight, and
the cool-down is asked before anything is handed out. Nothing here knows which names are private: the caller must not
ask for those.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pinwheel import archive
from pinwheel.errors import PinwheelError
from pinwheel.index.entries import NoSpace, Project
from pinwheel.index.observer import Nobody, Observer
from pinwheel.index.public import cooldown, sightings
from pinwheel.index.public.cooldown import Cooldown
from pinwheel.index.public.flights import Flights
from pinwheel.index.public.listing import Listing, read_page, readings
from pinwheel.index.public.sightings import Sighting, Sightings
from pinwheel.index.public.trimming import note_use
from pinwheel.index.public.upstream import OtherBytes, UpstreamClient, UpstreamFailed
from pinwheel.index.recent import Recent
from pinwheel.index.simple import pages
from pinwheel.index.simple.pages import Page
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.disk import full_disk_told, scratch_file, sweep_scratch, synced, write_all

TEMPORARY = "tmp"
FRESH_S = 600.0
RETRY_S = 30.0  # how long an old page is served without asking an upstream that has just failed
PAGE_S = 20.0
RENEWAL_S = 5.0  # while there is an old page, nobody has to wait longer for a new one
PAGE_WAIT_S = 45.0  # for one that asks, and one that asks in another process
FILE_WAIT_S = 3600.0
MOST_WAITING = 448  # requests of a worker that wait for upstreams: the rest of its 512 threads serves what is here
MOST_PAGES = 1000  # in memory; on disk there are as many as upstreams have
MOST_MISSES = 10_000
MOST_METADATA_BYTES = 16 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,198}[a-z0-9])?")


class TooManyWait(PinwheelError):
    """So many requests wait for upstreams that no other may."""


class NotOffered(PinwheelError):
    """There is such a file, and it is held back: by the cool-down, or by the upstream's quarantine."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The page made of `seen`, good until `until` (seconds since 1970; None: until `seen` is renewed)."""

    seen: Sightings
    page: Page | None
    until: float | None


class Mirror:
    """Pages and files of upstreams. Safe to share between threads, and its folder between processes."""

    def __init__(
        self,
        folder: Path,
        client: UpstreamClient,
        rules: Cooldown = Cooldown(),  # noqa: B008 - frozen
        now: Callable[[], float] = time.time,
        observer: Observer = Nobody(),  # noqa: B008 - has no state
    ) -> None:
        self._observer = observer
        self._pages = folder / "pages"
        self._temporary = folder / TEMPORARY
        self._client = client
        self._rules = rules
        self._now = now
        self._blobs = files_of(folder)
        self._flights = Flights(folder / "locks")
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)
        self._known: Recent[str, Sightings] = Recent(MOST_PAGES)
        self._shown: Recent[str, Shown] = Recent(MOST_PAGES)
        self._showing = threading.Lock()
        self._metadata_of: Recent[str, str] = Recent(MOST_MISSES)
        # who asks for names that nobody has must not fill the disk, nor push out the pages of names that somebody has
        self._missed_at: Recent[str, float] = Recent(MOST_MISSES)
        self._failed_at: Recent[str, float] = Recent(MOST_MISSES)
        self._pages.mkdir(parents=True, exist_ok=True)
        sweep_scratch(self._temporary)

    def page(self, project: str) -> Page | None:
        """The page of a project, None when no upstream has it.

        Raises `UpstreamFailed` when that is not known, `TooManyWait`, `NoSpace`.
        """
        known = self._fresh(project)
        self._observer.looked_up("page", kept=known is not None)
        if known is None and not self._is_missed(project):
            known = self._renewed(project)
        return self._page_of(project, known) if known else None

    def open(self, filename: str, sha256: str) -> BinaryIO | None:
        """The file, fetched when it is not here yet; None when no upstream lists it.

        Raises `NotOffered`, `UpstreamFailed`, `OtherBytes`, `TooManyWait`, `NoSpace`.
        """
        sighting = self._allowed(filename, sha256)
        if sighting is None:
            return None
        file = self._kept(sha256)
        self._observer.looked_up("file", kept=file is not None)
        if file is None:
            newest = self._up_to_date(sighting)
            with self._waits():
                self._fetch(newest)
            file = self._kept(sha256)
            if file is None:
                raise UpstreamFailed("the file was removed from the cache as soon as it came", where=filename)
        return file

    def _kept(self, sha256: str) -> BinaryIO | None:
        """The file if it is here; it is used now."""
        file = self._blobs.open(sha256)
        if file is not None:
            note_use(file)
        return file

    def metadata(self, filename: str, sha256: str) -> bytes | None:
        """The core metadata of the file: the upstream's own when it promised a hash, else taken from the wheel. None
        when there is none. Raises as `open` does."""
        sighting = self._allowed(filename, sha256)
        if sighting is None or not sighting.file.entry.core_metadata:
            return None
        promised = sighting.file.metadata
        found = promised if isinstance(promised, str) else self._metadata_of.get(sha256)
        if found is not None and (file := self._kept(found)):
            with file:
                return file.read()
        newest = self._up_to_date(sighting)
        with self._waits():
            return self._flights.shared("metadata", sha256, FILE_WAIT_S, lambda: self._made_metadata(newest))

    def _made_metadata(self, sighting: Sighting) -> bytes | None:
        promised = sighting.file.metadata
        body = self._offered(sighting, promised) if isinstance(promised, str) else None
        sha256 = sighting.file.entry.sha256
        if body is None:
            # the wheel itself decides, whose hash is verified
            if not sighting.file.entry.filename.endswith(".whl"):
                return None
            self._fetch(sighting)
            body = archive.wheel_metadata(self._blobs.path(sha256))
            if body is None:
                return None
        digest = hashlib.sha256(body).hexdigest()
        if isinstance(promised, str) and digest != promised:
            raise OtherBytes(
                f"the upstream's page promises other metadata than the file has: sha256 {promised}, not {digest}",
                where=sighting.file.entry.filename,
                remedy="do not install this file; ask whoever runs the upstream",
            )
        self._blobs.put(body, digest)
        self._metadata_of.put(sha256, digest)
        return body

    def _offered(self, sighting: Sighting, promised: str) -> bytes | None:
        """What the upstream offers, None when it cannot be had or is not as promised."""
        try:
            body = self._client.small(f"{sighting.file.url}.metadata", MOST_METADATA_BYTES)
        except UpstreamFailed:
            return None
        return body if hashlib.sha256(body).hexdigest() == promised else None

    def _fetch(self, sighting: Sighting) -> None:
        """Make the file one of our blobs."""
        entry = sighting.file.entry

        def fetch() -> None:
            if file := self._kept(entry.sha256):
                file.close()
                return
            with scratch_file(self._temporary, "file") as out:
                with full_disk_told(self._temporary):
                    self._client.download(sighting.file.url, entry.sha256, entry.size_bytes, out)
                self._blobs.put(Path(out.name), entry.sha256)

        self._flights.shared("file", entry.sha256, FILE_WAIT_S, fetch)

    def _allowed(self, filename: str, sha256: str) -> Sighting | None:
        """What was seen of the file, once the cool-down lets it pass; None when no upstream lists it."""
        sighting = self._found(filename, sha256)
        if sighting is None:
            return None
        known = self._remembered(sighting.file.entry.project)
        if known is not None and known.status == "quarantined":
            raise NotOffered(
                f"{filename} is of a project that its upstream holds in quarantine", remedy="use another project"
            )
        judged = cooldown.verdict(sighting, self._now(), self._rules)
        if isinstance(judged, cooldown.HeldBack):
            raise NotOffered(
                f"{filename} is held back by the cool-down until {cooldown.rfc3339(judged.until)}",
                remedy="use an older release, or ask for an exception ([[index.exceptions]] in pinwheel.toml)",
            )
        return sighting

    def _found(self, filename: str, sha256: str) -> Sighting | None:
        """First what is remembered, however old: what an upstream once listed can be had as long as it is here."""
        projects = [project for project, _ in readings(filename) if _NAME.fullmatch(project)]
        for project in projects:
            if sighting := _named(self._remembered(project), filename, sha256):
                return sighting
        for project in projects:
            is_known = self._fresh(project) is not None or self._is_missed(project)
            if not is_known and (sighting := _named(self._renewed(project), filename, sha256)):
                return sighting
        return None

    def _up_to_date(self, sighting: Sighting) -> Sighting:
        """Where the file is now: addresses may end, and an upstream may move."""
        entry = sighting.file.entry
        if self._fresh(entry.project) is None and not self._is_missed(entry.project):
            self._renewed(entry.project)
        return _named(self._known.get(entry.project), entry.filename, entry.sha256) or sighting

    def _fresh(self, project: str) -> Sightings | None:
        known = self._known.get(project)
        return known if known is not None and self._is_fresh(known.fetched_at) else None

    def _is_missed(self, project: str) -> bool:
        return not _NAME.fullmatch(project) or self._is_fresh(self._missed_at.get(project))

    def _is_fresh(self, fetched_at: float | None) -> bool:
        return fetched_at is not None and 0 <= self._now() - fetched_at < FRESH_S

    def _renewed(self, project: str) -> Sightings | None:
        """What upstreams list of the project, no older than `FRESH_S` unless that cannot be had soon; None when they
        have none."""
        old = self._remembered(project)
        if old is None or not old.source:
            with self._waits():
                return self._flights.shared("page", project, PAGE_WAIT_S, lambda: self._looked_up(project))
        try:
            with self._waits():
                # a slow upstream goes on answering behind the old page, and whoever asks next has the new one
                flight = self._flights.begun("page", project, PAGE_WAIT_S, lambda: self._looked_up(project))
                return flight.result(RENEWAL_S)
        except (TimeoutError, TooManyWait, UpstreamFailed, NoSpace):
            return old

    def _looked_up(self, project: str) -> Sightings | None:
        known = self._load(project)  # another process may have been faster
        if known is not None and self._is_fresh(known.fetched_at):
            return known
        now = self._now()
        old = known if known is not None and known.source else None  # what has gone is no answer while nobody answers
        if old is not None and now - (self._failed_at.get(project) or 0) < RETRY_S:
            return old
        try:
            found = self._asked(project, known, now)
        except UpstreamFailed:
            self._failed_at.put(project, now)
            if old is None:
                raise
            return old
        self._failed_at.discard(project)
        if found is None:
            self._missed_at.put(project, now)
        if found is not None or known is not None:
            # also of what has gone: its files may still be asked for by their addresses
            self._keep(project, found or sightings.seen(known, Listing(()), now))
        return found

    def _asked(self, project: str, known: Sightings | None, now: float) -> Sightings | None:
        fetched = self._client.page(project, PAGE_S, *((known.etag, known.source) if known else ()))
        if fetched is None:
            return None
        if fetched.body is None and known is not None:
            return dataclasses.replace(known, fetched_at=now)
        try:
            listing = read_page(project, fetched.body or b"", fetched.content_type, fetched.base)
        except ValueError as error:
            raise UpstreamFailed("the upstream's page makes no sense", where=fetched.url) from error
        found = sightings.seen(known, listing, now, source=fetched.url, etag=fetched.etag)
        for each in found.listed:
            if each.disputed:
                about = {"filename": each.file.entry.filename, "known": each.file.entry.sha256, "told": each.disputed}
                self._client.log(json.dumps({"log": "upstream", "url": fetched.url, "changed_digest": about}))
        return found

    def _page_of(self, name: str, known: Sightings) -> Page | None:
        shown = self._shown.get(name)
        if shown is None or not self._holds(shown, known):
            with self._showing:  # of many who ask at once, one makes the page
                shown = self._shown.get(name)
                if shown is None or not self._holds(shown, known):
                    shown = self._made_page(name, known)
                    self._shown.put(name, shown)
        return shown.page

    def _holds(self, shown: Shown, known: Sightings) -> bool:
        return shown.seen is known and (shown.until is None or self._now() < shown.until)

    def _made_page(self, name: str, known: Sightings) -> Shown:
        if known.status == "quarantined":
            project = Project(name, (), known.status, known.reason)
            return Shown(known, pages.project_page(project, pages.FILES_URL), None)
        if not known.listed:
            return Shown(known, None, None)
        entries, until = cooldown.visible(known.listed, self._now(), self._rules)
        project = Project(name, entries, known.status, known.reason)
        return Shown(known, pages.project_page(project, pages.FILES_URL), until)

    def _remembered(self, project: str) -> Sightings | None:
        return self._known.get(project) or self._load(project)

    def _load(self, project: str) -> Sightings | None:
        """What is kept on disk; what is known already is not read again."""
        document = _document(self._pages, project)
        if document is None:
            return None
        known = self._known.get(project)
        if known is None or known.fetched_at != document.get("fetched_at"):
            try:
                known = sightings.restored(project, document)
            except ValueError:
                return None
            self._known.put(project, known)
        return known

    def _keep(self, project: str, found: Sightings) -> None:
        """Durably: how old a file is, and which hash is its own, must outlive a power cut."""
        body = json.dumps(sightings.document(found), separators=(",", ":")).encode()
        with full_disk_told(self._temporary), scratch_file(self._temporary, "page") as out:
            write_all(out, body)
            os.fsync(out.fileno())
            Path(out.name).replace(self._pages / f"{project}.json")
            synced(self._pages)
        self._known.put(project, found)

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        """Be one of the few requests that wait for upstreams. Raises `TooManyWait`."""
        if not self._waiting.acquire(blocking=False):
            raise TooManyWait("too many requests wait for the upstream", remedy="try again in a few seconds")
        try:
            yield
        finally:
            self._waiting.release()


def files_of(folder: Path) -> FolderBlobs:
    """The files that the cache in `folder` has: of upstreams only."""
    return FolderBlobs(folder / "blobs", folder / TEMPORARY)


def kept(folder: Path, project: str) -> Sightings | None:
    """What the cache in `folder` knows of a project, however old; None when nobody was asked for it."""
    document = _document(folder / "pages", project) if _NAME.fullmatch(project) else None
    with contextlib.suppress(ValueError):
        return sightings.restored(project, document) if document else None
    return None


def _named(known: Sightings | None, filename: str, sha256: str) -> Sighting | None:
    """What is known of the file. Raises `OtherBytes` when the page has changed its mind about the hash."""
    sighting = known.files.get(filename) if known else None
    if sighting is None:
        return None
    if sighting.disputed == sha256:
        raise OtherBytes(
            f"the upstream's page gives this file another hash than before: "
            f"sha256 {sha256}, not {sighting.file.entry.sha256}",
            where=filename,
            remedy="do not install this file; ask whoever runs the upstream",
        )
    return sighting if sighting.file.entry.sha256 == sha256 else None


def _document(pages_folder: Path, project: str) -> Any:
    try:
        return json.loads((pages_folder / f"{project}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None
