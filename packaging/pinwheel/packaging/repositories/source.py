"""From a commit to a folder that can be built: its tree laid out, judged before any code of it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.errors import PinwheelError
from pinwheel.packaging import manifest, refs
from pinwheel.packaging.inspection.findings import Finding
from pinwheel.packaging.inspection.rules import problems_of_source
from pinwheel.packaging.manifest import Manifest
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.repositories.elsewhere import Submodules, bring_in
from pinwheel.packaging.repositories.git import CommitFacts, Mirror, TreeFile
from pinwheel.packaging.work import Elsewhere

NOWHERE_ELSE = Elsewhere()


class NoProject(PinwheelError):
    """The commit holds no Python project where one was looked for."""


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


def read_manifest(mirror: Mirror, resolved: Resolved, subdirectory: str) -> Manifest:
    """The project's `pyproject.toml` at the commit. Raises `NoProject`."""
    path = f"{subdirectory}/pyproject.toml" if subdirectory else "pyproject.toml"
    text = mirror.text(resolved.commit, path)
    where = f"{mirror.address} at {resolved.tag or resolved.commit[:12]}"
    if text is not None:
        return manifest.parse(text, f"{path} in {where}")
    files = {file.path for file in mirror.tree(resolved.commit)}
    folders = sorted(file.removesuffix("/pyproject.toml") for file in files if file.endswith("/pyproject.toml"))
    if folders:
        remedy = f"name the project's folder: {' or '.join(f'--subdirectory {each}' for each in folders[:5])}"
    elif "setup.py" in files:
        remedy = "add a pyproject.toml; for a setup.py these two lines are enough: [build-system] and"
        remedy += ' requires = ["setuptools"]'
    else:
        remedy = "add a pyproject.toml with [build-system] and [project] tables, commit and tag again"
    raise NoProject(f"there is no {path}", where=where, remedy=remedy)


def lay_out(
    mirror: Mirror,
    resolved: Resolved,
    subdirectory: str,
    into: Path,
    elsewhere: Elsewhere = NOWHERE_ELSE,
    submodules: Submodules = lambda address, commit: None,
) -> Source:
    """Export the commit below the folder `into`, with what it has elsewhere as far as that is declared, and judge it.

    Raises `NoProject`; `NoContent`, `WrongContent` for large files, `RepositoryUnreachable` for a submodule.
    """
    found = read_manifest(mirror, resolved, subdirectory)
    mirror.export(resolved.commit, into)
    root = into / subdirectory
    contents = bring_in(mirror, resolved.commit, into, subdirectory, elsewhere, submodules)
    version = told = manifest.released_version(found, resolved.tag)
    if version is None and resolved.kind != "tag":
        tag, distance = mirror.distance(resolved.commit)
        told = manifest.development_version(refs.version_in(tag, found.name) if tag else None, distance)
    return Source(
        root=root,
        tree=contents.tree,
        manifest=found,
        commit=mirror.facts(resolved.commit),
        version=version,
        variables=manifest.version_variables(found.name, told) if told else {},
        findings=(
            *contents.findings,
            *problems_of_source(
                submodules=contents.submodules,
                pointers=contents.pointers,
                direct=manifest.direct_urls(found.build_requires),
                stated=found.version,
                expected=version,
                tag=resolved.tag,
            ),
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
