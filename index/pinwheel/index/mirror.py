"""The pull-through cache: pages for a short time, files for good, one request for each however many ask at once.

It stores what upstreams say below its own folder, which may be deleted at any time. A page that cannot be renewed
is served old; a failure is never taken for "there is no such project". Nothing here knows which names are private:
the caller must not ask for those.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pinwheel import archive
from pinwheel.index import pages
from pinwheel.index.blobs import FolderBlobs
from pinwheel.index.disk import full_disk_told
from pinwheel.index.entries import FileEntry
from pinwheel.index.listing import UpstreamFile, project_of, read_page
from pinwheel.index.page_cache import FILES_URL
from pinwheel.index.pages import Page
from pinwheel.index.recent import Recent
from pinwheel.index.upstream import UpstreamClient, UpstreamFailed

FRESH_S = 600.0
RETRY_S = 30.0  # how long an old page is served without asking an upstream that has just failed
STRIPES = 1024
MOST_PAGES = 1000  # in memory; on disk there are as many as upstreams have
MOST_MISSES = 10_000
MOST_METADATA_BYTES = 16 * 1024 * 1024
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,198}[a-z0-9])?")


@dataclasses.dataclass(frozen=True)
class Listed:
    """What an upstream said of a project: its files (there may be none that are of use), when (seconds since 1970), and
    the page as we serve it. `first_seen` tells of each filename when we first saw it."""

    fetched_at: float
    source: str
    etag: str
    files: dict[str, UpstreamFile]
    first_seen: dict[str, str]
    page: Page | None


class Mirror:
    """Pages and files of upstreams. Safe to share between threads, and its folder between processes."""

    def __init__(self, folder: Path, client: UpstreamClient, now: Callable[[], float] = time.time) -> None:
        self._pages = folder / "pages"
        self._locks = folder / "locks"
        self._temporary = folder / "tmp"
        self._client = client
        self._now = now
        self._blobs = FolderBlobs(folder / "blobs", self._temporary)
        self._known: Recent[str, Listed] = Recent(MOST_PAGES)
        # who asks for names that nobody has must not fill the disk, nor push out the pages of names that somebody has
        self._missed_at: Recent[str, float] = Recent(MOST_MISSES)
        self._failed_at: Recent[str, float] = Recent(MOST_MISSES)
        self._pages.mkdir(parents=True, exist_ok=True)
        self._locks.mkdir(parents=True, exist_ok=True)

    def page(self, project: str) -> Page | None:
        """The page of a project, None when no upstream has it. Raises `UpstreamFailed` when that is not known."""
        listed = self._listed(project)
        return listed.page if listed else None

    def open(self, filename: str, sha256: str) -> BinaryIO | None:
        """The file, fetched when it is not here yet; None when no upstream lists it.

        Raises `UpstreamFailed`, `OtherBytes`, `NoSpace`.
        """
        return self._blobs.open(sha256) or (self._blobs.open(sha256) if self._have(filename, sha256) else None)

    def metadata(self, filename: str, sha256: str) -> bytes | None:
        """The core metadata of the file: the upstream's own, or taken from the wheel. Raises as `open` does."""
        kept = self._pages.parent / "metadata" / sha256
        with contextlib.suppress(FileNotFoundError):
            return kept.read_bytes()
        listed = self._find(filename, sha256)
        if listed is None or not listed.entry.core_metadata:
            return None
        with self._alone(f"metadata {sha256}"):
            with contextlib.suppress(FileNotFoundError):
                return kept.read_bytes()
            body = self._offered_metadata(listed) if listed.metadata else None
            if body is None and filename.endswith(".whl") and self._have(filename, sha256):
                body = archive.wheel_metadata(self._blobs.path(sha256))
            if body is not None:
                self._keep(kept, body)
            return body

    def _offered_metadata(self, listed: UpstreamFile) -> bytes | None:
        """What the upstream offers, None when it cannot be had or is not as promised: then the wheel itself decides,
        whose hash is verified."""
        try:
            body = self._client.small(listed.url + ".metadata", MOST_METADATA_BYTES)
        except UpstreamFailed:
            return None
        promised = listed.metadata
        if isinstance(promised, str) and hashlib.sha256(body).hexdigest() != promised:
            return None
        return body

    def _have(self, filename: str, sha256: str) -> bool:
        """Make the file one of our blobs; False when no upstream lists it under that hash."""
        if self._blobs.size_bytes(sha256) is not None:
            return True
        listed = self._find(filename, sha256)
        if listed is None:
            return False
        with self._alone(f"file {sha256}"):
            if self._blobs.size_bytes(sha256) is None:
                partial = self._temporary / f"file-{secrets.token_hex(8)}"
                try:
                    with full_disk_told(self._temporary):
                        self._client.download(listed.url, sha256, partial)
                    self._blobs.put(partial, sha256)
                finally:
                    partial.unlink(missing_ok=True)
        return True

    def _find(self, filename: str, sha256: str) -> UpstreamFile | None:
        listed = self._listed(project_of(filename))
        found = listed.files.get(filename) if listed else None
        return found if found is not None and found.entry.sha256 == sha256 else None

    def _listed(self, project: str) -> Listed | None:
        """What upstreams list of the project, no older than `FRESH_S` unless they fail."""
        if not _NAME.fullmatch(project):
            return None
        if self._is_fresh(self._missed_at.get(project)):
            return None
        listed = self._known.get(project)
        if listed is None or not self._is_fresh(listed.fetched_at):
            with self._alone(f"page {project}"):
                if self._is_fresh(self._missed_at.get(project)):
                    return None
                listed = self._load(project)
                if listed is None or not self._is_fresh(listed.fetched_at):
                    listed = self._renewed(project, listed)
        return listed

    def _is_fresh(self, fetched_at: float | None) -> bool:
        return fetched_at is not None and 0 <= self._now() - fetched_at < FRESH_S

    def _renewed(self, project: str, old: Listed | None) -> Listed | None:
        now = self._now()
        if old is not None and now - (self._failed_at.get(project) or 0) < RETRY_S:
            return old
        try:
            fetched = self._client.page(project, *((old.etag, old.source) if old else ()))
            if fetched is None:
                self._missed_at.put(project, now)
                self._known.discard(project)
                (self._pages / f"{project}.json").unlink(missing_ok=True)
                return None
            if fetched.body is None and old is not None:
                listed = dataclasses.replace(old, fetched_at=now)
            else:
                try:
                    files = read_page(project, fetched.body or b"", fetched.content_type, fetched.base)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise UpstreamFailed("the upstream's page makes no sense", where=fetched.url) from error
                seen = _first_seen(files, old.first_seen if old else {}, now)
                listed = _made(project, now, fetched.url, fetched.etag, files, seen)
        except UpstreamFailed:
            if old is None:
                raise
            self._failed_at.put(project, now)
            return old
        self._failed_at.discard(project)
        self._keep(self._pages / f"{project}.json", _stored(listed))
        self._known.put(project, listed)
        return listed

    def _load(self, project: str) -> Listed | None:
        """The page that is kept on disk; one already loaded is not read again."""
        document = _document(self._pages, project)
        if document is None:
            return None
        known = self._known.get(project)
        if known is None or known.fetched_at != document["fetched_at"]:
            known = _restored(project, document)
            self._known.put(project, known)
        return known

    def _keep(self, final: Path, body: bytes) -> None:
        """A cache needs no fsync: what a power cut leaves of a page is JSON or is not."""
        final.parent.mkdir(exist_ok=True)
        partial = self._temporary / f"page-{secrets.token_hex(8)}"
        with full_disk_told(self._temporary):
            try:
                partial.write_bytes(body)
                partial.replace(final)
            finally:
                partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Hold a lock that threads and processes share. Several things may share one lock, which only costs time."""
        number = zlib.crc32(what.encode()) % STRIPES
        # pages and files never wait for one another's locks in a circle: a holder of `metadata` may take `file` and
        # `page`, a holder of `file` takes none
        kind = what.partition(" ")[0]
        descriptor = os.open(self._locks / f"{kind}-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def kept(folder: Path, project: str) -> Listed | None:
    """What the cache in `folder` knows of a project, however old; None when nobody was asked for it."""
    document = _document(folder / "pages", project) if _NAME.fullmatch(project) else None
    return _restored(project, document) if document else None


def _document(pages_folder: Path, project: str) -> Any:
    try:
        return json.loads((pages_folder / f"{project}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _made(
    project: str,
    fetched_at: float,
    source: str,
    etag: str,
    files: tuple[UpstreamFile, ...],
    first_seen: dict[str, str],
) -> Listed:
    entries = [file.entry for file in files]
    page = pages.project_page(project, entries, FILES_URL) if files else None
    return Listed(fetched_at, source, etag, {file.entry.filename: file for file in files}, first_seen, page)


def _first_seen(files: tuple[UpstreamFile, ...], before: dict[str, str], now: float) -> dict[str, str]:
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    return {file.entry.filename: before.get(file.entry.filename, stamp) for file in files}


def _stored(listed: Listed) -> bytes:
    columns = [each.name for each in dataclasses.fields(FileEntry)][1:]
    files = [
        [[getattr(file.entry, column) for column in columns], file.url, file.metadata] for file in listed.files.values()
    ]
    document = {
        "fetched_at": listed.fetched_at,
        "source": listed.source,
        "etag": listed.etag,
        "files": files,
        "first_seen": listed.first_seen,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _restored(project: str, document: Any) -> Listed:
    files = tuple(UpstreamFile(FileEntry(project, *entry), url, metadata) for entry, url, metadata in document["files"])
    return _made(project, document["fetched_at"], document["source"], document["etag"], files, document["first_seen"])
