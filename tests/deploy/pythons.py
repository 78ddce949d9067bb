"""The Pythons that hosts may have, as far as this machine has them: pyenv's and those on PATH.

The root lab runs whole rollouts on the Pythons of its two Debians.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def found(minor: str) -> Path | None:
    """A Python of this minor that works here."""
    return next((each for each in _candidates(minor) if _is(each, minor)), None)


def _candidates(minor: str) -> Iterator[Path]:
    yield from sorted(Path("~/.pyenv/versions").expanduser().glob(f"{minor}.*/bin/python{minor}"))
    yield from (Path(each) / f"python{minor}" for each in os.environ["PATH"].split(os.pathsep))


def _is(python: Path, minor: str) -> bool:
    ask = "import sys, xmlrpc.client, zlib; print('.'.join(map(str, sys.version_info[:2])))"
    with contextlib.suppress(OSError):
        asked = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, timeout=60)
        return asked.stdout.strip() == minor
    return False
