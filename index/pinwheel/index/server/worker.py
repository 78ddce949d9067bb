"""The place that runs granian: one worker, in this process, over a socket that its parent listens on.

A worker is the command that its parent was started with, once more, in a new interpreter: so it runs the code that is
on disk now and reads the configuration as it is now.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]

BACKLOG = 1024
BLOCKING_THREADS = 512  # a worker's requests at once: of ten cold installs, which ask for 50 files at a time, too
LOG_TO_STDERR = {"formatter": "generic", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
_PR_SET_PDEATHSIG = 1


class Leaving(Protocol):
    """A WSGI application that can be told that its worker is to leave."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...

    def leave(self) -> None: ...

    def end(self) -> None:
        """The last request was answered."""


def work(
    make: Callable[[], Leaving],
    *,
    listening: int,
    ready: int,
    parent: int,
    tls: tuple[Path, Path] | None,
) -> None:
    """Answer requests with what `make` makes until SIGTERM, then finish those that have begun.

    On SIGUSR1 it is told to leave, and no more connections are taken. Something is written to `ready` once connections
    to `listening` are taken. The worker dies with `parent`, also when that is killed with SIGKILL.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before it was asked for
    for number in (listening, ready):
        os.set_inheritable(number, False)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # in all threads, those of granian too: they are for `_heed`
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)  # until granian has its own

    made: list[Leaving] = []

    def leave() -> None:
        made[0].leave()
        _accept_no_more(listening)

    threading.Thread(target=_heed, args=(leave,), daemon=True).start()
    made.append(make())

    def loaded() -> Leaving:
        os.write(ready, b".")
        os.close(ready)
        return made[0]

    server = _InThisProcess(
        target="pinwheel.index",
        interface=Interfaces.WSGI,
        blocking_threads=BLOCKING_THREADS,
        log_level=LogLevels.error,
        log_dictconfig={"handlers": {"console": LOG_TO_STDERR, "access": LOG_TO_STDERR}},
        ssl_cert=tls[0] if tls else None,
        ssl_key=tls[1] if tls else None,
    )
    server.listening = listening
    server.serve(target_loader=loaded, wrap_loader=False)
    made[0].end()


class _InThisProcess(Granian):  # type: ignore[misc, valid-type]
    """granian's worker without granian's parent, whose workers share the port by SO_REUSEPORT: the connections that
    wait in a worker's own queue are reset when it goes, and one queue for all has no such end."""

    listening: int

    def _serve(self, spawn_target: Any, target_loader: Any) -> None:
        self._shd = SocketHolder(self.listening, False, BACKLOG)  # type: ignore[call-arg]
        self._ssp = self._sso = None
        self._spawn_worker(0, spawn_target, target_loader).inner.run()


def _accept_no_more(listening: int) -> None:
    """Put a socket to which nobody connects in the place of the one that takes connections.

    granian stops to accept only when it ends, and then hangs up on a connection that it has just accepted, before its
    request has arrived. What accepts finds nothing more to accept; the real one is open in our parent.
    """
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        quiet.setblocking(False)
        real = os.fstat(listening)
        for file in Path("/proc/self/fd").iterdir():
            number = int(file.name)
            with contextlib.suppress(OSError):  # some are closed meanwhile
                if os.path.samestat(os.fstat(number), real):
                    os.dup2(quiet.fileno(), number, inheritable=False)


def _heed(leaving: Callable[[], None]) -> None:
    """In a thread of its own: do on the first SIGTERM what granian does on each.

    Several may come at once. granian's handler sets an event for which the main thread waits; run in that very thread
    while it wakes up from the first, it would wait for itself.
    """
    while signal.sigwait((signal.SIGTERM, signal.SIGUSR1)) == signal.SIGUSR1:
        leaving()
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler):
        os._exit(0)  # granian has not begun to serve
    handler(signal.SIGTERM, None)
