"""From a commit to a folder that can be built: its tree laid out, judged before any code of it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.errors import PinwheelError
from pinwheel.packaging import manifest, refs
from pinwheel.packaging.git import CommitFacts, TreeFile
from pinwheel.packaging.inspection.findings import Finding
from pinwheel.packaging.inspection.rules import problems_of_source
from pinwheel.packaging.manifest import Manifest
from pinwheel.packaging.refs import Resolved

POINTER_BYTES = 1024  # a Git LFS pointer is three short lines


class NoProject(PinwheelError):
    """The commit holds no Python project where one was looked for."""


class Trees(Protocol):
    """The part of a git mirror that this module needs."""

    address: str

    def facts(self, commit: str) -> CommitFacts: ...

    def tree(self, commit: str, subdirectory: str = "") -> tuple[TreeFile, ...]: ...

    def text(self, commit: str, path: str) -> str | None: ...

    def distance(self, commit: str) -> tuple[str, int]: ...

    def export(self, commit: str, into: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A commit, laid out. `root` is the project's folder; `tree` its files as git has them, relative to it;
    `version` what the release must be called, None when neither a tag nor the project says it before the build;
    `variables` tell a version tool the version that it would otherwise ask git for."""

    root: Path
    tree: tuple[TreeFile, ...]
    manifest: Manifest
    commit: CommitFacts
    version: Version | None
    variables: Mapping[str, str]
    findings: tuple[Finding, ...]


def read_manifest(trees: Trees, resolved: Resolved, subdirectory: str) -> Manifest:
    """The project's `pyproject.toml` at the commit. Raises `NoProject`."""
    path = f"{subdirectory}/pyproject.toml" if subdirectory else "pyproject.toml"
    text = trees.text(resolved.commit, path)
    where = f"{trees.address} at {resolved.tag or resolved.commit[:12]}"
    if text is not None:
        return manifest.parse(text, f"{path} in {where}")
    files = {file.path for file in trees.tree(resolved.commit)}
    folders = sorted(file.removesuffix("/pyproject.toml") for file in files if file.endswith("/pyproject.toml"))
    if folders:
        remedy = f"name the project's folder: {' or '.join(f'--subdirectory {each}' for each in folders[:5])}"
    elif "setup.py" in files:
        remedy = "add a pyproject.toml; for a setup.py these two lines are enough: [build-system] and"
        remedy += ' requires = ["setuptools"]'
    else:
        remedy = "add a pyproject.toml with [build-system] and [project] tables, commit and tag again"
    raise NoProject(f"there is no {path}", where=where, remedy=remedy)


def lay_out(trees: Trees, resolved: Resolved, subdirectory: str, into: Path) -> Source:
    """Export the commit below the folder `into` and judge it. Raises `NoProject`."""
    found = read_manifest(trees, resolved, subdirectory)
    trees.export(resolved.commit, into)
    root = into / subdirectory
    tree = trees.tree(resolved.commit, subdirectory)
    version = told = manifest.released_version(found, resolved.tag)
    if version is None and resolved.kind != "tag":
        tag, distance = trees.distance(resolved.commit)
        told = manifest.development_version(refs.version_in(tag, found.name) if tag else None, distance)
    return Source(
        root=root,
        tree=tree,
        manifest=found,
        commit=trees.facts(resolved.commit),
        version=version,
        variables=manifest.version_variables(found.name, told) if told else {},
        findings=tuple(
            problems_of_source(
                submodules=[file.path for file in tree if file.is_submodule],
                pointers=_pointers(root, tree),
                direct=manifest.direct_urls(found.build_requires),
                stated=found.version,
                expected=version,
                tag=resolved.tag,
            )
        ),
    )


def check_name(found: Manifest, expected: str, where: str) -> None:
    """Refuse a repository that holds another project than the configuration says."""
    if expected and found.name and found.name != canonicalize_name(expected):
        raise PinwheelError(
            f"the project calls itself {found.name}, the configuration calls it {expected}",
            where=where,
            remedy=f"rename the table to [projects.{found.name}], or correct its repository or subdirectory",
        )


def _pointers(root: Path, tree: Sequence[TreeFile]) -> list[str]:
    """Files that Git LFS keeps elsewhere: only a pointer to their content is in the commit."""
    found = []
    for file in tree:
        path = root / file.path
        if file.mode in ("100644", "100755") and path.stat().st_size < POINTER_BYTES:
            with path.open("rb") as opened:
                if opened.read(43).startswith(b"version https://git-lfs.github.com/spec/v1"):
                    found.append(file.path)
    return found
