"""What the index tells of a version beside its files: the channels that show it, and which of its own projects need
it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.index.client import IndexFile, Release

ASKED_AT_ONCE = 8


class Shelf(Protocol):
    """The part of the index client that is needed here."""

    def projects(self) -> tuple[str, ...]: ...

    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...

    def metadata(self, file: IndexFile) -> bytes: ...

    def releases(self, project: str) -> tuple[Release, ...]: ...


@dataclass(frozen=True, slots=True)
class Dependent:
    """The newest version of a project, which needs what was asked about, and how it says so. `fits` tells whether the
    version asked about would do."""

    name: str
    version: str
    requirement: str
    fits: bool

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def channels(index: Shelf, project: str, version: str) -> tuple[str, ...]:
    """The channels that show the version."""
    return next((each.channels for each in index.releases(project) if Version(each.version) == Version(version)), ())


def dependents(index: Shelf, project: str, version: str) -> list[Dependent]:
    """The projects of this index whose newest version needs `project`, by name. All are asked at the same time."""
    others = [each for each in index.projects() if canonicalize_name(each) != project]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        found = pool.map(lambda other: _needs(index, other, project, version), others)
    return sorted((each for several in found for each in several), key=lambda each: each.name)


def _needs(index: Shelf, other: str, project: str, version: str) -> list[Dependent]:
    newest = _newest(index.own_files(other))
    if newest is None:
        return []
    raw, _rest = parse_email(index.metadata(newest))
    found = []
    for text in raw.get("requires_dist", ()):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == project:
            fits = requirement.specifier.contains(version, prereleases=True)
            found.append(Dependent(other, newest.version, text, fits))
    return found


def _newest(files: Sequence[IndexFile]) -> IndexFile | None:
    """A file of the newest version that has metadata, a wheel before an sdist; a pre-release only without another."""
    with_metadata = [file for file in files if file.version and file.core_metadata_sha256]
    usual = [file for file in with_metadata if not Version(file.version).is_prerelease and file.yanked is None]
    return max(
        usual or with_metadata,
        key=lambda file: (Version(file.version), file.filename.endswith(".whl"), file.filename),
        default=None,
    )
