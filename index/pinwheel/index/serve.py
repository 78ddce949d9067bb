"""The place that runs granian: claims the address and the data folder, starts workers, ends with all of them gone."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import http.client
import multiprocessing
import os
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from pinwheel.console import say
from pinwheel.errors import PinwheelError, Refused, UsageError
from pinwheel.index.assembly import Setup, application, writable_told

BLOCKING_THREADS = 128  # a worker's requests at once: many may wait for an upstream
KILL_AFTER_S = 5
READY_WITHIN_S = 60.0
POLL_S = 0.02
LOG_TO_STDERR = {"formatter": "generic", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
_PR_SET_PDEATHSIG = 1


def serve(
    setup: Setup, *, host: str, port: int, workers: int, tls: tuple[Path, Path] | None, prepare: Callable[[], None]
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. `prepare` runs once the folder is ours, before anybody is served.

    Port 0 takes a free one. `tls` is a certificate chain and its key. Raises `PinwheelError` when the port is taken or
    the certificate is none, `Refused` when the folder is in use.
    """
    if tls:
        check_certificate(*tls)
    with locked(setup.folder), claimed(host, port) as (address, number):
        prepare()
        scheme = "https" if tls else "http"
        shown = f"[{host}]" if ":" in host else host
        server = _Announcing(
            target="pinwheel.index",
            address=address,
            port=number,
            interface=Interfaces.WSGI,
            workers=workers,
            blocking_threads=BLOCKING_THREADS,
            respawn_failed_workers=True,
            workers_kill_timeout=KILL_AFTER_S,
            log_level=LogLevels.error,
            log_dictconfig={"handlers": {"console": LOG_TO_STDERR, "access": LOG_TO_STDERR}},
            ssl_cert=tls[0] if tls else None,
            ssl_key=tls[1] if tls else None,
        )
        line = f"serving {setup.folder} at {scheme}://{shown}:{number}/"
        # workers inherit the write end, which Python's other ways to start a process would not do
        multiprocessing.set_start_method("fork", force=True)
        os.register_at_fork(after_in_child=_leave_signals_to_parent)
        ready, tell = os.pipe()
        os.set_blocking(tell, False)
        server.outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        server.announce = functools.partial(_announce, address, number, ready, workers, line)
        server.serve(target_loader=functools.partial(_worker, setup, os.getpid(), tell), wrap_loader=False)


class _Announcing(Granian):  # type: ignore[misc, valid-type]
    """granian that says when it is ready, and that ends when its terminal is closed instead of starting anew.

    `outlives_terminal` is for whoever started it with nohup.
    """

    announce: Callable[[], None]
    outlives_terminal: bool

    def signal_handler_reload(self, *_: object) -> None:
        if not self.outlives_terminal:
            self.signal_handler_interrupt()

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        super().startup(spawn_target, target_loader)
        # after the workers were forked: a fork copies whatever locks other threads hold
        threading.Thread(target=self.announce, daemon=True).start()


def _worker(setup: Setup, parent: int, tell: int) -> object:
    """Runs in each worker's process: dies with its parent, also when that is killed with SIGKILL."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before it was asked for
    threading.Thread(target=_end_once, daemon=True).start()
    made = application(setup)
    with contextlib.suppress(BlockingIOError):  # nobody reads any more what the replacement of a dead worker tells
        os.write(tell, b".")
    return made


def _leave_signals_to_parent() -> None:
    """In a new worker: a terminal sends Ctrl-C to all processes, but the parent is who ends the workers.

    What granian's parent does on a signal was inherited too, and would make a worker that is not ready yet deaf to
    the signal that ends it.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def _end_once() -> None:
    """In a worker's own thread: do on the first SIGTERM what granian does on each.

    A supervisor may signal the whole group, so that two come at once. granian's handler sets an event for which the
    main thread waits; run in that very thread while it wakes up from the first, it would wait for itself.
    """
    signal.sigwait((signal.SIGTERM,))
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler):
        os._exit(0)  # granian has not begun to serve
    handler(signal.SIGTERM, None)


def _announce(address: str, port: int, ready: int, workers: int, line: str) -> None:
    """Print `line` once every worker has told that it is ready, and connections are taken."""
    told = 0
    while told < workers:
        told += len(os.read(ready, workers))
    deadline = time.monotonic() + READY_WITHIN_S
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while time.monotonic() < deadline:
        with socket.socket(family) as probe:
            if probe.connect_ex((address, port)) == 0:
                say(line)
                return
        time.sleep(POLL_S)


def check_certificate(chain: Path, key: Path) -> None:
    """Raise `UsageError` unless granian will be able to use them."""
    try:
        # a password that is wrong: without any, OpenSSL would ask the terminal for it
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, password="")
    except OSError as error:  # which ssl.SSLError is
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"the certificate and its key cannot be used: {reason or error}",
            where=f"{chain}, {key}",
            remedy="--tls-cert takes a certificate chain and --tls-key its key without a password, both as PEM",
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the data folder. Raises `Refused` when another server does."""
    with writable_told(folder):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                "another server works with this data folder",
                where=str(folder),
                remedy="stop that one, or name another folder with --data",
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claimed(host: str, port: int) -> Iterator[tuple[str, int]]:
    """Make sure that nobody else has the address, and give it as numbers. Raises `PinwheelError`.

    granian binds with SO_REUSEPORT, so two of them would share a port without a word. Three things prevent it: a
    listening socket of our own without that option finds any other server; an abstract socket named by the address
    finds a pinwheel that is only about to bind; a bound socket that does not listen keeps a free port ours.
    """
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise PinwheelError(
            f"this host has no address {host}", where=host, remedy="name an address of this machine with --host"
        ) from error
    address = str(found[0])
    with contextlib.ExitStack() as held:
        guard = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if port:
            marker = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            with _taken_told(host, port):
                marker.bind(f"\0pinwheel-index-{address}-{port}")
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for connections in TIME_WAIT
                    probe.bind((address, port))
                    probe.listen(1)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with _taken_told(host, port):
            guard.bind((address, port))
        yield address, int(guard.getsockname()[1])


@contextlib.contextmanager
def _taken_told(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{host}:{port}"
        if isinstance(error, PermissionError):
            raise PinwheelError(
                f"port {port} needs more rights than we have", where=where, remedy="choose a port above 1023"
            ) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise PinwheelError(
                f"this machine has no address {host}", where=where, remedy="name an address of it with --host"
            ) from error
        if error.errno != errno.EADDRINUSE:
            raise PinwheelError(
                f"nobody can listen there: {error.strerror}", where=where, remedy="correct --host and --port"
            ) from error
        whose = "another pinwheel index" if _is_pinwheel(host, port) else "another program"
        raise PinwheelError(
            f"port {port} is taken by {whose}",
            where=where,
            remedy="choose another port with --port (0 takes a free one)",
        ) from error


def _is_pinwheel(host: str, port: int) -> bool:
    shown = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{shown}:{port}/-/health", timeout=2) as answer:
            return b'"api"' in answer.read(1000)
    except (OSError, ValueError, http.client.HTTPException):
        return False
