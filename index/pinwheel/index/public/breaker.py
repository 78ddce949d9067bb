"""When a host that keeps failing is asked again: rarely, and by one at a time."""

from __future__ import annotations

import threading

OPEN_AFTER = 3  # failures in a row: one bad page says nothing about the others
SHORTEST_S = 5.0
LONGEST_S = 60.0
PROBE_S = 60.0  # who was let through and never told how it went is forgotten after this time


class Breaker:
    """Counts the failures of one host. `now` is any clock that only goes forward. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0
        self._probing = False

    def wait_s(self, now: float) -> float:
        """0 when the host may be asked now, else for how long not. Who is let through tells how it went."""
        with self._lock:
            if self._failures < OPEN_AFTER:
                return 0.0
            if now < self._closed_until:
                return self._closed_until - now
            self._closed_until = now + PROBE_S  # the others wait for what this one finds
            self._probing = True
            return 0.0

    def failed(self, now: float) -> None:
        with self._lock:
            if self._failures >= OPEN_AFTER and not self._probing:
                return  # one of those that were under way when it closed: nothing new
            self._probing = False
            self._failures += 1
            if self._failures >= OPEN_AFTER:
                pause_s = SHORTEST_S * 2 ** min(self._failures - OPEN_AFTER, 10)
                self._closed_until = now + min(pause_s, LONGEST_S)

    def answered(self) -> None:
        with self._lock:
            self._failures = 0
