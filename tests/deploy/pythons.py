"""The Pythons that hosts may have, as far as this machine has them: pyenv's, those on PATH, the root lab's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

MINORS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def found(minor: str, folder: Path) -> Path | None:
    """A Python of this minor that works here; `folder` is for what has to be written to start it."""
    return next((each for each in _candidates(minor, folder) if _is(each, minor)), None)


def _candidates(minor: str, folder: Path) -> Iterator[Path]:
    yield from sorted(Path("~/.pyenv/versions").expanduser().glob(f"{minor}.*/bin/python{minor}"))
    yield from (Path(each) / f"python{minor}" for each in os.environ["PATH"].split(os.pathsep))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    for python in sorted(cache.glob(f"pinwheel-lab/*/usr/bin/python{minor}")):
        yield from _foreign(python, folder)


def _foreign(python: Path, folder: Path) -> Iterator[Path]:
    """A Python of another system's files: it needs that system's C library, and the loader that finds it."""
    usr = python.parent.parent
    for loader in usr.glob("lib/*/ld-linux-*.so.*"):
        script = folder / python.name
        script.write_text(
            f'#!/bin/sh\nexec "{loader}" --library-path "{loader.parent}" --argv0 "{python}" "{python}" "$@"\n'
        )
        script.chmod(0o755)
        yield script


def _is(python: Path, minor: str) -> bool:
    ask = "import sys, xmlrpc.client, zlib; print('.'.join(map(str, sys.version_info[:2])))"
    with contextlib.suppress(OSError):
        asked = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, timeout=60)
        return asked.stdout.strip() == minor
    return False
