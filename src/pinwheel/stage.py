"""The place where a demo runs: a folder of its own, and every process that was started from it.

A process belongs to a run when its environment has the mark, `PINWHEEL_DEMO` with the run's folder, which children
and daemons inherit. So a sweep finds what any step left behind, also after the demo itself was killed, and never
the shell of somebody who looks at a run that was kept.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

SWEEP_DEADLINE_S = 20.0
KEPT = "kept"
MARK = "PINWHEEL_DEMO"
CONFIGURATION = "pinwheel.toml"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stage:
    """The folder of one run, and the one door through which its processes are started.

    The folder's name carries the owner's pid and start time, so that no moment exists at which another run
    could take it for one whose owner is dead.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spawning = False
        self._pending: int | None = None

    @classmethod
    def set_up(cls) -> Stage:
        """Make the folder of a new run."""
        stage = cls(_parent() / f"{_prefix()}{os.getpid()}-{_started(os.getpid())}")
        stage.folder.mkdir(mode=0o700)
        os.environ[MARK] = str(stage.folder)  # from here on, every child has it, whoever starts it
        for name in ("home", "tmp"):
            (stage.folder / name).mkdir()
        (stage.folder / CONFIGURATION).touch()  # empty at first; without it one further up would be found
        return stage

    def environment(self) -> dict[str, str]:
        """What children see: this run's HOME and TMPDIR, `pinwheel` on PATH, and the machine's own way out."""
        passed = {key: value for key, value in os.environ.items() if not key.startswith(("PINWHEEL_", "XDG_"))}
        return passed | {
            MARK: str(self.folder),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "PINWHEEL_CONFIG": str(self.folder / CONFIGURATION),
        }

    def start(self, argv: Sequence[str], *, stdout: int, stderr: int) -> subprocess.Popen[str]:
        """Start a child in the run's folder. A signal that arrives meanwhile waits until the child is known."""
        self._spawning = True
        try:
            return subprocess.Popen(
                list(argv),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        finally:
            self._spawning = False
            if self._pending is not None:
                raise KeyboardInterrupt(self._pending)

    def keep(self) -> None:
        """Leave the folder and its processes to `demo-stop`."""
        (self.folder / KEPT).touch()

    def catch_signals(self) -> None:
        """From here on the first SIGINT, SIGTERM or SIGHUP raises `KeyboardInterrupt` with its number."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def shield(self) -> None:
        """Ignore signals from here on: what follows is the cleaning up, and it is short."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.shield()  # one is enough: a second must not cut the cleaning up short
        if self._spawning:
            self._pending = number
        else:
            raise KeyboardInterrupt(number)


def leftovers() -> list[Path]:
    """The folders of runs whose owner is gone and that nobody asked to keep."""
    return [folder for folder in _folders() if not (folder / KEPT).exists() and not _owned(folder)]


def kept() -> list[Path]:
    """The folders of runs that were left running on purpose."""
    return [folder for folder in _folders() if (folder / KEPT).exists()]


def sweep(folder: Path) -> None:
    """End the processes of a run and remove its folder. Raises `TimeoutError` when one does not end."""
    deadline = time.monotonic() + SWEEP_DEADLINE_S
    # again until none is found: a process may fork while the list is read
    while pids := list(_processes(folder)):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _reap()
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} of {folder} do not end")
    shutil.rmtree(folder, ignore_errors=True)
    # once more: a process that was about to write may have made the folder's rest anew
    shutil.rmtree(folder, ignore_errors=True)


def _reap() -> None:
    """Collect our own dead children, which would otherwise stay in the process table with their environment."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _processes(folder: Path) -> Iterator[int]:
    mark = f"{MARK}={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended, or it is somebody else's
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def _folders() -> list[Path]:
    """The folders of runs of ours. What somebody else has put there, or a link, is none: it would be removed."""
    found = []
    for folder in sorted(_parent().glob(f"{_prefix()}*")):
        with contextlib.suppress(FileNotFoundError):  # another run ends at this moment
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                found.append(folder)
    return found


def _owned(folder: Path) -> bool:
    """Is the process that made `folder` still there? A pid alone could be another process's by now."""
    pid, _, started = folder.name.removeprefix(_prefix()).partition("-")
    return pid.isdigit() and _started(int(pid)) == started


def _started(pid: int) -> str:
    """When process `pid` started, in clock ticks since boot (proc(5), field 22); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _parent() -> Path:
    return Path(tempfile.gettempdir()).resolve()


def _prefix() -> str:
    return f"pinwheel-demo-{os.getuid()}-"
