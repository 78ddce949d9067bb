"""The place of what a server must have alone: its address and its data folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pinwheel.errors import PinwheelError, Refused
from pinwheel.index.server.assembly import writable_told


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
def claimed(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address that nobody else has, and does not listen yet. Raises `PinwheelError`.

    Until it listens, Linux would let others bind too, without a word. A listening socket finds any other server; an
    abstract socket named by the address finds a pinwheel that is only about to listen.
    """
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise PinwheelError(
            f"this host has no address {host}", where=host, remedy="name an address of this machine with --host"
        ) from error
    address = str(found[0])
    with contextlib.ExitStack() as held:
        ours = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for connections in TIME_WAIT
        if port:
            marker = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            with taken_told(host, port):
                marker.bind(f"\0pinwheel-index-{address}-{port}")
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
                    probe.listen(1)
        with taken_told(host, port):
            ours.bind((address, port))
        yield ours


@contextlib.contextmanager
def taken_told(host: str, port: int) -> Iterator[None]:
    """Raise `PinwheelError` where the operating system does not give us the address."""
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
