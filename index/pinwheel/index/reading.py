"""The read side: pages and files, our own and through the mirror."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from packaging.utils import canonicalize_name

from pinwheel.index import pages
from pinwheel.index.access import Principal
from pinwheel.index.answers import Answer, Environ, Stop, moved, text
from pinwheel.index.blobs import Blobs
from pinwheel.index.control import need
from pinwheel.index.listing import readings
from pinwheel.index.mirror import Mirror
from pinwheel.index.negotiation import byte_range, has_it, media_type, takes_gzip
from pinwheel.index.origin import Public, owner
from pinwheel.index.page_cache import PageCache
from pinwheel.index.pages import Page
from pinwheel.index.policy import Policy

WHOLE_BYTES = 4 * 1024 * 1024  # a file up to here is sent in one piece, which is the fastest way through granian
PIECE_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
REVALIDATE = (("Cache-Control", "no-cache"), ("Vary", "Accept, Accept-Encoding"))


class Reading:
    """Answer GET and HEAD of pages and files. Safe to share between threads."""

    def __init__(self, *, cache: PageCache, blobs: Blobs, mirror: Mirror | None, policy: Policy) -> None:
        self._cache = cache
        self._blobs = blobs
        self._mirror = mirror
        self._policy = policy
        self._files_headers = (
            ("Content-Type", "application/octet-stream"),
            ("Accept-Ranges", "bytes"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", f"{'public' if policy.anonymous_read else 'private'}, max-age=31536000, immutable"),
        )

    # pages

    def project_or_root(self, environ: Environ, principal: Principal, rest: str) -> Answer | None:
        need(principal, "read")
        if not rest:
            if principal.restricted:
                return _page(environ, pages.root_page(self._readable(principal)))
            return _page(environ, self._cache.root())
        name, slash, more = rest.partition("/")
        if not slash or more:
            return None  # pypiserver redirects to the address with a slash
        page = self._cache.project(name)
        if page is None:
            if not _NAME.fullmatch(name):
                return text(404, "this is no name of a project")
            normal = canonicalize_name(name)
            if normal != name:
                return moved(f"../{normal}/")
            page = self._upstream_page(name)
        elif principal.restricted and not principal.may_touch(name):
            raise Stop(text(403, f"this token is not for {name}"))
        return _page(environ, page) if page else text(404, f"there is no project {name}")

    def _readable(self, principal: Principal) -> list[str]:
        return [name for name in self._cache.names() if principal.may_touch(name)]

    def _upstream_page(self, name: str) -> Page | None:
        return self._mirror.page(name) if self._mirror is not None and not self._is_private(name) else None

    def _is_private(self, name: str) -> bool:
        """Whether nobody outside may be asked for this normalised name."""
        published = self._cache.is_private(name)
        return not isinstance(owner(name, published=published, private=self._policy.private), Public)

    # files

    def file(self, environ: Environ, principal: Principal, rest: str) -> Answer:
        need(principal, "read")
        sha256, _, filename = rest.partition("/")
        if not _SHA256.fullmatch(sha256):
            return text(404, f"there is no {filename}")
        wanted = filename.removesuffix(".metadata")
        entry = self._cache.file(wanted)
        if entry is None or entry.sha256 != sha256:
            return self._upstream_file(environ, sha256, filename)
        if not principal.may_touch(entry.project):
            raise Stop(text(403, f"this token is not for {entry.project}"))
        if wanted != filename:
            sha256 = entry.core_metadata if isinstance(entry.core_metadata, str) else ""
        return self._blob(environ, sha256, filename)

    def package(self, environ: Environ, principal: Principal, filename: str) -> Answer:
        """A file by pypiserver's address of it. Its own route would list the whole store to find one file."""
        need(principal, "read")
        entry = self._cache.file(filename)
        if entry is None:
            return text(404, f"Not Found ({filename} does not exist)")
        if not principal.may_touch(entry.project):
            raise Stop(text(403, f"this token is not for {entry.project}"))
        return self._blob(environ, entry.sha256, filename)

    def _blob(self, environ: Environ, sha256: str, filename: str) -> Answer:
        file = self._blobs.open(sha256) if sha256 else None
        if file is None:
            return text(404, f"there is no {filename}")
        return self._sent(environ, file, sha256)

    def _upstream_file(self, environ: Environ, sha256: str, filename: str) -> Answer:
        wanted = filename.removesuffix(".metadata")
        projects = [project for project, _ in readings(wanted)]
        if self._mirror is None or not projects or any(map(self._is_private, projects)):
            return text(404, f"there is no {filename}")
        if wanted != filename:
            metadata = self._mirror.metadata(wanted, sha256)
            return (
                text(404, f"there is no {filename}")
                if metadata is None
                else self._sent(environ, io.BytesIO(metadata), f"{sha256}-metadata")
            )
        file = self._mirror.open(wanted, sha256)
        return self._sent(environ, file, sha256) if file else text(404, f"there is no {filename}")

    def _sent(self, environ: Environ, file: BinaryIO, tag: str) -> Answer:
        """`file` as an answer that closes it; one range of it when that is asked for."""
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        etag = f'"{tag}"'
        headers: tuple[tuple[str, str], ...] = (*self._files_headers, ("ETag", etag))
        asked = environ.get("HTTP_IF_NONE_MATCH")
        if asked and has_it(asked, etag):
            file.close()
            return Answer(304, headers)
        first, last, status = 0, size_bytes - 1, 200
        if "HTTP_RANGE" in environ and environ.get("HTTP_IF_RANGE", etag) == etag:
            try:
                part = byte_range(environ["HTTP_RANGE"], size_bytes)
            except ValueError:
                file.close()
                return Answer(416, (*headers, ("Content-Range", f"bytes */{size_bytes}")))
            if part is not None:
                (first, last), status = part, 206
                headers = (*headers, ("Content-Range", f"bytes {first}-{last}/{size_bytes}"))
        length = last - first + 1
        if environ["REQUEST_METHOD"] == "HEAD":
            file.close()
            return Answer(status, headers, length=length)
        if length > WHOLE_BYTES:
            return Answer(status, headers, _pieces(file, first, length), length)
        with file:
            file.seek(first)
            return Answer(status, headers, file.read(length))


def _page(environ: Environ, page: Page) -> Answer:
    """The page in the form that the client wants, or 304 when it has that already."""
    kind = media_type(environ.get("HTTP_ACCEPT", ""), environ.get("QUERY_STRING", ""))
    copy = page.json if kind == pages.JSON_V1 else page.html
    zipped = takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
    etag = copy.zipped_etag if zipped else copy.plain_etag
    asked = environ.get("HTTP_IF_NONE_MATCH")
    if asked and has_it(asked, etag):
        return Answer(304, (("ETag", etag), *REVALIDATE))
    shown = f"{kind}; charset=utf-8" if kind == pages.TEXT_HTML else kind
    headers = (("Content-Type", shown), ("ETag", etag), *REVALIDATE)
    if zipped:
        return Answer(200, (*headers, ("Content-Encoding", "gzip")), copy.zipped)
    return Answer(200, headers, copy.plain)


def _pieces(file: BinaryIO, first: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
            length -= len(piece)
            yield piece
