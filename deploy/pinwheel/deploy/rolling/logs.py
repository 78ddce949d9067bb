"""The logs of an application on many hosts at once, line by line as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import steps
from pinwheel.deploy.reaching.hosts import HostLost, HostUnreachable, NotTouched, StepRefused
from pinwheel.deploy.rolling import programs
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import PinwheelError, UsageError

AGAIN_S = 5.0
"""A host that went away is asked again after so long."""


class Reader(Protocol):
    """Who reads lines. Called from many threads, but by one at a time. May raise `OSError`, which ends everything."""

    def lines(self, host: str, process: str, lines: Sequence[str]) -> None: ...
    def said(self, host: str, text: str) -> None: ...


def read(
    session: Session,
    application: str,
    reader: Reader,
    *,
    program: str = "",
    lines: int = 20,
    follow: bool = False,
    again_s: float = AGAIN_S,
) -> bool:
    """Give `reader` the last `lines` of each process, and with `follow` what is added until the session is stopped.

    A host that goes away meanwhile is told once, and asked again until it is back; then it goes on where it was. One
    that refuses is told and dropped. False when some host could not be read to the end. Raises `UsageError`, and what
    the reader raises.
    """
    configured = fleet.application(session.loaded.config, application)
    if lines < 0:
        raise UsageError(f"{lines} lines cannot be shown", where="--lines", remedy="write 0 or more")
    name = programs.named(session, application, configured, program)
    wanted = steps.Logs("", application, name and f"{application}-{name}", lines, follow, {})
    reading = _Reading(session, wanted, reader, again_s)
    # who is followed needs a thread for as long as it lasts
    at_once = len(session.targets) if follow else session.context.at_once
    with ThreadPoolExecutor(max(1, at_once)) as threads:
        ended = list(threads.map(reading.host, [each.name for each in session.targets]))
    if reading.failed:
        raise reading.failed
    return all(ended)


class _Reading:
    def __init__(self, session: Session, wanted: steps.Logs, reader: Reader, again_s: float) -> None:
        self.failed: OSError | None = None
        self._session = session
        self._wanted = wanted
        self._reader = reader
        self._again_s = again_s
        self._turn = threading.Lock()

    def host(self, host: str) -> bool:
        """Read one host; whether it came to its end."""
        seen: dict[str, list[int]] = {}
        away = False

        def told(answer: Mapping[str, Any]) -> None:
            nonlocal away
            if away:
                away = False
                self._say(host, "it is back")
            process = str(answer["process"])
            seen[process] = list(answer["seen"])
            self._give(self._reader.lines, host, process, answer["lines"])

        while not self._over:
            try:
                self._session.hosts.ask(host, self._request(host, seen), lambda text: None, told)
                return True
            except (HostLost, HostUnreachable) as error:
                if self._over:
                    return True
                if not self._wanted.follow:
                    self._say(host, _why(error))
                    return False
                if not away:
                    self._say(host, f"{error.problem.partition(';')[0]}; it is asked again until it is back")
                away = True
                self._wait()
            except (StepRefused, NotTouched) as error:
                self._say(host, _why(error))
                return False
        return True

    def _request(self, host: str, seen: Mapping[str, list[int]]) -> dict[str, Any]:
        context, wanted = self._session.context, self._wanted
        step = steps.Logs(host, wanted.application, wanted.program, wanted.lines, wanted.follow, dict(seen))
        return steps.request(step, context.targets[host], environment=context.environment, rollout="", fence=None)

    @property
    def _over(self) -> bool:
        return self._session.stop.is_set() or self.failed is not None

    def _wait(self) -> None:
        until = time.monotonic() + self._again_s
        while not self._over and time.monotonic() < until:
            time.sleep(min(0.1, self._again_s))

    def _say(self, host: str, text: str) -> None:
        self._give(self._reader.said, host, text)

    def _give(self, give: Callable[..., None], *told: object) -> None:
        with self._turn:
            if self.failed is None:
                try:
                    give(*told)
                except OSError as error:  # nobody reads any more
                    self.failed = error
                    self._session.hosts.abort()


def _why(error: PinwheelError) -> str:
    return f"{error.problem}; {error.remedy}" if error.remedy else error.problem
