"""The index as one WSGI application: who asks is recognised, a route is found, and errors become answers."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from pinwheel.errors import PinwheelError
from pinwheel.index.access import Access, TooBusy
from pinwheel.index.admission import Rejected
from pinwheel.index.answers import Answer, Environ, StartResponse, Stop, challenge, document, moved, text
from pinwheel.index.control import Control, health, need
from pinwheel.index.engine import PRINCIPAL, Engine
from pinwheel.index.entries import NoSpace
from pinwheel.index.mirror import StillYoung, TooManyWait
from pinwheel.index.page_cache import PageCache
from pinwheel.index.reading import Reading
from pinwheel.index.uploading import Uploading
from pinwheel.index.upstream import OtherBytes, UpstreamFailed

MAIN = "main"
UPLOADS = ("/", "/legacy/", "/legacy", "/simple/", "/simple")


class IndexApp:
    """Answer requests. One instance serves all threads of a worker."""

    def __init__(
        self,
        *,
        cache: PageCache,
        access: Access,
        reading: Reading,
        uploading: Uploading,
        control: Control,
        engine: Engine,
    ) -> None:
        self._cache = cache
        self._access = access
        self._reading = reading
        self._uploading = uploading
        self._control = control
        self._engine = engine

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
        except StillYoung as error:
            answer = text(403, f"{error.problem}; {error.remedy}")
        except (TooBusy, TooManyWait) as error:
            answer = text(503, f"{error.problem}; {error.remedy}", ("Retry-After", "1"))
        except PinwheelError as error:
            answer = text(500, f"{error.problem}; {error.remedy}")
        if answer is None:
            return self._engine(environ, start_response)
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
            return challenge("the credential is wrong" if principal is None else "a credential is needed")
        environ[PRINCIPAL] = principal
        if method in ("GET", "HEAD"):
            if path.startswith("/simple/"):
                return self._reading.project_or_root(environ, principal, path[len("/simple/") :])
            if path.startswith("/files/"):
                return self._reading.file(environ, principal, path[len("/files/") :])
            if path.startswith(f"/c/{MAIN}/simple/"):
                # a page's links are relative to /simple/NAME/, so the channel's pages are elsewhere
                return moved("/".join([".."] * (path.count("/") - 1)) + quote(path.removeprefix(f"/c/{MAIN}")))
            if path.startswith("/packages/") and path != "/packages/":
                return self._reading.package(environ, principal, path[len("/packages/") :])
        if path.startswith("/-/"):
            return self._control.answer(environ, principal, path[len("/-/") :])
        if method == "POST" and path in UPLOADS:
            return self._uploading.upload(environ, principal)
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
