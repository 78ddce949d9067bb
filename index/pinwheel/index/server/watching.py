"""What is seen of every request, around the application: it is counted and logged, and its connection ends when the
worker is to leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from pinwheel.index.answers import Environ, StartResponse
from pinwheel.index.observer import Observer
from pinwheel.index.routes import Form, parse

CLOSE = ("Connection", "close")
OUTCOME = "Pinwheel-Outcome"


class Started(Protocol):
    """granian's `start_response`, which keeps what it was called with until the answer is sent."""

    status: int
    headers: list[tuple[str, str]]

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any: ...


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

    def __call__(self, environ: Environ, start_response: Started) -> Iterable[bytes]:
        # a page takes a few microseconds, and this must take few of them
        started = self._clock()
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]  # before anybody changes them
        try:
            body = self._app(environ, start_response)
        except Exception:
            self._done(environ, method, path, started, 500, (), 0)  # granian's answer
            raise
        status, headers = start_response.status, start_response.headers
        if self._leaving.is_set():
            start_response.headers = [*headers, CLOSE]
        if isinstance(body, list):
            if method == "POST" or self._log is not None:
                self._done(environ, method, path, started, status, headers, sum(map(len, body)))
            else:
                self._observer.answered(method, path, status, self._clock() - started)
            return body
        return _Counted(body, lambda sent: self._done(environ, method, path, started, status, headers, sent))

    def _done(
        self,
        environ: Environ,
        method: str,
        path: str,
        started: float,
        status: int,
        headers: Iterable[tuple[str, str]],
        sent_bytes: int,
    ) -> None:
        seconds = self._clock() - started
        self._observer.answered(method, path, status, seconds)
        if isinstance(parse(method, path), Form):
            self._observer.uploaded(_outcome(status, headers))
        if self._log is not None:
            self._log.write(environ, status, sent_bytes, seconds)


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
