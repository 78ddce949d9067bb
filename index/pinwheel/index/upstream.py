"""The place that talks to other indexes: HTTP(S) through urllib3, and folders named by `file://`."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import urllib3

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.entries import CHUNK_BYTES

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
TIMEOUT = urllib3.Timeout(connect=5, read=30)
ATTEMPTS = 2
LARGEST_PAGE_BYTES = 128 * 1024 * 1024


class UpstreamFailed(PinwheelError):
    """An upstream did not answer, or not with what was asked for. This says nothing about what it has."""


class OtherBytes(PinwheelError):
    """An upstream sent a file whose sha256 is not the one that its page promised."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where names that are not private are looked up: the first that has a project wins. `ca_file` is empty for the
    system's trust. The addresses may carry a credential, which `shown` leaves out."""

    urls: tuple[str, ...]
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page as it came. `body` is None when it has not changed since `etag`. `url` is where it was asked for, `base`
    where it was found after redirects: what its links are relative to."""

    body: bytes | None
    content_type: str
    etag: str
    url: str
    base: str


class UpstreamClient:
    """Fetch from upstreams. Safe to share between threads. Each request becomes one JSON line in `log`."""

    def __init__(self, upstreams: Upstreams, log: Callable[[str], None]) -> None:
        self._urls = upstreams.urls
        self._credentials = {_origin(url): credential for url in reversed(self._urls) if (credential := _apart(url)[1])}
        self._log = log
        self._pool = urllib3.PoolManager(maxsize=32, ca_certs=upstreams.ca_file or None, retries=False)

    def page(self, project: str, etag: str = "", etag_of: str = "") -> Fetched | None:
        """The page of `project` from the first upstream that has one; None when all say that they have none.

        `etag` is of the copy that we have, got from the address `etag_of`. Raises `UpstreamFailed` when one that
        might have it cannot be asked: the next one in line must not stand in for it.
        """
        for base in self._urls:
            url = f"{base.rstrip('/')}/{quote(project)}/"
            if url.startswith("file:"):
                file = Path(unquote(urlsplit(url).path)) / "index.html"
                if file.is_file():
                    return Fetched(file.read_bytes(), "text/html", "", url, url)
                continue
            headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
            if etag and etag_of == shown(url):
                headers["If-None-Match"] = etag
            with self._opened(url, headers, missing_is_fine=True) as answer:
                if answer.status in (404, 410):
                    continue
                if answer.status == 304:
                    return Fetched(None, "", etag, etag_of, etag_of)
                body = answer.read(LARGEST_PAGE_BYTES + 1)
                if len(body) > LARGEST_PAGE_BYTES:
                    raise UpstreamFailed("the upstream's page is far too large", where=shown(url))
                kind, new_etag = answer.headers.get("Content-Type", "text/html"), answer.headers.get("ETag", "")
                return Fetched(body, kind, new_etag, shown(url), shown(_found_at(url, answer)))
        return None

    def download(self, url: str, sha256: str, into: Path) -> None:
        """Fetch a file into the new file `into` and check its hash. Raises `UpstreamFailed`, `OtherBytes`."""
        digest = hashlib.sha256()
        with into.open("xb") as out, self._body(url) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != sha256:
            raise OtherBytes(
                f"the upstream sent other bytes than its page promises: sha256 {digest.hexdigest()}, not {sha256}",
                where=shown(url),
                remedy="do not install this file; ask whoever runs the upstream",
            )

    def small(self, url: str, most_bytes: int) -> bytes:
        """A small document in memory. Raises `UpstreamFailed`."""
        body = b""
        with self._body(url) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > most_bytes:
                    raise UpstreamFailed("the upstream's document is far too large", where=shown(url))
        return body

    @contextlib.contextmanager
    def _body(self, url: str) -> Iterator[Iterator[bytes]]:
        if url.startswith("file:"):
            try:
                with self._local(url).open("rb") as file:
                    yield iter(lambda: file.read(CHUNK_BYTES), b"")
            except FileNotFoundError as error:
                raise UpstreamFailed("the upstream's folder has no such file", where=url) from error
            return
        # the bytes as they are stored: a .tar.gz must not be unpacked on the way
        with self._opened(url, {"Accept-Encoding": "identity"}) as answer:
            yield answer.stream(CHUNK_BYTES, decode_content=False)

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
        self, url: str, headers: Mapping[str, str], *, missing_is_fine: bool = False
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer whose body is not read yet; the line in the log is written when the caller is done with it."""
        clean, credential = _apart(url)
        # a page's files often lie beside it, behind the same door; nobody else is shown the key
        credential = credential or self._credentials.get(_origin(url), "")
        sent = dict(headers) | (urllib3.make_headers(basic_auth=credential) if credential else {})
        started, status = time.time(), 0
        try:
            answer = self._answered(clean, sent)
            status = answer.status
            try:
                if status >= 400 and not (missing_is_fine and status in (404, 410)):
                    raise UpstreamFailed(f"the upstream answers {status}", where=clean)
                yield answer
                answer.drain_conn()
                answer.release_conn()
            finally:
                answer.close()  # a body that was not read to its end must not go back to the pool
        except urllib3.exceptions.HTTPError as error:
            raise UpstreamFailed(f"the upstream does not answer: {type(error).__name__}", where=clean) from error
        finally:
            seconds = round(time.time() - started, 4)
            line = {"log": "upstream", "url": clean, "started": started, "seconds": seconds, "status": status}
            self._log(json.dumps(line))

    def _answered(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        for attempt in range(ATTEMPTS):
            try:
                return self._pool.request(
                    "GET",
                    url,
                    headers=headers,
                    preload_content=False,
                    timeout=TIMEOUT,
                    redirect=True,
                    retries=_retries(),
                )
            except urllib3.exceptions.HTTPError:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError


def _found_at(url: str, answer: urllib3.BaseHTTPResponse) -> str:
    """Where the answer came from after redirects, which urllib3 may tell as they were sent: relative."""
    for step in answer.retries.history if answer.retries else ():
        url = urljoin(url, step.redirect_location or "")
    return url


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. The port is 0 where the address has none that makes sense."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return parts.scheme, parts.hostname or "", port


def _retries() -> urllib3.Retry:
    return urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


def named(url: str, environ: Mapping[str, str] = os.environ) -> Upstreams:
    """The upstream that a person named by its address, which everybody on the machine can read in the list of
    processes: it must not carry a credential. Raises `UsageError`."""
    if url == "auto":
        return from_pip(environ)
    try:
        parts = urlsplit(url)
        good = parts.scheme == "file" or (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        good = False
    if not good:
        where = url.rpartition("@")[2]
        raise UsageError("this is not the address of an index", where=where, remedy="--upstream https://…/simple/")
    if _apart(url)[1]:
        raise UsageError(
            "the address of the upstream carries a credential, which every user of this machine could read",
            where=shown(url),
            remedy="put the whole address into PIP_INDEX_URL or pip's configuration file, and give --upstream auto",
        )
    return Upstreams((url,), environ.get("PIP_CERT", ""))


def from_pip(environ: Mapping[str, str] = os.environ) -> Upstreams:
    """What pip on this machine uses: its index-url (else its built-in default), then its extra indexes; trust is
    pip's `cert`. Raises `UsageError` when there is no pip to ask."""
    settings: dict[str, str] = {}
    for line in _pip("-m", "pip", "config", "list", environ=environ).splitlines():
        key, equals, value = line.partition("=")
        if equals and value[:1] in "'\"":
            settings[key.strip()] = str(ast.literal_eval(value))

    def setting(name: str) -> str:
        sources = (f":env:.{name}", f"install.{name}", f"global.{name}")
        return next((settings[key] for key in sources if settings.get(key)), "")

    first = setting("index-url") or _pip(
        "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)", environ=environ
    )
    urls = [first.strip(), *setting("extra-index-url").split()]
    return Upstreams(tuple(dict.fromkeys(urls)), setting("cert"))


def _pip(*arguments: str, environ: Mapping[str, str]) -> str:
    for python in dict.fromkeys((sys.executable, "python3")):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                [python, "-P", *arguments], env=dict(environ), capture_output=True, text=True, timeout=60, check=False
            )
            if done.returncode == 0:
                return done.stdout
    raise UsageError(
        "there is no pip on this machine whose configuration could tell the upstream",
        remedy="name it: --upstream https://…/simple/",
    )


def shown(url: str) -> str:
    """The address without a credential."""
    return _apart(url)[0]


def _apart(url: str) -> tuple[str, str]:
    """An address without its credential, and the credential as `user:password`."""
    parts = urlsplit(url)
    credential, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    return urlunsplit(parts._replace(netloc=host)), unquote(credential)
