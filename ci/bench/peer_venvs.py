"""Peers from the registry, each in a virtual environment of its own below the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ci.bench import machine
from ci.bench.children import BenchFailed

PEERS = {
    "pypiserver": (
        "pypiserver[passlib]==2.4.2",
        "waitress==3.0.2",
        "bcrypt==4.0.1",
        "watchdog==6.0.0",
        "setuptools<81",
    ),
    "devpi-server": ("devpi-server==6.20.0", "setuptools<81"),
    "peryx": ("peryx==2026.1010.0",),
    "simple-repository-server": ("simple-repository-server==0.10.0",),
    "ansible": ("ansible-core==2.19.14",),
    "pyinfra": ("pyinfra==3.10.0",),
}
"""What each is installed from. waitress is the fastest server that stock pypiserver takes; passlib cannot read
bcrypt 5."""
INSTALL_TIMEOUT_S = 300


class NotInstalled(BenchFailed):
    """A peer that cannot be had here; the text says why."""


def program(peer: str, name: str) -> Path:
    """The path of a program of the peer, which is installed when it is not there yet. Raises `NotInstalled`."""
    wanted = PEERS[peer]
    home = _cache() / f"{peer}-{sys.version_info.major}.{sys.version_info.minor}"
    mark = home / "installed.txt"
    if not mark.is_file() or mark.read_text().splitlines() != list(wanted):
        shutil.rmtree(home, ignore_errors=True)
        uv = machine.program("uv")
        _run(peer, uv, "venv", "--quiet", "--python", sys.executable, str(home))
        _run(peer, uv, "pip", "install", "--quiet", "--python", str(home / "bin" / "python"), *wanted)
        mark.write_text("\n".join(wanted))
    return home / "bin" / name


def versions(*peers: str) -> dict[str, str]:
    """The versions of these peers, as they would be installed."""
    return {peer: PEERS[peer][0].partition("==")[2] for peer in peers}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pinwheel-bench"


def _run(peer: str, *argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{peer} cannot be installed: {error}") from error
    if done.returncode != 0:
        raise NotInstalled(f"{peer} cannot be installed: {' '.join(done.stderr.split())[-200:]}")
