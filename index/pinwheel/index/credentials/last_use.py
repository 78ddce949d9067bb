"""When each token was used last: noted by requests in memory, written beside them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from pinwheel.errors import PinwheelError

EVERY_S = 60.0


class LastUse:
    """What requests noted and is not written yet. Safe to share between threads; `log` is told what fails."""

    def __init__(
        self,
        write: Callable[[Mapping[str, str]], None],
        now: Callable[[], float],
        stamp: Callable[[float], str],
        log: Callable[[str], None],
    ) -> None:
        self._write = write
        self._now = now
        self._stamp = stamp
        self._log = log
        self._failing = False
        self._at: dict[str, float] = {}
        self._noted = threading.Event()

    def note(self, token: str) -> None:
        """The token of that name is used now. Costs a request no more than a look at the clock."""
        self._at[token] = self._now()
        if not self._noted.is_set():
            self._noted.set()

    def write(self) -> None:
        """Write what was noted, in one transaction; keep it when that cannot be done now."""
        self._noted.clear()
        at, self._at = self._at, {}
        at = dict(at)  # a request may still hold on to the one that was swapped
        try:
            self._write({token: self._stamp(seconds) for token, seconds in at.items()})
            self._failing = False
        except PinwheelError as error:
            # a full disk or a busy database: requests are served, and what they note meanwhile is newer
            self._at = at | self._at
            self._noted.set()
            if not self._failing:
                self._log(f"when tokens are used cannot be written down, and is kept in memory: {error}")
            self._failing = True

    def keep_writing(self) -> None:
        """Write at once what is noted first, then at most once in `EVERY_S`, for ever."""
        while True:
            self._noted.wait()
            self.write()
            time.sleep(EVERY_S)
