"""Child processes: argv in, exit code and output back. Nothing here knows a shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from pinwheel.errors import PinwheelError

PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PINWHEEL_DEMO",
)
"""The variables that a scrubbed child inherits; everything else must be asked for. The last is a demo's mark."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A child that has ended. `exit_code` is negative when a signal ended it; `output` is stdout, decoded."""

    argv: tuple[str, ...]
    exit_code: int
    output: str
    errors: str


class ProgramMissing(PinwheelError):
    """The program is not on PATH."""


class TimedOut(PinwheelError):
    """The child ran past its deadline and was killed with its whole process group."""


class Stopped(PinwheelError):
    """The child was killed, or never started, because other work that it belongs to was broken off."""


@dataclass(slots=True)
class _Flock:
    """Children of several threads that end together; `stopped` once they had to."""

    stopped: bool = False
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def among(self, child: subprocess.Popen[bytes]) -> Iterator[None]:
        """Count `child` in while it runs. Raises `Stopped`."""
        with self.lock:
            self.running.add(child)  # or a stop between the question and this would miss it
            self._go_on()
        try:
            yield
        finally:
            with self.lock:
                self.running.discard(child)
        self._go_on()

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            for child in self.running:
                if child.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)

    def _go_on(self) -> None:
        if self.stopped:
            raise Stopped("stopped, because the command was broken off", remedy="run the command again")


_flock: ContextVar[_Flock | None] = ContextVar("flock", default=None)


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
    """Kill every child that was started inside, and let none start any more, when an exception (Ctrl-C) leaves the
    block. Threads are inside that run in a copy of its context (`contextvars.copy_context`)."""
    flock = _Flock()
    before = _flock.set(flock)
    try:
        yield
    except BaseException:
        flock.stop()
        raise
    finally:
        _flock.reset(before)


def scrubbed(environ: Mapping[str, str], **extra: str) -> dict[str, str]:
    """An environment of the allowlist `PASSED_ON` and `extra`: build backends see every variable there is."""
    return {key: environ[key] for key in PASSED_ON if key in environ} | extra


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    log: Path | None = None,
    timeout_s: float | None = None,
) -> Completed:
    """Run `argv` to its end and return what it printed; a non-zero exit is a value, not an exception.

    With `log`, stdout and stderr go to that file together and `output` is its text. `env` None means the
    caller's environment. On `timeout_s`, and on any exception (Ctrl-C too), the child's process group is killed.

    Raises `ProgramMissing`, `TimedOut`, and `Stopped` within `ending_together`.
    """
    flock = _flock.get()
    sink = log.open("wb") if log else None
    try:
        try:
            child = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=dict(env) if env is not None else None,
                stdin=subprocess.PIPE,
                stdout=sink or subprocess.PIPE,
                stderr=subprocess.STDOUT if sink else subprocess.PIPE,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if cwd is not None and not cwd.is_dir():
                raise
            raise ProgramMissing(
                f"{argv[0]} is not installed", remedy=f"install {argv[0]} and run the command again"
            ) from error
        try:
            with flock.among(child) if flock else contextlib.nullcontext():
                out, err = child.communicate(stdin.encode(), timeout=timeout_s)
        except BaseException as error:
            kill_group(child)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimedOut(f"{argv[0]} did not end within {timeout_s:g} s", where=" ".join(argv)) from error
            raise
    finally:
        if sink:
            sink.close()
    text = log.read_text(errors="replace") if log else out.decode(errors="replace")
    return Completed(tuple(argv), child.returncode, text, "" if log else err.decode(errors="replace"))


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a child that was started with `start_new_session` and everything in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def tail(text: str, lines: int = 20) -> str:
    """The last `lines` lines of `text`, with a note of how many went before."""
    every = text.rstrip().splitlines()
    if len(every) <= lines:
        return "\n".join(every)
    return "\n".join([f"… {len(every) - lines} lines before", *every[-lines:]])
