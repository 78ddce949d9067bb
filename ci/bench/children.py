"""Programs that are measured: servers that stay, and commands whose time and CPU are taken."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

START_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 600.0


class BenchFailed(Exception):
    """Something that must work before it can be measured did not; the text says what."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A command that has ended well. `cpu_s` is user and system time of it and of all its children."""

    wall_s: float
    cpu_s: float
    output: str


def timed(
    argv: Sequence[str],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
    accept: Callable[[int, str], bool] = lambda code, _: code == 0,
) -> Spent:
    """Run a command to its end. `accept` (exit code, output) says whether that was well; else `BenchFailed`."""
    with log.open("wb") as sink:
        started = time.monotonic()
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
        # wait4 tells what the child and its children used, and knows no timeout
        alarm = threading.Timer(timeout_s, os.killpg, (child.pid, signal.SIGKILL))
        alarm.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            end(child)
            raise
        finally:
            alarm.cancel()
        wall_s = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if wall_s >= timeout_s:
        raise BenchFailed(f"{Path(argv[0]).name} took more than {timeout_s:.0f} s")
    output = log.read_text(errors="replace")
    if not accept(child.returncode, output):
        raise BenchFailed(f"{' '.join(argv)} ended with {child.returncode}:\n{output[-3000:]}")
    return Spent(wall_s, usage.ru_utime + usage.ru_stime, output)


@contextlib.contextmanager
def serving(
    argv: Sequence[str],
    url: str,
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    within_s: float = START_TIMEOUT_S,
) -> Iterator[int]:
    """Run a server for the time of the context, from when `url` answers 200 to these headers; gives its pid."""
    with log.open("wb") as sink:
        child = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        deadline = time.monotonic() + within_s
        while fetch(url, headers)[0] != 200:
            if child.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed(f"{' '.join(argv)} does not serve {url}:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.005)
        yield child.pid
    finally:
        end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group: asked first, then by force."""
    for number, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)
            break
    # workers that outlived their parent
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def fetch(
    url: str, headers: Mapping[str, str] = MappingProxyType({}), timeout_s: float = START_TIMEOUT_S
) -> tuple[int, bytes]:
    """Status and body of one GET without redirects; (0, b"") when nothing answers."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    with contextlib.closing(connection):
        try:
            connection.request("GET", address.path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""


def memory_mb(pid: int) -> float:
    """What a server and all processes of its session keep in memory, in MiB; what they share is counted once."""
    total_kb = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getsid(int(process.name)) == pid:
                rollup = (process / "smaps_rollup").read_text()
                total_kb += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total_kb / 1024


def cpu_s(pid: int) -> float:
    """User and system time that a server and the processes of its session have taken so far."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getsid(int(process.name)) == pid:
                # behind the name, which may have spaces and brackets in it
                ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
