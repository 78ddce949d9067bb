"""The machine and the versions that figures were taken with."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "pinwheel-kit",
    "pypiserver",
    "granian",
    "sqlalchemy",
    "build",
    "twine",
    "fabric",
    "paramiko",
    "uv",
    "supervisor",
)
PROGRAMS = (("nginx", "-v"), ("wrk", "-v"), ("ab", "-V"), ("git", "--version"))


def describe() -> dict[str, Any]:
    """{"system", "cpu", "cores", "memory_mb", "versions": {name: version}}; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, flag in PROGRAMS:
        if shutil.which(name):
            said = subprocess.run((name, flag), capture_output=True, text=True, timeout=30, check=False)
            number = re.search(r"\d+(\.\d+)+\S*", said.stderr + said.stdout)
            found[name] = number[0] if number else "?"
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "versions": found,
    }


def load() -> float:
    """How many processes wanted to run in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def program(name: str) -> str:
    """A program of this virtual environment, or else of the machine; the bare name when it is nowhere."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
