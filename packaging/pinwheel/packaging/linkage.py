"""What a native wheel asks of the host that loads it, as auditwheel reads it from its ELF files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.inspection import Finding

GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
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
    from auditwheel.error import AuditwheelError
    from auditwheel.wheel_abi import analyze_wheel_abi

    try:
        found = analyze_wheel_abi(None, None, wheel, frozenset(), disable_isa_ext_check=True, allow_graft=True)
    except AuditwheelError:
        return None
    except (OSError, RuntimeError) as error:
        raise PinwheelError(
            f"what the wheel needs of a host cannot be read: {error}",
            where=wheel.name,
            remedy="`auditwheel show` on the wheel should say the same; its RECORD must list what is in it",
        ) from error
    symbols = {symbol for versions in found.versioned_symbols.values() for symbol in versions}
    versions = [(int(one[1]), int(one[2])) for one in map(GLIBC.fullmatch, symbols) if one]
    # the plain linux policy lets everything through
    outside = [set(each.libs) for each in found.external_refs.values() if not each.policy.name.startswith("linux_")]
    libraries = min(outside, key=len, default=set())
    return Linkage(max(versions, default=None), tuple(sorted(libraries)))


def problems(linkage: Linkage, filename: str, oldest_glibc: tuple[int, int]) -> Iterable[Finding]:
    """What keeps a wheel from being loaded where glibc is as old as `oldest_glibc`."""
    if linkage.glibc and linkage.glibc > oldest_glibc:
        yield Finding(
            "error",
            filename,
            f"needs glibc {_text(linkage.glibc)}, the oldest target has {_text(oldest_glibc)}",
            "build on a system as old as the oldest target, or raise packaging.oldest_glibc in pinwheel.toml",
        )
    for library in linkage.libraries:
        yield Finding(
            "warning",
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
