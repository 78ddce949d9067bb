"""An index of pinwheel's own for a bench: started by its command, as a user would."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ci.bench import children, machine

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Running:
    """A running index: its base address, its data folder, and the pid of its server."""

    url: str
    data: Path
    pid: int


@contextlib.contextmanager
def pinwheel_index(folder: Path, *flags: str, host: str = LOOPBACK) -> Iterator[Running]:
    """Serve a fresh data folder below `folder` at an address of this machine until the context ends."""
    with started(folder / "index", folder / "index.log", *flags, host=host) as index:
        yield index


@contextlib.contextmanager
def started(
    data: Path, log: Path, *flags: str, host: str = LOOPBACK, within_s: float = children.START_TIMEOUT_S
) -> Iterator[Running]:
    """Serve a data folder, which is made when it is not there, at that address until the context ends."""
    port = children.free_port()
    url = f"http://{host}:{port}/"
    argv = (
        *(machine.program("pinwheel"), "index.serve", "--data", str(data), "--host", host, "--port", str(port)),
        *("--workers", str(workers()), *flags),
    )
    with children.serving(argv, f"{url}-/ready", log, within_s=within_s) as pid:
        yield Running(url, data, pid)


def token(data: Path, log: Path) -> str:
    """A credential for everything that a release and a rollout need."""
    scopes = "read,upload,deploy"
    argv = (machine.program("pinwheel"), "index.token-create", "bench", "--scope", scopes, "--data", str(data))
    return children.timed(argv, log).output.strip().splitlines()[-1]


def workers() -> int:
    """As many as there are cores."""
    return len(os.sched_getaffinity(0))
