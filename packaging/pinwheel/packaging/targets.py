"""The machines that a lock must serve: a Python and a platform each, and which wheels fit them. No I/O here."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from packaging import tags
from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import BuildTag, InvalidWheelFilename, parse_wheel_filename

from pinwheel.errors import UsageError

PYTHON = re.compile(r"3\.\d{1,2}")
LINUX = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)_(\w+)")
MACOS = re.compile(r"macosx_(\d+)_(\d+)_(\w+)")
WINDOWS = {"win_amd64": "AMD64", "win_arm64": "ARM64", "win32": "x86"}
OLD_NAMES = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
OLDEST_GLIBC = 5  # 2.5, that of manylinux1


@dataclass(frozen=True, slots=True)
class Target:
    """Python `python` ("3.12") on machines of `platform`, the newest platform tag that they take; empty for any."""

    python: str
    platform: str = ""

    def __str__(self) -> str:
        return f"Python {self.python}" + (f" on {self.platform}" if self.platform else "")


def targets(pythons: Iterable[str], platforms: Sequence[str]) -> tuple[Target, ...]:
    """Every Python on every platform, the oldest Python first. Raises `UsageError` for what is neither."""
    ordered = oldest_first(pythons, "packaging.python and packaging.pythons")
    for platform in platforms:
        if not (LINUX.fullmatch(platform) or MACOS.fullmatch(platform) or platform in WINDOWS):
            raise UsageError(
                f"{platform!r} is no platform of wheels",
                where="packaging.platforms",
                remedy="as in manylinux_2_28_x86_64, musllinux_1_2_aarch64, macosx_13_0_arm64 or win_amd64",
            )
    return tuple(Target(python, platform) for python, platform in product(ordered, platforms or ("",)))


def oldest_first(versions: Iterable[str], where: str) -> tuple[str, ...]:
    """The versions, each once. Raises `UsageError` for what is no version such as 3.12."""
    for version in (once := set(versions)):
        if not PYTHON.fullmatch(version):
            raise UsageError(f"{version!r} is no version of Python", where=where, remedy='write it as in "3.12"')
    return tuple(sorted(once, key=_minor))


def fits(filename: str, target: Target) -> bool:
    """Whether the wheel of that name can be installed on `target`. Without a platform only its Python counts."""
    try:
        wheel_tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return False
    if target.platform:
        return any(tag in _accepted(target, tuple(_platforms(target.platform))) for tag in wheel_tags)
    return any(each in _accepted(target, (each.platform,)) for each in wheel_tags)


def preferred(filenames: Iterable[str], target: Target) -> str | None:
    """The wheel that an installer takes on `target` (which has a platform): the one of the most specific tag, then of
    the highest build number. None when none fits."""
    rank = _accepted(target, tuple(_platforms(target.platform)))
    fit: list[tuple[int, BuildTag, str]] = []
    for filename in filenames:
        try:
            _, _, build, wheel_tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            continue
        if places := [rank[tag] for tag in wheel_tags if tag in rank]:
            fit.append((-min(places), build, filename))
    return max(fit)[2] if fit else None


def applies(marker: str | Marker | None, target: Target, extras: Iterable[str] = ("",)) -> bool:
    """Whether a requirement with `marker` counts on `target`, one of `extras` being asked for.

    Without a platform a marker counts when it may on some machine.
    """
    if marker is None or not str(marker):
        return True
    read = marker if isinstance(marker, Marker) else Marker(marker)
    machines = (target.platform,) if target.platform else ("manylinux_2_28_x86_64", "macosx_13_0_arm64", "win_amd64")
    return any(
        read.evaluate({**environment(target.python, machine), "extra": extra})
        for machine in machines
        for extra in (*extras, "")
    )


def environment(python: str, platform: str) -> dict[str, str]:
    """What markers (PEP 508) see with CPython `python` on a machine of `platform`."""
    if found := LINUX.fullmatch(platform):
        machine, system, name, posix = found[4], "Linux", "linux", "posix"
    elif found := MACOS.fullmatch(platform):
        machine, system, name, posix = found[3], "Darwin", "darwin", "posix"
    else:
        machine, system, name, posix = WINDOWS[platform], "Windows", "win32", "nt"
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": posix,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": system,
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": name,
    }


def _minor(python: str) -> int:
    """The 12 of "3.12"."""
    return int(python.partition(".")[2])


@functools.cache
def _accepted(target: Target, platforms: tuple[str, ...]) -> dict[Tag, int]:
    """The tags that fit, each with its place: the most specific one first."""
    version, interpreter = (3, _minor(target.python)), f"cp3{_minor(target.python)}"
    native = tags.cpython_tags(version, [interpreter], platforms)
    pure = tags.compatible_tags(version, interpreter, platforms)
    return {tag: place for place, tag in enumerate([*native, *pure])}


def _platforms(newest: str) -> list[str]:
    """Every platform tag that a machine takes whose newest is `newest`; a wheel built on a machine like it too."""
    if found := LINUX.fullmatch(newest):
        kind, major, last, machine = found[1], int(found[2]), int(found[3]), found[4]
        numbers = range(last, (OLDEST_GLIBC if kind == "manylinux" else 0) - 1, -1)
        names = [f"{kind}_{major}_{number}_{machine}" for number in numbers]
        if kind == "manylinux":
            names += [f"{name}_{machine}" for (_, number), name in OLD_NAMES.items() if number <= last]
        return [*names, f"linux_{machine}"]
    if found := MACOS.fullmatch(newest):
        return list(tags.mac_platforms((int(found[1]), int(found[2])), found[3]))
    return [newest]
