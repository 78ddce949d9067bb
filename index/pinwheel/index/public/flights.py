"""One at a time for each thing: threads that want the same share its outcome, processes take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from pinwheel.index.public.upstream import UpstreamFailed
from pinwheel.index.store.disk import full_disk_told

STRIPES = 1024
MOST_BEHIND = 48  # threads of our own
POLL_S = 0.01

T = TypeVar("T")


class Flights:
    """Work that is under way, by its kind and key. Safe to share between threads, and its folder between processes.

    Work of one kind may ask for another kind's, never in a circle.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._behind = threading.BoundedSemaphore(MOST_BEHIND)
        self._under_way: dict[tuple[str, str], Future[Any]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def shared(self, kind: str, key: str, within_s: float, work: Callable[[], T]) -> T:
        """The result of `work`, which is done by one thread of all that ask meanwhile, or what it raises.

        Raises `UpstreamFailed` after `within_s` of waiting for others, `NoSpace`.
        """
        flight, is_new = self._flight(kind, key)
        if is_new:
            self._fly(flight, kind, key, within_s, work)
        try:
            found: T = flight.result(within_s)
        except TimeoutError as error:
            raise UpstreamFailed("others have waited for the upstream for too long", where=key) from error
        return found

    def begun(self, kind: str, key: str, within_s: float, work: Callable[[], T]) -> Future[T]:
        """The same, and it goes on when nobody waits for it any longer. Raises `UpstreamFailed` when too much does."""
        if not self._behind.acquire(blocking=False):
            raise UpstreamFailed("too much is under way", where=key)
        flight, is_new = self._flight(kind, key)
        if is_new:
            # a daemon: nobody waits for it when the process ends
            threading.Thread(target=self._fly_behind, args=(flight, kind, key, within_s, work), daemon=True).start()
        else:
            self._behind.release()
        return flight

    def _fly_behind(self, *about: Any) -> None:
        try:
            self._fly(*about)
        finally:
            self._behind.release()

    def _flight(self, kind: str, key: str) -> tuple[Future[Any], bool]:
        """What is under way, or a new one; whether it is new."""
        with self._lock:
            flight = self._under_way.get((kind, key))
            if flight is not None:
                return flight, False
            flight = self._under_way[kind, key] = Future()
            return flight, True

    def _fly(self, flight: Future[Any], kind: str, key: str, within_s: float, work: Callable[[], Any]) -> None:
        try:
            with self._turn(kind, key, within_s):
                result = work()
        except BaseException as error:  # noqa: BLE001 - whoever waits for it hears of it
            flight.set_exception(error)
        else:
            flight.set_result(result)
        finally:
            with self._lock:
                del self._under_way[kind, key]

    @contextlib.contextmanager
    def _turn(self, kind: str, key: str, within_s: float) -> Iterator[None]:
        """Hold the lock among processes. Several things may share one lock, which only costs time."""
        number = zlib.crc32(key.encode()) % STRIPES
        with full_disk_told(self._folder):
            descriptor = os.open(self._folder / f"{kind}-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + within_s
            while not _taken(descriptor):
                if time.monotonic() >= deadline:
                    raise UpstreamFailed("another process has waited for the upstream for too long", where=key)
                time.sleep(POLL_S)
            yield
        finally:
            os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
