"""The place that talks to other indexes: HTTP(S) through urllib3, and folders named by `file://`."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import proxy_bypass

import urllib3

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.entries import CHUNK_BYTES
from pinwheel.index.observer import Nobody, Observer
from pinwheel.index.public.breaker import Breaker
from pinwheel.index.public.configured import PROXIED, Upstreams, apart, shown
from pinwheel.index.recent import Recent
from pinwheel.index.store.disk import write_all

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
CONNECT_S = 5.0
SILENCE_S = 12.0  # without a byte; pip gives up on us after 15
METADATA_S = 20.0
FILE_S = 3600.0
ATTEMPTS = 2
LARGEST_PAGE_BYTES = 64 * 1024 * 1024
LARGEST_FILE_BYTES = 16 * 1024 * 1024 * 1024
MOST_HOSTS = 1000
MOST_REDIRECTS = 5


class UpstreamFailed(PinwheelError):
    """An upstream did not answer, or not with what was asked for. This says nothing about what it has."""


class OtherBytes(PinwheelError):
    """An upstream does not keep its word about a file: its sha256 is not the one that a page promised."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page as it came. `body` is None when it has not changed since `etag`. `url` is where it was asked for, `base`
    where it was found after redirects: what its links are relative to."""

    body: bytes | None
    content_type: str
    etag: str
    url: str
    base: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is still to be read from `chunks`, found at the address `url` after redirects."""

    status: int
    headers: Mapping[str, str]
    url: str
    chunks: Iterator[bytes]


class UpstreamClient:
    """Fetch from upstreams. Safe to share between threads. Each request becomes one JSON line in `log`.

    Everything ends: by a deadline for the whole exchange, a limit of its bytes, and at once while a host keeps failing.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        observer: Observer = Nobody(),  # noqa: B008 - has no state
    ) -> None:
        self._observer = observer
        self._urls = upstreams.urls
        self._credentials = {_origin(url): credential for url in reversed(self._urls) if (credential := apart(url)[1])}
        self.log = log
        self._clock = clock
        self._breakers: Recent[tuple[str, str, int], Breaker] = Recent(MOST_HOSTS)
        self._proxies = upstreams.proxies
        self._direct = urllib3.PoolManager(maxsize=32, ca_certs=upstreams.ca_file or None, retries=False)
        self._through = {
            proxy: _proxied(proxy, upstreams.ca_file) for scheme, proxy in self._proxies.items() if scheme in PROXIED
        }

    def page(self, project: str, within_s: float, etag: str = "", etag_of: str = "") -> Fetched | None:
        """The page of `project` from the first upstream that has one; None when all say that they have none. Each has
        `within_s` to answer.

        `etag` is of the copy that we have, got from the address `etag_of`. Raises `UpstreamFailed` when one that
        might have it cannot be asked: the next one in line must not stand in for it.
        """
        for base in self._urls:
            url = f"{base.rstrip('/')}/{quote(project)}/"
            if url.startswith("file:"):
                body = _local_page(url)
                if body is not None:
                    return Fetched(body, "text/html", "", url, url)
                continue
            headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
            if etag and etag_of == shown(url):
                headers["If-None-Match"] = etag
            with self._opened(url, headers, within_s, missing_is_fine=True) as answer:
                if answer.status in (404, 410):
                    continue
                if answer.status == 304:
                    return Fetched(None, "", etag, etag_of, etag_of)
                body = b"".join(_bounded(answer.chunks, LARGEST_PAGE_BYTES, url))
                kind, new_etag = answer.headers.get("Content-Type", "text/html"), answer.headers.get("ETag", "")
                return Fetched(body, kind, new_etag, shown(url), shown(answer.url))
        return None

    def download(self, url: str, sha256: str, size_bytes: int | None, out: BinaryIO) -> None:
        """Write a file to `out` and check its hash. `size_bytes` is what its page tells. Raises `UpstreamFailed`,
        `OtherBytes`."""
        digest = hashlib.sha256()
        with self._body(url, FILE_S) as chunks:
            for chunk in _bounded(chunks, LARGEST_FILE_BYTES if size_bytes is None else size_bytes, url):
                digest.update(chunk)
                write_all(out, chunk)
        if digest.hexdigest() != sha256:
            raise OtherBytes(
                f"the upstream sent other bytes than its page promises: sha256 {digest.hexdigest()}, not {sha256}",
                where=shown(url),
                remedy="do not install this file; ask whoever runs the upstream",
            )

    def small(self, url: str, most_bytes: int) -> bytes:
        """A small document in memory. Raises `UpstreamFailed`."""
        with self._body(url, METADATA_S) as chunks:
            return b"".join(_bounded(chunks, most_bytes, url))

    @contextlib.contextmanager
    def _body(self, url: str, within_s: float) -> Iterator[Iterator[bytes]]:
        if url.startswith("file:"):
            try:
                with self._local(url).open("rb") as file:
                    yield iter(lambda: file.read(CHUNK_BYTES), b"")
            except OSError as error:
                raise UpstreamFailed(f"the upstream's file cannot be read: {error.strerror}", where=url) from error
            return
        # the bytes as they are stored: a .tar.gz must not be unpacked on the way
        with self._opened(url, {"Accept-Encoding": "identity"}, within_s) as answer:
            yield answer.chunks

    def _local(self, url: str) -> Path:
        """The file that `url` names. Raises `UpstreamFailed` when it lies in no upstream's folder.

        A folder `simple` has its files below it or in a folder beside it, so what contains it counts.
        """
        target = Path(unquote(urlsplit(url).path)).resolve()
        for each in self._urls:
            if each.startswith("file:"):
                pages = Path(unquote(urlsplit(each).path)).resolve()
                if target.is_relative_to(pages if len(pages.parts) <= 2 else pages.parent):
                    return target
        raise UpstreamFailed("this file lies in no upstream's folder", where=url)

    @contextlib.contextmanager
    def _opened(
        self, url: str, headers: Mapping[str, str], within_s: float, *, missing_is_fine: bool = False
    ) -> Iterator[Opened]:
        """An answer and its body, which is read within `within_s` seconds from now on or not at all; the line in the
        log is written when the caller is done with it."""
        clean, credential = apart(url)
        breaker = self._breaker(clean)
        wait_s = breaker.wait_s(self._clock())
        if wait_s > 0:
            self._observer.kept_from_upstream(urlsplit(clean).netloc)
            raise UpstreamFailed(f"the upstream keeps failing and is not asked for {wait_s:.0f} s", where=clean)
        started, until, status = time.time(), self._clock() + within_s, 0
        try:
            answer, found_at = self._answered(clean, headers, credential, until)
            status = answer.status
            try:
                if status >= 500 or status == 429:
                    breaker.failed(self._clock())
                    raise UpstreamFailed(f"the upstream answers {status}", where=clean)
                if status >= 300 and status != 304 and not (missing_is_fine and status in (404, 410)):
                    breaker.answered()
                    raise UpstreamFailed(f"the upstream answers {status}", where=clean)
                chunks = self._chunks(answer, until, decoded="identity" not in headers["Accept-Encoding"])
                yield Opened(status, answer.headers, found_at, chunks)
                _use_up(chunks)
            finally:
                answer.close()
            breaker.answered()
        except urllib3.exceptions.HTTPError as error:
            breaker.failed(self._clock())
            raise UpstreamFailed(f"the upstream does not answer: {type(error).__name__}", where=clean) from error
        finally:
            seconds = round(time.time() - started, 4)
            line = {"log": "upstream", "url": clean, "started": started, "seconds": seconds, "status": status}
            self.log(json.dumps(line))
            self._observer.asked_upstream(urlsplit(clean).netloc, status, seconds)

    def _breaker(self, url: str) -> Breaker:
        origin = _origin(url)
        found = self._breakers.get(origin)
        if found is None:
            found = Breaker()
            self._breakers.put(origin, found)
        return found

    def _answered(
        self, url: str, headers: Mapping[str, str], credential: str, until: float
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The answer, redirects followed, and the address that it came from."""
        for _ in range(MOST_REDIRECTS + 1):
            # a page's files often lie beside it, behind the same door; nobody else is shown the key
            key = credential or self._credentials.get(_origin(url), "")
            sent = dict(headers) | (urllib3.make_headers(basic_auth=key) if key else {})
            answer = self._requested(url, sent, until)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer, url
            _use_up(self._chunks(answer, until, decoded=False))
            answer.close()
            url, credential = apart(urljoin(url, answer.headers.get("Location", "")))
            if not url.startswith(("http://", "https://")):
                break
        raise UpstreamFailed("the upstream redirects to where nothing can be had", where=shown(url))

    def _pool(self, url: str) -> urllib3.PoolManager:
        """The connections by which the address is reached: directly, or through a proxy."""
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not proxy or proxy_bypass(parts.netloc, dict(self._proxies)):
            return self._direct
        return self._through[proxy]

    def _requested(self, url: str, headers: Mapping[str, str], until: float) -> urllib3.BaseHTTPResponse:
        for attempt in range(ATTEMPTS):
            left_s = max(until - self._clock(), 0.1)
            timeout = urllib3.Timeout(connect=min(CONNECT_S, left_s), read=min(SILENCE_S, left_s))
            try:
                return self._pool(url).request(
                    "GET", url, headers=headers, preload_content=False, timeout=timeout, redirect=False, retries=False
                )
            except urllib3.exceptions.HTTPError:
                if attempt == ATTEMPTS - 1 or self._clock() >= until:
                    raise
        raise AssertionError

    def _chunks(self, answer: urllib3.BaseHTTPResponse, until: float, *, decoded: bool) -> Iterator[bytes]:
        # read1, because read would wait for a whole chunk however slowly its bytes come
        while chunk := answer.read1(CHUNK_BYTES, decode_content=decoded):
            yield chunk
            if self._clock() >= until:
                raise urllib3.exceptions.TimeoutError


