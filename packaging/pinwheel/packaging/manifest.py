"""What a `pyproject.toml` says by itself, without running a build backend. No I/O here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pinwheel.errors import PinwheelError
from pinwheel.packaging import refs


@dataclass(frozen=True, slots=True)
class Manifest:
    """The static part of a project. `name` is empty and `version` None when only the backend knows them.

    `needs` are the normalised names of what the project needs to run and to be built, `requires` what it needs to run
    as it says it; `generated` are globs of files that a version tool writes during the build, as its own
    configuration says.
    """

    name: str
    version: str | None
    needs: frozenset[str]
    build_requires: tuple[str, ...]
    generated: tuple[str, ...]
    requires: tuple[str, ...] = ()


def parse(text: str, where: str) -> Manifest:
    """Read a `pyproject.toml`. Raises `PinwheelError` when it is not TOML, or requirements are no list of strings."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PinwheelError(
            f"pyproject.toml is not TOML: {error}", where=where, remedy="correct the line that the message names"
        ) from error
    build = _table(raw, "build-system")
    project = _table(raw, "project")
    # Poetry before 2.0 kept these in a table of its own
    name = project.get("name") or _table(raw, "tool", "poetry").get("name") or ""
    version = project.get("version") or (None if project else _table(raw, "tool", "poetry").get("version"))
    requires = tuple(_strings(build.get("requires", ["setuptools"]), "build-system.requires", where))
    runtime = _strings(project.get("dependencies", []), "project.dependencies", where)
    return Manifest(
        name=canonicalize_name(str(name)) if name else "",
        version=str(version) if version else None,
        needs=frozenset(_names([*runtime, *requires])),
        build_requires=requires,
        generated=tuple(_version_files(raw)),
        requires=tuple(runtime),
    )


def released_version(found: Manifest, tag: str) -> Version | None:
    """The version that is released here: the tag's, else the one that the project states; None when neither says."""
    tagged = refs.version_in(tag, found.name) if tag else None
    if tagged or not found.version:
        return tagged
    try:
        return Version(found.version)
    except InvalidVersion:
        return None  # problems_of_source says so


def direct_urls(requirements: Iterable[str]) -> tuple[str, ...]:
    """Those of `requirements` that name an address (PEP 508 `name @ url`) and so bypass the index."""
    found = []
    for text in requirements:
        try:
            direct = Requirement(text).url is not None
        except InvalidRequirement:
            direct = True  # an installer may still read a path or an address in it
        if direct:
            found.append(text)
    return tuple(found)


def version_variables(name: str, version: Version) -> dict[str, str]:
    """The documented variables by which version tools take a version instead of asking git.

    setuptools-scm and hatch-vcs (one for all, one by name), PBR, pdm-backend, poetry-dynamic-versioning.
    """
    text = str(version)
    variables = {
        "SETUPTOOLS_SCM_PRETEND_VERSION": text,
        "PBR_VERSION": text,
        "PDM_BUILD_SCM_VERSION": text,
        "POETRY_DYNAMIC_VERSIONING_BYPASS": text,
    }
    if name:
        variables[f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{name.upper().replace('-', '_')}"] = text
    return variables


def development_version(base: Version | None, distance: int) -> Version:
    """The version of a commit that no tag names: `distance` commits after `base`, before the release that follows."""
    if base is None:
        return Version(f"0.0.dev{distance}")
    if distance == 0:
        return base
    *head, last = base.release
    return Version(".".join(str(part) for part in (*head, last + 1)) + f".dev{distance}")


def _strings(value: Any, key: str, where: str) -> list[str]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise PinwheelError(
        f"{key} in pyproject.toml is not a list of strings",
        where=where,
        remedy=f'write it as in {key.rpartition(".")[2]} = ["hatchling>=1.20"]',
    )


def _names(requirements: Iterable[str]) -> Iterable[str]:
    for text in requirements:
        try:
            yield canonicalize_name(Requirement(text).name)
        except InvalidRequirement:
            continue  # the backend will say so, in its own words


def _version_files(raw: Mapping[str, Any]) -> Iterable[str]:
    """Where setuptools-scm, hatch-vcs and pdm-backend are told to write the version."""
    scm = _table(raw, "tool", "setuptools_scm")
    hatch = _table(raw, "tool", "hatch", "build", "hooks", "vcs")
    pdm = _table(raw, "tool", "pdm", "version")
    for file in (scm.get("version_file"), scm.get("write_to"), hatch.get("version-file"), pdm.get("write_to")):
        if isinstance(file, str):
            yield file.removeprefix("src/") if file.startswith("src/") else file
            yield file


def _table(raw: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    here: Any = raw
    for part in path:
        here = here.get(part, {}) if isinstance(here, Mapping) else {}
    return here if isinstance(here, Mapping) else {}
