"""How often something may happen: a burst at once, then at a steady pace, for each key on its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable

from pinwheel.errors import PinwheelError
from pinwheel.index.recent import Recent

MOST_KEYS = 8192


class TooOften(PinwheelError):
    """Not now: it may happen again after `retry_s` seconds."""

    def __init__(self, problem: str, retry_s: float) -> None:
        super().__init__(problem, remedy=f"try again in {math.ceil(retry_s)} s")
        self.retry_s = retry_s


class Rate:
    """At most `burst` times at once for a key, then once every `pace_s` seconds. Safe to share between threads.

    Each of `workers` processes counts for itself and grants its part, at least once, so that all together grant no
    more than one would.
    """

    def __init__(self, burst: int, pace_s: float, workers: int = 1) -> None:
        self._pace_s = pace_s * workers
        self._slack_s = (max(1, burst // workers) - 1) * self._pace_s
        self._lock = threading.Lock()
        # for each key the time at which all that happened has been paid for; strangers choose the keys
        self._paid_at: Recent[Hashable, float] = Recent(MOST_KEYS)

    def wait_s(self, key: Hashable, now: float) -> float:
        """How long it may not happen yet; 0 when it may."""
        return max(0.0, (self._paid_at.get(key) or 0.0) - now - self._slack_s)

    def count(self, key: Hashable, now: float) -> None:
        """It happens."""
        with self._lock:
            self._paid_at.put(key, max(self._paid_at.get(key) or 0.0, now) + self._pace_s)

    def forgive(self, key: Hashable) -> None:
        """It was right, and does not count."""
        with self._lock:
            paid_at = self._paid_at.get(key)
            if paid_at is not None:
                self._paid_at.put(key, paid_at - self._pace_s)
