"""The place of the workers' processes: starts them, replaces one that died or all of them, and ends with all gone.

It knows nothing of what they serve. They take connections from one listening socket, which stays open here: nothing
that waits in its queue is lost while workers come and go.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pinwheel.console import say
from pinwheel.errors import PinwheelError

KILL_AFTER_S = 5.0
READY_WITHIN_S = 60.0
LINGER_S = 2.0
"""A worker that is to leave takes no new connections, but for so long still requests on those that it has, and closes
each with its answer: a client that is in the middle of its work is not hung up on between two requests."""
RETRY_S = 5.0
END = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class Worker:
    pid: int
    ready: int
    """The end of a pipe in which the worker tells that it is ready; -1 once it has."""
    until_s: float
    """When patience with it ends: it is not ready, or has not left."""
    term_s: float = 0.0
    """When a leaving worker is told to end; 0 once it was."""
    exit_code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, less than 0 for a signal; None while it runs."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

    def send(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.exit_code is None:
            self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1

    @property
    def end(self) -> str:
        code = self.poll()
        if code is None:
            return f"worker {self.pid} took more than {READY_WITHIN_S:.0f} s"
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        return f"worker {self.pid} {how}"


@dataclass
class Workers:
    """`first` and `later` start a worker, which tells in the pipe that it is given, and return its process id.

    `first` is for those that are started before the first restart. Use `run`.
    """

    first: Callable[[int], int]
    later: Callable[[int], int]
    count: int
    drain_s: float
    serving: list[Worker] = field(default_factory=list)
    coming: list[Worker] = field(default_factory=list)
    leaving: list[Worker] = field(default_factory=list)
    replacing: bool = False
    """Whether those that are coming shall take the place of all that serve."""
    asked: bool = False
    restarts: int = 0
    retry_s: float = 0.0
    died_s: float = -RETRY_S

    def run(self, ready: Callable[[], None], *, hangup: bool | None) -> None:
        """Serve until SIGINT or SIGTERM; call `ready` once all workers are.

        SIGHUP replaces the workers when `hangup` is true, ends them when it is false, and does nothing when it is None.
        Raises `PinwheelError` when no worker can be started.
        """
        told, tell = os.pipe()
        for end in (told, tell):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        for number in (*END, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # what is to be done stands in the pipe
        try:
            self._fill(time.monotonic())
            while True:
                self._wait(told)
                heard = set(_read(told))
                if heard & set(END) or (signal.SIGHUP in heard and hangup is False):
                    return
                self.asked |= signal.SIGHUP in heard and hangup is True
                self._step(time.monotonic())
                if ready is not None and len(self.serving) == self.count:
                    ready()
                    ready = _nothing
        finally:
            self._end(told)
            signal.set_wakeup_fd(-1)
            os.close(told)
            os.close(tell)

    def _wait(self, told: int) -> None:
        patience = [each.until_s for each in (*self.coming, *self.leaving)]
        patience += [each.term_s for each in self.leaving if each.term_s]
        patience += [self.retry_s] if self.retry_s else []
        within_s = max(0.0, min(patience) - time.monotonic()) if patience else None
        select.select([told, *(each.ready for each in self.coming if each.ready >= 0)], [], [], within_s)

    def _step(self, now_s: float) -> None:
        self._bury(now_s)
        self._welcome()
        self._farewell(now_s)
        if self.asked and not self.coming and self.serving:
            self.asked, self.replacing = False, True
            self.restarts += 1
            self.coming = [self._started(now_s) for _ in range(self.count)]
        elif not self.replacing and now_s >= self.retry_s:
            self._fill(now_s)

    def _fill(self, now_s: float) -> None:
        self.retry_s = 0.0
        while len(self.serving) + len(self.coming) < self.count:
            self.coming.append(self._started(now_s))

    def _started(self, now_s: float) -> Worker:
        ready, tell = os.pipe()
        os.set_blocking(ready, False)
        try:
            return Worker((self.later if self.restarts else self.first)(tell), ready, now_s + READY_WITHIN_S)
        finally:
            os.close(tell)

    def _bury(self, now_s: float) -> None:
        """See who has died, and who has taken too long to become ready."""
        self.leaving = [each for each in self.leaving if each.poll() is None]
        for each in [each for each in self.serving if each.poll() is not None]:
            self.serving.remove(each)
            # the first is replaced at once; those that die one after the other would do nothing but start
            if now_s - self.died_s < RETRY_S:
                self.retry_s = now_s + RETRY_S
            self.died_s = now_s
            when = f" in {RETRY_S:.0f} s" if self.retry_s else ""
            say(f"{each.end}; another takes its place{when}")
        lost = [each for each in self.coming if each.poll() is not None or now_s >= each.until_s]
        if not lost:
            return
        why = " and ".join(each.end for each in lost)
        if self.replacing:
            for each in self.coming:
                each.kill()
            self.coming, self.replacing = [], False
            say(f"not restarted: {why} before it was ready; the workers that were there go on")
            return
        for each in lost:
            each.kill()
        self.coming = [each for each in self.coming if each not in lost]
        if not self.serving:
            raise PinwheelError(
                f"the index cannot serve: {why} before it was ready",
                remedy="see what it said above; correct that and start again",
            )
        say(f"{why} before it was ready; the others serve, and another is started in {RETRY_S:.0f} s")
        self.retry_s = now_s + RETRY_S

    def _welcome(self) -> None:
        for each in self.coming:
            if each.ready >= 0 and _read(each.ready):
                os.close(each.ready)
                each.ready = -1
        if self.replacing:
            if all(each.ready < 0 for each in self.coming):
                self._replace(time.monotonic())
            return
        self.serving += [each for each in self.coming if each.ready < 0]
        self.coming = [each for each in self.coming if each.ready >= 0]

    def _replace(self, now_s: float) -> None:
        for each in self.serving:
            each.send(signal.SIGUSR1)
            each.term_s, each.until_s = now_s + LINGER_S, now_s + self.drain_s
        self.leaving += self.serving
        self.serving, self.coming, self.replacing = self.coming, [], False
        say(f"restarted: {self.count} new workers serve; the old ones finish what they have begun")

    def _farewell(self, now_s: float) -> None:
        for each in self.leaving:
            if each.term_s and now_s >= each.term_s:
                each.send(signal.SIGTERM)
                each.term_s = 0.0
            if now_s >= each.until_s:
                say(f"worker {each.pid} had not finished {self.drain_s:.0f} s after the restart; it is killed")
                each.kill()

    def _end(self, told: int) -> None:
        every = [*self.serving, *self.coming, *self.leaving]
        for each in every:
            each.send(signal.SIGTERM)
        until_s = time.monotonic() + KILL_AFTER_S
        while any(each.poll() is None for each in every) and (left_s := until_s - time.monotonic()) > 0:
            select.select([told], [], [], left_s)
            _read(told)
        for each in every:
            each.kill()


def _read(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except BlockingIOError:
        return b""


def _nothing() -> None:
    pass
