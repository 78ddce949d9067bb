"""The operator's word to start nothing more, which comes as a signal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

from pinwheel.deploy.reaching.hosts import Hosts
from pinwheel.errors import PinwheelError


class Stop:
    """The operator's word to start nothing more. `number` is the signal that brought it, 0 before."""

    def __init__(self) -> None:
        self.number = 0

    def set(self, number: int) -> None:
        self.number = number

    def is_set(self) -> bool:
        return bool(self.number)

    @property
    def exit_code(self) -> int:
        """What a process exits with that ends because of a signal, by the shell's convention."""
        return 128 + self.number


class Interrupted(PinwheelError):
    """The operator stopped it before anything was changed."""

    def __init__(self, stop: Stop) -> None:
        super().__init__("interrupted; nothing was changed", remedy="run the command again")
        self.exit_code = stop.exit_code


@contextlib.contextmanager
def stoppable(stop: Stop, hosts: Hosts) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP set `stop` for as long as the block lasts: hosts at work go back. A second one
    cuts the connections, which the hosts take for the same."""

    def stopped(number: int, _frame: object) -> None:
        # from a thread: this runs in the middle of whatever the main thread does, which may hold the same locks
        end: Callable[[], None] = hosts.close if stop.is_set() else hosts.abort
        stop.set(number)
        threading.Thread(target=end, name="stop", daemon=True).start()

    before: Mapping[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
