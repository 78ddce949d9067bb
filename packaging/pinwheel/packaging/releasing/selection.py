"""Which projects the flags of a command mean: any repository, or tables of pinwheel.toml."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from pinwheel import config
from pinwheel.errors import UsageError
from pinwheel.packaging.inspection.findings import RULES, Allowance
from pinwheel.packaging.repositories.addresses import address
from pinwheel.packaging.work import Elsewhere, Wanted


def select(
    loaded: config.Loaded,
    names: Sequence[str] | None,
    repo: str | None,
    ref: str | None,
    subdirectory: str,
    *,
    everything: bool | None = None,
) -> list[Wanted]:
    """What the flags select; None is a flag that was not given, or that the command has not. Raises `UsageError` when
    they select nothing or contradict each other, and for an empty one: a variable that is not set must not mean the
    newest tag."""
    for flag, empty in (("--name", "" in (names or ())), ("--repo", repo == ""), ("--ref", ref == "")):
        if empty:
            raise UsageError(
                f"{flag} is empty", remedy=f"give it a value, or leave {flag} away; is a variable not set in the shell?"
            )
    if ref and ref.startswith("-"):
        raise UsageError(f"{ref!r} is no ref", remedy="a tag, a branch or a commit id never begins with a dash")
    projects = {canonicalize_name(name): project for name, project in loaded.config.projects.items()}
    chosen = list(dict.fromkeys(canonicalize_name(name) for name in names or ()))
    subdirectory = _inside(subdirectory)
    if repo:
        if chosen or everything:
            raise UsageError("--repo goes with neither --name nor --all", remedy="select in one way")
        where = address(repo, Path.cwd())
        for name, project in projects.items():
            if (address(project.repository, loaded.folder), _folder(project.subdirectory)) == (where, subdirectory):
                return [_wanted(loaded, name, project, ref)]
        return [Wanted(where, ref or "", subdirectory, pythons=loaded.config.packaging.pythons)]
    if subdirectory:
        raise UsageError("--subdirectory goes with --repo", remedy="pinwheel.toml says it for its projects")
    if everything:
        if not projects:
            raise UsageError(
                "pinwheel.toml names no projects",
                where=str(loaded.file or "there is no pinwheel.toml here"),
                remedy="add [projects.NAME] tables, or select a repository with --repo",
            )
        chosen = list(projects)
    if not chosen:
        rest = ", or --all for those of pinwheel.toml" if everything is not None else ""
        raise UsageError("nothing is selected", remedy=f"--repo PATH_OR_ADDRESS, or --name PROJECT{rest}")
    if ref and len(chosen) > 1:
        raise UsageError("--ref goes with one project", remedy="release them one by one")
    for name in chosen:
        if name not in projects:
            near = difflib.get_close_matches(name, projects, n=1)
            raise UsageError(
                f"pinwheel.toml has no project {name}",
                where=str(loaded.file or "there is no pinwheel.toml here"),
                remedy=f"did you mean {near[0]}?" if near else "add a [projects.NAME] table, or use --repo",
            )
    return [_wanted(loaded, name, projects[name], ref) for name in chosen]


def _wanted(loaded: config.Loaded, name: str, project: config.Project, ref: str | None) -> Wanted:
    return Wanted(
        address(project.repository, loaded.folder),
        ref or "",
        _inside(project.subdirectory),
        name,
        project.generated,
        declared=True,
        allowed=allowances(loaded, name),
        elsewhere=Elsewhere(project.submodules, project.lfs),
        tag_signers=loaded.path(project.tag_signers) if project.tag_signers else None,
        pythons=project.pythons or loaded.config.packaging.pythons,
        network=project.network,
    )


def allowances(loaded: config.Loaded, name: str) -> tuple[Allowance, ...]:
    """What pinwheel.toml allows the project of this normalised name. Raises `UsageError` for a rule that is none."""
    allowed = [a for key, one in loaded.config.projects.items() if canonicalize_name(key) == name for a in one.allow]
    for each in allowed:
        if each.rule not in RULES:
            near = difflib.get_close_matches(each.rule, RULES, n=1)
            raise UsageError(
                f"projects.{name}.allow names a rule that there is not: {each.rule}",
                where=str(loaded.file),
                remedy=f"did you mean {near[0]}?" if near else f"the rules are {', '.join(RULES)}",
            )
    return tuple(Allowance(each.rule, each.reason, each.file) for each in allowed)


def _folder(subdirectory: str) -> str:
    """The folder as git writes it: no slashes around, no dots in it, empty for the top."""
    plain = posixpath.normpath(subdirectory.strip("/") or ".")
    return "" if plain == "." else plain


def _inside(subdirectory: str) -> str:
    """The same. Raises `UsageError` for one that is not in the repository."""
    folder = _folder(subdirectory)
    if folder.split("/")[0] == "..":
        raise UsageError(
            f"the folder {subdirectory} lies outside the repository",
            remedy="name the folder from the repository's top, as in --subdirectory python",
        )
    return folder
