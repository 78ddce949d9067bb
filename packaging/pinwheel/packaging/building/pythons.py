"""The Pythons that wheels are built by, and which of them a wheel is good for. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass

from pinwheel.packaging.targets import Target, fits


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of this machine: `version` is its minor one ("3.12"), `path` what to start."""

    version: str
    path: str


def serves(wheel: str, version: str) -> bool:
    """Whether CPython `version` installs the wheel of that filename, on the platform that it was built for."""
    return fits(wheel, Target(version))
