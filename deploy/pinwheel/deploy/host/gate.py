"""What healthy means: `Judge` over supervisor's view and the probes of each program. Sent beside the runner."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

SHOWN_BYTES = 2048
HEALTH = {"http": "", "tcp": "", "command": (), "passes": 2, "interval_s": 0.25, "timeout_s": 2.0}
HEALTH |= {"min_healthy_s": 1.0, "deadline_s": 30.0}

Document = dict[str, Any]
Run = Callable[[Sequence[str], float], "tuple[int | None, str]"]
"""Runs a child for so many seconds: exit code, None when it was too slow, and output."""


def said(error: BaseException) -> str:
    """What an error says, without the number that Python puts before the system's words."""
    cause = getattr(error, "reason", error)  # of a URLError
    return getattr(cause, "strerror", None) or str(error)


def tail(text: str) -> str:
    return text if len(text) <= SHOWN_BYTES else f"…{text[-SHOWN_BYTES:]}"


class Judge:
    """Whether one program is healthy: `passes` probes in a row passed by the same processes, all RUNNING and at least
    `min_healthy_s` old. Knows no clock: `now` is in seconds, of any monotonic one."""

    def __init__(self, program: Document, now: float) -> None:
        self.name, self.health = program["name"], {**HEALTH, **program["health"]}
        self.socket = program.get("socket", "")  # where it listens, if not on a port
        self.saw = ""  # by the last probe, if it failed
        self._processes = program.get("processes") or [self.name]
        self._doubt, self._fatal, self._passed, self._age_s = "", False, 0, 0.0
        self._started = self._since = now
        self._same: list[tuple[int, int]] = []

    def look(self, now: float, seen: Mapping[str, Document]) -> bool:
        """Take in supervisor's view of its processes; is there something to probe?"""
        nothing = {"statename": "not there", "spawnerr": ""}
        for name, each in ((name, seen.get(name, nothing)) for name in self._processes):
            if each["statename"] != "RUNNING":
                self._doubt = f"{name} is {each['statename']}" + (f" ({each['spawnerr']})" if each["spawnerr"] else "")
                self._fatal = each["statename"] == "FATAL"  # supervisor has given up; nothing else is final
                self._same, self._passed = [], 0
                return False
        processes = [seen[name] for name in self._processes]
        same = [(each["pid"], each["start"]) for each in processes]
        if same != self._same:
            self._same, self._since, self._passed = same, now, 0
        # supervisor's clock counts whole seconds; ours began when we first saw them
        self._age_s = max(now - self._since, min(each["now"] - each["start"] for each in processes) - 1)
        return True

    def take(self, passed: bool, saw: str) -> None:
        """Take in what a probe of these processes saw."""
        self.saw, self._passed = ("", self._passed + 1) if passed else (saw, 0)
        if not passed:
            self._doubt = "its probe fails"
        elif self._passed < self.health["passes"]:
            self._doubt = f"{self._passed} of {self.health['passes']} probes passed in a row"
        else:
            self._doubt = f"its probe passes, and it has not been up for {self.health['min_healthy_s']:g} s"

    @property
    def healthy(self) -> bool:
        return bool(self._passed >= self.health["passes"] and self._age_s >= self.health["min_healthy_s"])

    def failure(self, now: float) -> str:
        """Why it will not become healthy; empty while it may."""
        if self._fatal or (not self.healthy and not now - self._started <= self.health["deadline_s"]):  # so nan ends
            late = "" if self._fatal else f"{self.name} is not healthy after {self.health['deadline_s']:g} s: "
            return late + self._doubt
        return ""


def probe_http(url: str, timeout_s: float, path: str = "") -> tuple[bool, str]:
    """GET, without following redirects: 200 to 399 passes. `timeout_s` is for all of it, however slowly it drips.

    With `path`, that unix socket is asked, and not the URL's host.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.netloc or "127.0.0.1", timeout=timeout_s)
    except (ValueError, http.client.HTTPException) as error:
        return False, f"GET {url}: {error}"
    late = threading.Event()

    def cut() -> None:
        late.set()  # first: the read may fail before this thread has ended
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_s, cut)
    timer.daemon = True
    timer.start()
    try:
        if path:
            connection.sock = connect_unix(path, timeout_s)
        connection.request("GET", urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")))
        answer = connection.getresponse()
        body = answer.read(SHOWN_BYTES).decode(errors="replace")
        if late.is_set():
            return False, f"GET {url}: no whole answer within {timeout_s:g} s"
        return 200 <= answer.status < 400, f"GET {url}: {answer.status} {answer.reason}\n{body}".strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return False, f"GET {url}: {f'no whole answer within {timeout_s:g} s' if late.is_set() else said(error)}"
    finally:
        timer.cancel()
        connection.close()


def probe_tcp(address: str, timeout_s: float) -> tuple[bool, str]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout_s).close()
    except (OSError, ValueError) as error:
        return False, f"connect to {address}: {said(error)}"
    return True, f"connect to {address}: accepted"


def connect_unix(path: str, timeout_s: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def probe_unix(path: str, timeout_s: float) -> tuple[bool, str]:
    try:
        connect_unix(path, timeout_s).close()
    except OSError as error:
        return False, f"connect to {path}: {said(error)}"
    return True, f"connect to {path}: accepted"


def probe_command(run: Run, argv: Sequence[str], timeout_s: float) -> tuple[bool, str]:
    try:
        code, output = run(argv, timeout_s)
    except OSError as error:
        return False, f"{' '.join(argv)}: {said(error)}"
    ending = f"did not end within {timeout_s:g} s" if code is None else f"exit code {code}"
    return code == 0, f"{' '.join(argv)}: {ending}\n{tail(output)}".strip()


def probe(run: Run, health: Document, path: str) -> tuple[bool, str]:
    """The one health check of a program, at its unix socket `path` if it has one. Without a check, it is enough that
    it accepts there; without a socket, that it runs."""
    if health["http"]:
        return probe_http(health["http"], health["timeout_s"], path)
    if health["tcp"]:
        return probe_tcp(health["tcp"], health["timeout_s"])
    if health["command"]:
        return probe_command(run, health["command"], health["timeout_s"])
    return probe_unix(path, health["timeout_s"]) if path else (True, "")


class Verdict(NamedTuple):
    """How a gate or an attempt ended. `fault` is whether the release is to blame, `program` the one that failed the
    gate, and `saw` what its probe saw."""

    healthy: bool
    reason: str = ""
    program: str = ""
    saw: str = ""
    fault: bool = True


ABORTED = Verdict(False, "the controller went away before the commit", fault=False)


def gate(
    programs: Sequence[Document],
    processes: Callable[[], Sequence[Document]],
    run: Run,
    aborted: threading.Event | None = None,
) -> Verdict:
    """Watch until all programs are healthy at the same time, or one will not become so; `aborted` ends it.

    `processes` is supervisor's information about each process, asked anew at each look.
    """
    judges = [Judge(each, time.monotonic()) for each in programs]
    while True:
        seen = {each["name"]: each for each in processes()}
        for judge in judges:
            if judge.look(time.monotonic(), seen):
                judge.take(*probe(run, judge.health, judge.socket))
        if aborted is not None and aborted.is_set():
            return ABORTED
        if all(each.healthy for each in judges):
            return Verdict(True)
        for judge in judges:
            if failure := judge.failure(time.monotonic()):
                return Verdict(False, failure, judge.name, judge.saw)
        time.sleep(min((each.health["interval_s"] for each in judges), default=0.25))
