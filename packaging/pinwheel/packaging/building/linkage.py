"""What a native wheel asks of the host that loads it, as auditwheel reads it from its ELF files."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pinwheel import process
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.inspection.findings import Finding

GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
READING_S = 300.0
VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Linkage:
    """The oldest glibc that has every symbol which the wheel uses (None when it uses none of glibc's), and the shared
    libraries that are neither in the wheel nor on every host."""

    glibc: tuple[int, int] | None
    libraries: tuple[str, ...]


def read(wheel: Path) -> Linkage | None:
    """What the ELF files of the wheel need; None when it has none that auditwheel can judge. Raises `PinwheelError`
    for a wheel that is not what its RECORD says."""
    # a child, because auditwheel changes the working directory, which all threads have in common
    argv = (sys.executable, "-P", "-m", "auditwheel", "show", "--json", str(wheel))
    done = process.run(argv, env=process.scrubbed(os.environ), timeout_s=READING_S)
    try:
        found = json.loads(done.output)
    except ValueError as error:
        raise PinwheelError(
            f"what the wheel needs of a host cannot be read: {process.tail(done.errors, 1)}",
            where=wheel.name,
            remedy="`auditwheel show` on the wheel should say the same; its RECORD must list what is in it",
        ) from error
    if "error" in found:
        return None
    symbols = {symbol for versions in found["versioned_symbols"].values() for symbol in versions}
    versions = [(int(one[1]), int(one[2])) for one in map(GLIBC.fullmatch, symbols) if one]
    return Linkage(max(versions, default=None), tuple(sorted(found["external_libs"])))


def problems(linkage: Linkage, filename: str, oldest_glibc: tuple[int, int]) -> Iterable[Finding]:
    """What keeps a wheel from being loaded where glibc is as old as `oldest_glibc`."""
    if linkage.glibc and linkage.glibc > oldest_glibc:
        yield Finding(
            "error",
            "glibc",
            filename,
            f"needs glibc {_text(linkage.glibc)}, the oldest target has {_text(oldest_glibc)}",
            "build on a system as old as the oldest target, or raise packaging.oldest_glibc in pinwheel.toml",
        )
    for library in linkage.libraries:
        yield Finding(
            "warning",
            "missing-library",
            filename,
            f"needs {library}, which is not in the wheel",
            "see that every target has this library, or link it statically",
        )


def glibc(text: str, where: str) -> tuple[int, int]:
    """Read a version such as 2.35. Raises `UsageError`."""
    found = VERSION.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is no version of glibc", where=where, remedy="`ldd --version` on a target says it")
    return int(found[1]), int(found[2])


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
