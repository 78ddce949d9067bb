"""The Pythons that wheels are built by, and which of them a wheel is good for. No I/O here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pinwheel.errors import UsageError
from pinwheel.packaging.targets import Target, fits, minor

MINOR = re.compile(r"3\.(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine: `version` is its minor one ("3.12"), `path` what to start."""

    version: str
    path: str


def oldest_first(versions: Sequence[str], where: str) -> tuple[str, ...]:
    """The versions, each once; the oldest comes first, because a wheel for the stable ABI serves those after it.
    Raises `UsageError` for what is no version such as 3.12."""
    for version in versions:
        if not MINOR.fullmatch(version):
            raise UsageError(
                f"{version!r} is no version of Python", where=where, remedy='write it as in pythons = ["3.11", "3.12"]'
            )
    return tuple(sorted(set(versions), key=minor))


def serves(wheel: str, version: str) -> bool:
    """Whether CPython `version` installs the wheel of that filename, on the platform that it was built for."""
    return fits(wheel, Target(version))
