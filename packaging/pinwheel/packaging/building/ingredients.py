"""Which wheel each distribution of a build environment was installed from, as its lock (PEP 751) says. No I/O here."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_string

from packaging.pylock import PackageWheel, Pylock
from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from pinwheel.packaging.statement import Dependency


@dataclass(frozen=True, slots=True)
class BuildLock:
    """What a build environment was installed from: the wheels of each name and version, of which uv chose one."""

    wheels: dict[tuple[str, Version], tuple[PackageWheel, ...]]

    def dependency(self, name: str, version: str, wheel_file: str) -> Dependency:
        """The distribution whose installed WHEEL is `wheel_file`, with the sha256 of what it was installed from. It
        has none when the lock does not tell: the backend has installed it by itself, or the tags in WHEEL are of
        none of several wheels."""
        called = canonicalize_name(name)
        there: Sequence[PackageWheel] = self.wheels.get((called, Version(version)), ())
        if len(there) > 1:
            built_for = _tags(wheel_file)
            there = [each for each in there if parse_wheel_filename(each.filename)[3] == built_for]
        # of wheels with the same tags, installers take the highest build number
        chosen = max(there, key=lambda each: parse_wheel_filename(each.filename)[2], default=None)
        return Dependency(called, version, chosen.hashes.get("sha256", "") if chosen else "")


def read(pylock: str) -> BuildLock:
    """Read what uv has locked. Raises `PylockValidationError`."""
    packages = Pylock.from_dict(tomllib.loads(pylock)).packages
    return BuildLock({(each.name, each.version): tuple(each.wheels or ()) for each in packages if each.version})


def _tags(wheel_file: str) -> frozenset[Tag]:
    written = message_from_string(wheel_file).get_all("Tag", [])
    return frozenset(tag for each in written for tag in parse_tag(each))
