"""Control groups (version 2): what all processes of one take of the CPU, those that have ended and daemons too."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ci.bench.children import BenchFailed

PATIENCE_S = 10.0


class Group:
    """One control group. What its processes start belongs to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes = folder / "cgroup.procs"

    def cpu_s(self) -> float:
        """User and system time so far. The kernel counts it in every version 2, with no controller enabled."""
        first, _, _ = (self._folder / "cpu.stat").read_text().partition("\n")
        return int(first.removeprefix("usage_usec ")) / 1e6

    def take(self, pid_namespace: int) -> None:
        """Take in all processes of the pid namespace (its inode), and so all that will be."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if (process / "ns/pid").stat().st_ino == pid_namespace:
                    self.processes.write_text(process.name)

    def entering(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The command, which begins by going into the group."""
        return ("/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self.processes), *argv)

    def kill(self) -> None:
        """End what is left in it: connections that are kept for a next run, above all."""
        (self._folder / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + PATIENCE_S
        while self.processes.read_text():
            if time.monotonic() > deadline:
                raise BenchFailed(f"processes of {self._folder} do not end")
            time.sleep(0.01)


@contextlib.contextmanager
def groups(*names: str) -> Iterator[dict[str, Group]]:
    """Groups of these names, below one of this process. Raises `BenchFailed` where there can be none."""
    top = _mounted() / f"pinwheel-bench-{os.getpid()}"
    try:
        for folder in (top, *(top / name for name in names)):
            folder.mkdir()
    except OSError as error:
        raise BenchFailed(f"control groups cannot be made: {error}") from error
    try:
        yield {name: Group(top / name) for name in names}
    finally:
        for name in names:
            Group(top / name).kill()
            (top / name).rmdir()
        top.rmdir()


def _mounted() -> Path:
    """Where version 2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    raise BenchFailed("control groups of version 2 are not mounted: mount -t cgroup2 none /sys/fs/cgroup")
