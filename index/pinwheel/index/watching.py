"""What is seen of every request, around the application: it is counted and logged, and its connection ends when the
worker is to leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from pinwheel.index.answers import Environ, StartResponse
from pinwheel.index.observer import Observer
from pinwheel.index.routes import Form, Route, parse

CLOSE = ("Connection", "close")
OUTCOME = "Pinwheel-Outcome"


class Log(Protocol):
    """Where a line for each request is written."""

    def write(self, environ: Environ, status: int, sent_bytes: int, seconds: float) -> None: ...

    def reopen(self) -> None:
        """Go on in the file that has the name now."""


class Watched:
    """`app`, watched by `observer` and `log`."""

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]],
        observer: Observer,
        log: Log | None = None,
        clock: Callable[[], float] = time.perf_counter,
        leaving: threading.Event | None = None,
    ) -> None:
        """`leaving` is set when the worker is told to leave."""
        self._app = app
        self._observer = observer
        self._log = log
        self._clock = clock
        self._leaving = leaving or threading.Event()

    def leave(self) -> None:
        """From now on let each connection end with its answer, so that clients come back to another worker."""
        self._leaving.set()
        if self._log is not None:
            self._log.reopen()

    def end(self) -> None:
        """The last request was answered."""
        self._observer.flush()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started = self._clock()
        route = parse(environ["REQUEST_METHOD"], environ["PATH_INFO"])  # before anybody changes it
        said: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            said.append((status, headers))
            return start_response(status, [*headers, CLOSE] if self._leaving.is_set() else headers)

        try:
            body = self._app(environ, start)
        except Exception:
            self._done(environ, route, started, "500", [], 0)  # granian's answer
            raise
        if isinstance(body, list):
            self._done(environ, route, started, *said[-1], sum(map(len, body)))
            return body
        return _Counted(body, lambda sent_bytes: self._done(environ, route, started, *said[-1], sent_bytes))

    def _done(
        self,
        environ: Environ,
        route: Route,
        started: float,
        status: str,
        headers: list[tuple[str, str]],
        sent_bytes: int,
    ) -> None:
        number, seconds = int(status[:3]), self._clock() - started
        self._observer.answered(type(route).__name__.lower(), number, seconds)
        if isinstance(route, Form):
            self._observer.uploaded(_outcome(number, headers))
        if self._log is not None:
            self._log.write(environ, number, sent_bytes, seconds)


class _Counted:
    """A body that tells `done` how many bytes of it were sent, when it ends or nobody wants more of it."""

    def __init__(self, body: Iterable[bytes], done: Callable[[int], None]) -> None:
        self._body = body
        self._pieces = iter(body)
        self._done = done
        self._sent_bytes = 0
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self._sent_bytes += len(piece)
        return piece

    def close(self) -> None:
        if self._open:
            self._open = False
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
            self._done(self._sent_bytes)


def _outcome(status: int, headers: Iterable[tuple[str, str]]) -> str:
    told = next((value for name, value in headers if name == OUTCOME), "")
    if told:
        return told
    return "refused" if 400 <= status < 500 else "failed" if status >= 500 else "carried out"
