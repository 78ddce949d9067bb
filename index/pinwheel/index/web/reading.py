"""The read side: pages and files, our own and through the mirror."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from pinwheel.index.answers import Answer, Environ, text
from pinwheel.index.channels import MAIN
from pinwheel.index.globs import matching
from pinwheel.index.grants import About, Principal
from pinwheel.index.policy import Policy
from pinwheel.index.public.listing import readings
from pinwheel.index.public.mirror import Mirror
from pinwheel.index.public.origin import Public, owner
from pinwheel.index.recent import Recent
from pinwheel.index.routes import File, Package, Project, Root, Route
from pinwheel.index.simple import pages
from pinwheel.index.simple.negotiation import byte_range, has_it, media_type, takes_gzip
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.pages import Page
from pinwheel.index.simple.warm import WarmBlobs
from pinwheel.index.store.blobs import Blobs

WHOLE_BYTES = 4 * 1024 * 1024  # a file up to here is sent in one piece, which is the fastest way through granian
PIECE_BYTES = 1024 * 1024
MOST_ROOTS = 64
VARY = ("Vary", "Accept, Accept-Encoding")
REVALIDATE = (("Cache-Control", "no-cache"), VARY)
PRIVATELY = (("Cache-Control", "private, no-cache"), VARY)
FILE_HEADERS = (
    ("Content-Type", "application/octet-stream"),
    ("Accept-Ranges", "bytes"),
    ("X-Content-Type-Options", "nosniff"),
)


class Reading:
    """Answer GET and HEAD of pages and files. Safe to share between threads."""

    def __init__(self, *, cache: PageCache, blobs: Blobs, mirror: Mirror | None, policy: Policy) -> None:
        self._cache = cache
        self._blobs = WarmBlobs(blobs)
        self._mirror = mirror
        self._policy = policy
        self._roots: Recent[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], Page]] = Recent(MOST_ROOTS)

    def about(self, route: Route) -> About:
        """The project that the route is about, and whether it is one of ours."""
        match route:
            case Project(name=name):
                return About(name, self._is_private(name))
            case File() | Package():
                filename = route.distribution if isinstance(route, File) else route.filename
                entry = self._cache.file(filename)
                if entry is not None:
                    return About(entry.project, True)
                # a filename can be read in several ways: the one that is not for everybody decides
                projects = [project for project, _ in readings(filename)]
                private = [project for project in projects if self._is_private(project)]
                closed = [project for project in projects if matching(project, self._policy.protected)]
                return About((*private, *closed, *projects, "")[0], bool(private))
        return About()

    def _is_private(self, name: str) -> bool:
        """Whether nobody outside may be asked for this normalised name."""
        published = self._cache.is_private(name)
        return not isinstance(owner(name, published=published, private=self._policy.private), Public)

    # pages

    def root(self, environ: Environ, principal: Principal, route: Root) -> Answer:
        if route.channel not in self._policy.channels:
            return _no_channel(route.channel)
        if principal.sees_everything:
            everybody = self._policy.anonymous_read and not self._policy.protected
            return self._page(environ, self._cache.root(route.channel), open_to_all=everybody)
        return self._page(environ, self._filtered_root(principal, route.channel), open_to_all=False)

    def _filtered_root(self, principal: Principal, channel: str) -> Page:
        """The page of the projects that this one may read, kept for all who may read the same."""
        names = self._cache.names(channel)
        key = ((channel,), principal.hidden, *(grant.projects for grant in principal.reads))
        kept = self._roots.get(key)
        if kept is None or kept[0] != names:
            page = pages.root_page([name for name in names if principal.may("read", project=name)])
            kept = (names, page)
            self._roots.put(key, kept)
        return kept[1]

    def project(self, environ: Environ, route: Project) -> Answer:
        name, channel = route.name, route.channel
        if channel not in self._policy.channels:
            return _no_channel(channel)
        ours = page = self._cache.project(name, channel)
        if page is None and self._mirror is not None and not self._is_private(name):
            if channel != MAIN:
                # every channel has the same public projects, and one page of each is enough; not for ever, because the
                # name may become one of ours
                query = environ.get("QUERY_STRING", "")
                location = f"../../../../simple/{name}/" + (f"?{query}" if query else "")
                return text(307, "public projects are in main", ("Location", location))
            page = self._mirror.page(name)
        if page is None:
            return text(404, f"there is no project {name}")
        return self._page(environ, page, open_to_all=self._policy.open_to_all(name), lasting=ours is not None)

    def _page(self, environ: Environ, page: Page, *, open_to_all: bool, lasting: bool = True) -> Answer:
        """The page in the form that the client wants, or 304 when it has that already."""
        kind = media_type(environ.get("HTTP_ACCEPT", ""), environ.get("QUERY_STRING", ""))
        copy = page.json if kind == pages.JSON_V1 else page.html
        zipped = takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        etag = copy.zipped_etag if zipped else copy.plain_etag
        revalidate = REVALIDATE if open_to_all else PRIVATELY
        asked = environ.get("HTTP_IF_NONE_MATCH")
        if asked and has_it(asked, etag):
            return Answer(304, (("ETag", etag), *revalidate), lasting=lasting)
        shown = f"{kind}; charset=utf-8" if kind == pages.TEXT_HTML else kind
        headers = (("Content-Type", shown), ("ETag", etag), *revalidate)
        if zipped:
            return Answer(200, (*headers, ("Content-Encoding", "gzip")), copy.zipped, lasting=lasting)
        return Answer(200, headers, copy.plain, lasting=lasting)

    # files

    def file(self, environ: Environ, route: File) -> Answer:
        entry = self._cache.file(route.distribution)
        if entry is None or entry.sha256 != route.sha256:
            return self._upstream_file(environ, route)
        sha256 = entry.sha256
        if route.distribution != route.filename:
            sha256 = entry.core_metadata if isinstance(entry.core_metadata, str) else ""
        return self._blob(environ, sha256, route.filename, entry.project)

    def package(self, environ: Environ, route: Package) -> Answer:
        """pypiserver's own route would list the whole store to find one file."""
        entry = self._cache.file(route.filename)
        if entry is None:
            return text(404, f"Not Found ({route.filename} does not exist)")
        return self._blob(environ, entry.sha256, route.filename, entry.project)

    def _blob(self, environ: Environ, sha256: str, filename: str, project: str) -> Answer:
        file = self._blobs.open(sha256) if sha256 else None
        if file is None:
            return text(404, f"there is no {filename}")
        return self._sent(environ, file, sha256, [project])

    def _upstream_file(self, environ: Environ, route: File) -> Answer:
        missing = text(404, f"there is no {route.filename}")
        projects = [project for project, _ in readings(route.distribution)]
        if self._mirror is None or not projects or any(map(self._is_private, projects)):
            return missing
        if route.distribution != route.filename:
            metadata = self._mirror.metadata(route.distribution, route.sha256)
            if metadata is None:
                return missing
            return self._sent(environ, io.BytesIO(metadata), f"{route.sha256}-metadata", projects)
        file = self._mirror.open(route.filename, route.sha256)
        return self._sent(environ, file, route.sha256, projects) if file else missing

    def _sent(self, environ: Environ, file: BinaryIO, tag: str, projects: Iterable[str]) -> Answer:
        """`file` as an answer that closes it; one range of it when that is asked for."""
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        etag = f'"{tag}"'
        who = "public" if all(map(self._policy.open_to_all, projects)) else "private"
        headers: tuple[tuple[str, str], ...] = (
            *FILE_HEADERS,
            ("Cache-Control", f"{who}, max-age=31536000, immutable"),
            ("ETag", etag),
        )
        asked = environ.get("HTTP_IF_NONE_MATCH")
        if asked and has_it(asked, etag):
            file.close()
            return Answer(304, headers)
        first, last, status = 0, size_bytes - 1, 200
        head = environ["REQUEST_METHOD"] == "HEAD"
        if "HTTP_RANGE" in environ and not head and environ.get("HTTP_IF_RANGE", etag) == etag:
            try:
                part = byte_range(environ["HTTP_RANGE"], size_bytes)
            except ValueError:
                file.close()
                return Answer(416, (*headers, ("Content-Range", f"bytes */{size_bytes}")))
            if part is not None:
                (first, last), status = part, 206
                headers = (*headers, ("Content-Range", f"bytes {first}-{last}/{size_bytes}"))
        length = last - first + 1
        if head:
            file.close()
            return Answer(status, headers, length=length)
        if length > WHOLE_BYTES:
            return Answer(status, headers, _pieces(file, first, length), length)
        with file:
            file.seek(first)
            return Answer(status, headers, file.read(length))


def _no_channel(channel: str) -> Answer:
    return text(404, f"there is no channel {channel}")


def _pieces(file: BinaryIO, first: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(first)
        while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
            length -= len(piece)
            yield piece
