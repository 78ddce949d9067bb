"""The lock of a version, as the documents say that lie beside it in the index. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.errors import PinwheelError


class BadLock(PinwheelError):
    """The lock beside the version does not say what it must."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a lock. `name` is normalised; `size` in bytes, 0 where the lock does not say."""

    name: str
    version: str
    filename: str
    sha256: str
    size: int

    def document(self) -> dict[str, Any]:
        """As the runner takes it."""
        return {"name": self.name, "version": self.version, **self.file(), "size": self.size}

    def file(self) -> dict[str, str]:
        return {"filename": self.filename, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a distribution, wanted where `marker` (PEP 508; None is everywhere) holds."""

    name: str
    version: str
    marker: Marker | None
    wheels: tuple[Wheel, ...]
    requires_python: SpecifierSet = field(default_factory=SpecifierSet)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that was checked: `release` is the version and the first eight digits of `sha256` (of pylock.toml)."""

    release: str
    sha256: str
    packages: tuple[Package, ...] = field(repr=False)
    pins: Pins = field(repr=False)
    requires_python: SpecifierSet


def checked(project: str, version: str, pylock: bytes, requirements: bytes, published: Collection[str]) -> Lock:
    """Check the two lock documents of `project` in `version` against `published`, the sha256 of its files in the index.

    Raises `BadLock` when the lock does not pin exactly this version with hashes that the index lists, or the documents
    are of two locks.
    """
    where = f"the lock of {project}=={version}"
    remedy = f"make a new one: pinwheel packaging.lock {project}=={version}"
    try:
        text = requirements.decode()
        document = tomllib.loads(pylock.decode())
        pythons, listed = SpecifierSet(document.get("requires-python", "")), document.get("packages", [])
        pinned, twin, known = pins(text), _pins(listed), packages(listed)
    # TOMLDecodeError, UnicodeDecodeError and InvalidVersion are ValueErrors; the others come from another shape
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadLock("pylock.toml or requirements.txt cannot be read", where=where, remedy=remedy) from error
    name = canonicalize_name(project)
    ours = [each for each in pinned if each[0] == name]
    if ours != [(name, Version(version))]:
        says = f"pins {', '.join(str(each) for _, each in ours)}" if ours else "does not name it"
        raise BadLock(f"requirements.txt {says}", where=where, remedy=remedy)
    bare = sorted({each for (each, _), hashes in pinned.items() if not hashes})
    if bare:
        raise BadLock(f"requirements.txt has no hashes for {', '.join(bare)}", where=where, remedy=remedy)
    differ = sorted(each for each in {*pinned, *twin} if pinned.get(each) != twin.get(each))
    if differ:
        # they are stored one after the other, so this may be the half of two locks
        named = ", ".join(f"{each} {pinned_at}" for each, pinned_at in differ)
        raise BadLock(f"pylock.toml and requirements.txt disagree on {named}", where=where, remedy=remedy)
    strange = pinned[ours[0]] - set(published)
    if strange:
        raise BadLock(
            f"the index has no file of {project} {version} with sha256 {min(strange)}",
            where=where,
            remedy=f"was it locked against another index? {remedy}",
        )
    sha256 = hashlib.sha256(pylock).hexdigest()
    return Lock(f"{version}-{sha256[:8]}", sha256, known, pinned, pythons)


Pins = dict[tuple[str, Version], frozenset[str]]
"""sha256 digests by canonical name and version. A name may have several versions, each for a marker."""


def pins(requirements: str) -> Pins:
    """What a requirements file pins, as pip and uv write it. Raises `InvalidVersion`."""
    found: Pins = {}
    for line in requirements.replace("\\\n", " ").splitlines():
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*==\s*([^\s;#]+)", line)
        if match:
            digests = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line))
            found[str(canonicalize_name(match[1])), Version(match[2])] = digests
    return found


def _pins(packages: Sequence[Mapping[str, Any]]) -> Pins:
    """What the packages of a pylock.toml (PEP 751) pin. Raises `KeyError` and its like for another shape."""
    return {
        (str(canonicalize_name(each["name"])), Version(each["version"])): frozenset(
            file["hashes"]["sha256"]
            for file in (*each.get("wheels", ()), *filter(None, [each.get("sdist")]))
            if "sha256" in file["hashes"]
        )
        for each in packages
    }


def packages(documents: Sequence[Mapping[str, Any]]) -> tuple[Package, ...]:
    """The packages of a pylock.toml (PEP 751). Raises `KeyError`, `ValueError` and their like for another shape."""
    return tuple(_package(each) for each in documents)


def _package(document: Mapping[str, Any]) -> Package:
    name, version = str(canonicalize_name(document["name"])), str(document["version"])
    wheels = [
        Wheel(name, version, _filename(each), each["hashes"]["sha256"], int(each.get("size", 0)))
        for each in document.get("wheels", ())
        if "sha256" in each["hashes"]
    ]
    marker = Marker(document["marker"]) if document.get("marker") else None
    return Package(name, version, marker, tuple(wheels), SpecifierSet(document.get("requires-python", "")))


def _filename(wheel: Mapping[str, Any]) -> str:
    """PEP 751: the name, where it is not the end of the address or path."""
    return str(wheel.get("name") or unquote(urlsplit(str(wheel.get("url") or wheel["path"])).path.rpartition("/")[2]))


def commit(statement: bytes) -> str:
    """The commit that an in-toto statement (SLSA v1 provenance) names as source; empty when it names none."""
    try:
        dependencies = json.loads(statement)["predicate"]["buildDefinition"]["resolvedDependencies"]
        digests = [each.get("digest", {}) for each in dependencies]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""  # a story for people, not a proof; verifying it is another step
    return next((each["gitCommit"] for each in digests if each.get("gitCommit")), "")
