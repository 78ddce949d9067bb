"""The index as one WSGI application: our own read side and uploads in front, pypiserver behind for all the rest."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from packaging.utils import canonicalize_name

from pinwheel.archive import Limits
from pinwheel.errors import PinwheelError
from pinwheel.index import pages
from pinwheel.index.access import Access, Principal, TooBusy
from pinwheel.index.admission import Rejected, judge
from pinwheel.index.answers import Answer, Environ, StartResponse, Stop, document, moved, text
from pinwheel.index.backend import PRINCIPAL, AdmittedFile, RecordsBackend
from pinwheel.index.blobs import Blobs
from pinwheel.index.control import Control, health, need
from pinwheel.index.entries import AlreadyThere, NoSpace, Published
from pinwheel.index.globs import matching
from pinwheel.index.listing import project_of
from pinwheel.index.mirror import Mirror
from pinwheel.index.negotiation import byte_range, has_it, media_type, takes_gzip
from pinwheel.index.page_cache import PageCache
from pinwheel.index.pages import Page
from pinwheel.index.publisher import Publisher
from pinwheel.index.records import Records
from pinwheel.index.upload import CONTENT, LARGEST_FILE_BYTES, Received, received
from pinwheel.index.upstream import OtherBytes, UpstreamFailed

MAIN = "main"
UPLOADS = ("/", "/legacy/", "/legacy", "/simple/", "/simple")
WHOLE_BYTES = 4 * 1024 * 1024  # a file up to here is sent in one piece, which is the fastest way through granian
PIECE_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
REALM = ("WWW-Authenticate", 'Basic realm="pinwheel", charset="UTF-8"')
REVALIDATE = (("Cache-Control", "no-cache"), ("Vary", "Accept, Accept-Encoding"))


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided. `private` are globs of names that never go upstream, besides all published ones."""

    private: tuple[str, ...] = ()
    anonymous_read: bool = False
    largest_file_bytes: int = LARGEST_FILE_BYTES
    limits: Limits = Limits()  # noqa: RUF009 - frozen


