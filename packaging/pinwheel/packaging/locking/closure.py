"""Find what requirements need that has no wheel anywhere, and have it built: resolvers are given wheels only."""

from __future__ import annotations

import functools
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import archive
from pinwheel.errors import UsageError
from pinwheel.index.client import IndexFile
from pinwheel.packaging.targets import Target, applies, fits

Build = Callable[[str, IndexFile], Path]
"""Makes a wheel of the project's sdist and returns its path."""


class Source(Protocol):
    """The part of the client of an index that says what there is, and hands it out."""

    @property
    def url(self) -> str: ...

    def files(self, project: str) -> tuple[IndexFile, ...]: ...

    def download(self, file: IndexFile, into: Path) -> Path: ...

    def metadata(self, file: IndexFile) -> bytes: ...


def requirements(lines: str, where: str) -> tuple[Requirement, ...]:
    """The requirements of a file, one a line; comments and the hashes of a lock are passed over. Raises `UsageError`
    for options and addresses."""
    found = []
    for line in lines.replace("\\\n", " ").splitlines():
        text = line.partition(" #")[0].partition(" --hash=")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            found.append(Requirement(text))
        except InvalidRequirement as error:
            raise UsageError(
                f"{text!r} is no requirement", where=where, remedy="one a line, as in requests>=2.31; no options"
            ) from error
        if found[-1].url:
            raise UsageError(
                f"{text!r} names an address", where=where, remedy="require it by name and version, from the index"
            )
    if not found:
        raise UsageError("nothing is required", where=where, remedy="one requirement a line, as in requests>=2.31")
    return tuple(found)


def build_missing(wanted: Sequence[Requirement], source: Source, targets: Sequence[Target], build: Build) -> None:
    """Walk from `wanted` to all that is needed, taking of each project the newest version that is asked for; call
    `build` where no version has wheels for all `targets`. What the resolver makes of it then is its own decision.

    A project's version is chosen when it is met: a requirement that is met later makes it look again.
    """
    pages = functools.cache(source.files)
    asked: dict[str, SpecifierSet] = {}
    seen: set[tuple[str, str, frozenset[str]]] = set()
    built: dict[str, Path] = {}
    ahead = deque(each for each in wanted if any(applies(each.marker, target) for target in targets))
    while ahead:
        need = ahead.popleft()
        name, extras = canonicalize_name(need.name), frozenset(need.extras)
        asked[name] = specifier = asked.get(name, SpecifierSet()) & need.specifier
        if (name, str(specifier), extras) in seen:
            continue
        seen.add((name, str(specifier), extras))
        chosen = _chosen(pages(name), specifier, targets)
        if chosen is None:
            continue  # the resolver has the better words for it
        if chosen.filename.endswith(".whl"):
            metadata = _metadata(source, chosen)
        else:
            if chosen.filename not in built:
                built[chosen.filename] = build(name, chosen)
            path = built[chosen.filename]
            metadata = archive.read(path, path.name).core_metadata
        for text in parse_email(metadata)[0].get("requires_dist", []):
            further = Requirement(text)
            if any(applies(further.marker, target, extras) for target in targets):
                ahead.append(further)


def _chosen(files: Sequence[IndexFile], specifier: SpecifierSet, targets: Sequence[Target]) -> IndexFile | None:
    """A wheel of the newest version that has one for each target; else the sdist of the newest version; else None."""
    usable = [file for file in files if file.version and file.yanked is None and _runs(file, targets[0])]
    versions = list(specifier.filter(sorted({Version(file.version) for file in usable}, reverse=True)))
    for version in versions:
        wheels = [file for file in usable if Version(file.version) == version and file.filename.endswith(".whl")]
        if wheels and all(any(fits(file.filename, target) for file in wheels) for target in targets):
            return wheels[0]
    sdists = {Version(file.version): file for file in usable if file.filename.endswith(".tar.gz")}
    return next((sdists[version] for version in versions if version in sdists), None)


def _runs(file: IndexFile, target: Target) -> bool:
    try:
        return SpecifierSet(file.requires_python).contains(f"{target.python}.0")
    except InvalidSpecifier:  # as installers do
        return True


def _metadata(source: Source, wheel: IndexFile) -> bytes:
    if wheel.core_metadata_sha256:
        return source.metadata(wheel)
    with tempfile.TemporaryDirectory(prefix="pinwheel-metadata-") as folder:
        path = source.download(wheel, Path(folder))
        return archive.read(path, path.name).core_metadata