def _proxied(proxy: str, ca_file: str) -> urllib3.ProxyManager:
    """Connections through the proxy at that address. Raises `UsageError`."""
    address, credential = apart(proxy if "://" in proxy else f"http://{proxy}")
    headers = urllib3.make_headers(proxy_basic_auth=credential) if credential else None
    try:
        return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=32, ca_certs=ca_file or None, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise UsageError(
            "this is not the address of a proxy that we can use",
            where=address,
            remedy="set HTTPS_PROXY and HTTP_PROXY to http://… or https://…, or unset them",
        ) from error


def _local_page(url: str) -> bytes | None:
    """The page of a folder, None when it has none. Raises `UpstreamFailed`."""
    try:
        return (Path(unquote(urlsplit(url).path)) / "index.html").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UpstreamFailed(f"the upstream's page cannot be read: {error.strerror}", where=url) from error


def _bounded(chunks: Iterable[bytes], most_bytes: int, url: str) -> Iterator[bytes]:
    """The chunks, as long as they are within the limit. Raises `UpstreamFailed`."""
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > most_bytes:
            raise UpstreamFailed(f"the upstream sends more than {most_bytes} bytes", where=shown(url))
        yield chunk


def _use_up(chunks: Iterator[bytes]) -> None:
    """Read what is left of a short body, so that its connection can be used again; a longer one costs it."""
    for _ in itertools.islice(chunks, 2):
        pass


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. The port is 0 where the address has none that makes sense."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return parts.scheme, parts.hostname or "", port