class IndexApp:
    """Answer requests. One instance serves all threads of a worker."""

    def __init__(
        self,
        *,
        records: Records,
        blobs: Blobs,
        cache: PageCache,
        access: Access,
        control: Control,
        mirror: Mirror | None,
        publisher: Publisher,
        temporary: Path,
        policy: Policy,
        now: Callable[[], str],
    ) -> None:
        self._blobs = blobs
        self._cache = cache
        self._access = access
        self._control = control
        self._mirror = mirror
        self._temporary = temporary
        self._policy = policy
        self._files_headers = (
            ("Content-Type", "application/octet-stream"),
            ("Accept-Ranges", "bytes"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", f"{'public' if policy.anonymous_read else 'private'}, max-age=31536000, immutable"),
        )
        self._pypiserver = _pypiserver(records, publisher, temporary, policy, now)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except Stop as stop:
            answer = stop.answer
        except Rejected as error:
            answer = text(400, "\n".join(error.reasons))
        except NoSpace as error:
            answer = text(507, f"{error.problem}: {error.remedy}")
        except UpstreamFailed as error:
            # not 404: that would say that there is no such thing
            answer = text(502, f"{error.problem} ({error.where})", ("Retry-After", "5"))
        except OtherBytes as error:
            print(f"{error.problem} ({error.where})", file=environ["wsgi.errors"], flush=True)
            answer = text(502, f"{error.problem} ({error.where}); {error.remedy}")
        except TooBusy as error:
            answer = text(503, f"{error.problem}; {error.remedy}", ("Retry-After", "1"))
        except PinwheelError as error:
            answer = text(500, f"{error.problem}; {error.remedy}")
        if answer is None:
            found: Iterable[bytes] = self._pypiserver(environ, start_response)
            return found
        return answer.send(environ, start_response)

    def _answer(self, environ: Environ) -> Answer | None:
        """The answer, or None when pypiserver shall give it."""
        path: str = environ["PATH_INFO"]
        method = environ["REQUEST_METHOD"]
        if path == "/-/health":
            return health()
        if path == "/-/ready":
            return self._ready()
        self._cache.refresh()
        principal = self._access.identify(environ.get("HTTP_AUTHORIZATION", ""), self._cache.access_serial)
        if principal is None or not principal.scopes:
            return _who("the credential is wrong" if principal is None else "a credential is needed")
        environ[PRINCIPAL] = principal
        if method in ("GET", "HEAD"):
            if path.startswith("/simple/"):
                return self._simple(environ, principal, path[len("/simple/") :])
            if path.startswith("/files/"):
                return self._file(environ, principal, path[len("/files/") :])
            if path.startswith(f"/c/{MAIN}/simple/"):
                # a page's links are relative to /simple/NAME/, so the channel's pages are elsewhere
                return moved("/".join([".."] * (path.count("/") - 1)) + quote(path.removeprefix(f"/c/{MAIN}")))
            if path.startswith("/packages/") and path != "/packages/":
                return self._package(environ, principal, path[len("/packages/") :])
        if path.startswith("/-/"):
            return self._control.answer(environ, principal, path[len("/-/") :])
        if method == "POST" and path in UPLOADS:
            return self._upload(environ, principal)
        need(principal, "read")
        if principal.restricted:
            raise Stop(text(403, "this shows all projects, and this token is only for some"))
        return None

    def _ready(self) -> Answer:
        try:
            self._cache.refresh()
        except PinwheelError as error:
            return document(503, {"status": "not ready", "error": error.problem})
        return document(200, {"status": "ok"})

    # pages

    def _simple(self, environ: Environ, principal: Principal, rest: str) -> Answer | None:
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
        return bool(matching(name, self._policy.private)) or self._cache.is_private(name)

    # files

    def _file(self, environ: Environ, principal: Principal, rest: str) -> Answer:
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

    def _package(self, environ: Environ, principal: Principal, filename: str) -> Answer:
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
        project = project_of(wanted)
        if self._mirror is None or not project or self._is_private(project):
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

    # uploads

    def _upload(self, environ: Environ, principal: Principal) -> Answer | None:
        """Admit the upload and let pypiserver carry it out: its answer is ours."""
        if principal.kind == "anonymous":
            return _who("uploading needs a credential")
        need(principal, "upload")
        with received(environ, self._temporary, self._policy.largest_file_bytes) as form:
            action = form.field(":action") or "file_upload"
            form.fields[":action"] = [action]
            content: AdmittedFile | None = None
            if action == "file_upload":
                admitted = judge(form, self._policy.limits)
                if not principal.may_touch(admitted.distribution.name):
                    raise Stop(text(403, f"this token is not for {admitted.distribution.name}"))
                content = AdmittedFile(admitted)
            elif action == "remove_pkg" and principal.kind != "user":
                # pypiserver's own users may remove; a token that publishes must not be able to take away
                need(principal, "admin")
            if action == "remove_pkg" and not principal.may_touch(canonicalize_name(form.field("name"))):
                raise Stop(text(403, f"this token is not for {form.field('name')}"))
            return self._carried_out(environ, form, content)

    def _carried_out(self, environ: Environ, form: Received, content: AdmittedFile | None) -> Answer:
        """pypiserver's answer to a form that was read already: bottle finds its own cache of the body filled."""
        from pypiserver.bottle_wrapper import FileUpload, FormsDict

        filled: Any = FormsDict()  # type: ignore[no-untyped-call]
        for name, values in form.fields.items():
            for value in values:
                filled.append(name, value)
        if content is not None:
            filled[CONTENT] = FileUpload(content, CONTENT, form.filename)  # type: ignore[no-untyped-call]
        inner = environ | {"PATH_INFO": "/", "bottle.request.post": filled, "wsgi.input": io.BytesIO()}
        heard: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(
            self._pypiserver(inner, lambda status, headers, _exc=None: heard.append((status, list(headers))))
        )
        status, headers = heard[-1]
        kept = tuple((key, value) for key, value in headers if key.lower() != "content-length")
        if content is not None and isinstance(content.outcome, Published | AlreadyThere):
            told = "published" if isinstance(content.outcome, Published) else "already there"
            kept = (*kept, ("Pinwheel-Outcome", told))
        return Answer(int(status.split()[0]), kept, body)


def _who(reason: str) -> Answer:
    return text(401, reason, REALM)


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


def _pypiserver(records: Records, publisher: Publisher, temporary: Path, policy: Policy, now: Callable[[], str]) -> Any:
    """pypiserver with our Backend. Who calls was recognised before; its own actions only ask for that again."""
    from pypiserver import app_from_config, setup_routes_from_config
    from pypiserver.backend import BackendProxy
    from pypiserver.bottle_wrapper import request
    from pypiserver.config import Config

    def recognised(_user: str, _password: str) -> bool:
        principal = request.environ.get(PRINCIPAL)
        return isinstance(principal, Principal) and principal.kind != "anonymous"

    config = Config.default_with_overrides(
        roots=[temporary],
        authenticate=["update"] if policy.anonymous_read else ["update", "list", "download"],
        auther=recognised,
        backend_arg="simple-dir",
        disable_fallback=True,
        overwrite=True,  # whether a file may be added is for the Backend to say, which never replaces one
    )
    config.backend = BackendProxy(RecordsBackend(config, records, publisher, now))
    return setup_routes_from_config(app_from_config(config), config)
