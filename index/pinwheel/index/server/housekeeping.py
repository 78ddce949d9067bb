"""What is done now and then beside the requests, by one of all workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from pinwheel.errors import PinwheelError

EVERY_S = 3600.0
BUSY_S = 20.0
"""Others are asked so often whether they still do it: who died is soon replaced."""


def keep_house(duty: Callable[[], None], lock: Path, leaving: threading.Event, log: Callable[[str], None]) -> None:
    """Do `duty` at once and then every hour, as long as nobody else has `lock`, until `leaving` is set."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not leaving.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                leaving.wait(BUSY_S)
                continue
            try:
                duty()
            except (PinwheelError, OSError) as error:
                log(f"housekeeping: {error}")  # the next time may be better
            leaving.wait(EVERY_S)
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
