"""The index as one WSGI application: who asks is recognised, a route is found, and errors become answers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from urllib.parse import unquote

from pinwheel.errors import PinwheelError, describe
from pinwheel.index.answers import Answer, Environ, StartResponse, Stop, challenge, document, moved, text, verdict
from pinwheel.index.credentials.access import Access
from pinwheel.index.credentials.passwords import TooBusy
from pinwheel.index.credentials.rates import TooOften
from pinwheel.index.entries import Busy, NoSpace
from pinwheel.index.forwarded import Network, settle
from pinwheel.index.grants import Denied, Principal, allow
from pinwheel.index.intake.admission import Rejected
from pinwheel.index.intake.body import bounded
from pinwheel.index.public.mirror import NotOffered, TooManyWait
from pinwheel.index.public.upstream import OtherBytes, UpstreamFailed
from pinwheel.index.routes import (
    Authorize,
    ControlPlane,
    File,
    Form,
    Missing,
    Moved,
    NotAllowed,
    Package,
    Probe,
    Project,
    Root,
    parse,
)
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.web.control import Control, health
from pinwheel.index.web.engine import PRINCIPAL, Engine
from pinwheel.index.web.kept import KeptAnswers, keep, key_of
from pinwheel.index.web.reading import Reading
from pinwheel.index.web.uploading import Uploading

PAGES = ("/simple/", "/c/")
AUTHORIZE = "/-/authorize"
MOST_ENGINE_BYTES = 64 * 1024  # a search; uploads are read elsewhere


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
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        self._cache = cache
        self._access = access
        self._reading = reading
        self._uploading = uploading
        self._control = control
        self._engine = engine
        self._trusted_proxies = trusted_proxies
        self._kept = KeptAnswers(cache.state)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        settle(environ, self._trusted_proxies)
        try:
            # whether the process lives must be told without asking the database anything
            current = self._kept.current() if environ["PATH_INFO"].startswith(PAGES) else {}
            key = key_of(environ)
            kept = current.get(key)
            if kept is not None and time.monotonic() < kept.until:
                environ[PRINCIPAL] = kept.principal
                start_response(kept.status, kept.headers)
                return kept.body
            answer = self._answer(environ)
            if answer is None:
                return self._engine(bounded(environ, MOST_ENGINE_BYTES), start_response)
            if answer.lasting:
                keep(current, key, environ, answer, environ[PRINCIPAL])
        except (PinwheelError, Rejected, Denied) as error:
            answer = _told(error, environ)
        except Stop as stop:
            answer = stop.answer
        if environ["PATH_INFO"] == AUTHORIZE:
            answer = verdict(answer)
        return answer.send(environ, start_response)

    def _answer(self, environ: Environ) -> Answer | None:
        """The answer, or None when pypiserver shall give it."""
        route = parse(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if isinstance(route, Probe):
            return health() if route.name == "health" else self._ready()
        self._cache.refresh()
        authorization, address = environ.get("HTTP_AUTHORIZATION", ""), environ.get("REMOTE_ADDR", "")
        principal = self._access.identify(authorization, self._cache.access_serial, address)
        if principal is None:
            return challenge("the credential is wrong")
        allow(principal, route, lambda: self._reading.about(route))
        environ[PRINCIPAL] = principal
        match route:
            case Project():
                return self._reading.project(environ, route)
            case File():
                return self._reading.file(environ, route)
            case Root():
                return self._reading.root(environ, principal, route)
            case Package():
                return self._reading.package(environ, route)
            case ControlPlane():
                return self._control.answer(environ, principal, route.path)
            case Form():
                return self._uploading.upload(environ, principal)
            case Authorize():
                return self._authorize(environ, principal)
            case Moved():
                query = environ.get("QUERY_STRING", "")
                return moved(f"{route.location}?{query}" if query else route.location)
            case Missing():
                return text(404, route.reason)
            case NotAllowed():
                return text(405, "this is for reading only", ("Allow", ", ".join(route.allow)))
        return None

    def _ready(self) -> Answer:
        try:
            self._cache.refresh()
        except PinwheelError as error:
            return document(503, {"status": "not ready", "error": error.problem})
        return document(200, {"status": "ok"})

    def _authorize(self, environ: Environ, principal: Principal) -> Answer:
        """Whether a web server may answer the request that its headers name from its own files.

        Only for the addresses that say themselves what they are about: a page of all projects that shows not everybody
        the same is for us to answer, and so is whatever is not read.
        """
        path = unquote(environ.get("HTTP_X_ORIGINAL_URI", "").partition("?")[0])
        route = parse(environ.get("HTTP_X_ORIGINAL_METHOD", "GET"), path)
        if not isinstance(route, Project | File | Root):
            return text(403, "this is not answered from files")
        # of what is about no project in particular nobody can say whether it is for this one
        if not principal.sees_everything and not self._reading.about(route).project:
            return text(403, "this is not answered from files")
        allow(principal, route, lambda: self._reading.about(route))
        return text(204, "")


def _told(error: PinwheelError | Rejected | Denied, environ: Environ) -> Answer:
    """What the client hears of an error."""
    match error:
        case Denied(unnamed=True):
            return challenge(error.reason)
        case Denied():
            is_document = environ["PATH_INFO"].startswith("/-/")
            return document(403, {"error": error.reason}) if is_document else text(403, error.reason)
        case Rejected():
            return text(400, "\n".join(error.reasons))
        case NoSpace():
            return text(507, f"{error.problem}: nothing was published, {error.remedy}")
        case UpstreamFailed():
            # not 404: that would say that there is no such thing
            return text(502, f"{error.problem} ({error.where})", ("Retry-After", "5"))
        case OtherBytes():
            print(f"{error.problem} ({error.where})", file=environ["wsgi.errors"], flush=True)
            return text(502, f"{error.problem} ({error.where}); {error.remedy}")
        case NotOffered():
            return text(403, f"{error.problem}; {error.remedy}")
        case TooOften():
            return text(429, f"{error.problem}; {error.remedy}", ("Retry-After", str(math.ceil(error.retry_s))))
        case TooBusy() | TooManyWait() | Busy():
            return text(503, f"{error.problem}; {error.remedy}", ("Retry-After", "1"))
    # it may name users, files and addresses, which are for the operator
    print(describe(error), file=environ["wsgi.errors"], flush=True)
    return text(500, "the index failed; its log says why")
