"""What a commit only points to: submodules and large files, brought in where the project declares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pinwheel.errors import PinwheelError
from pinwheel.packaging.inspection.findings import Finding
from pinwheel.packaging.repositories.addresses import address
from pinwheel.packaging.repositories.git import Mirror, TreeFile
from pinwheel.packaging.repositories.large_files import fill_in, pointer_in
from pinwheel.packaging.work import Elsewhere

Submodules = Callable[[str, str], Mirror | None]
"""The mirror of the repository at an address, with a commit in it; None when pinwheel.toml does not name it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in a folder that was laid out. `tree` are its files as git has them, those of submodules too;
    `submodules` and `pointers` are the paths that were not brought in because nothing declares them."""

    tree: tuple[TreeFile, ...]
    submodules: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def below(self, path: str) -> Contents:
        """The same, seen from the folder in which `path` lies."""
        return Contents(
            tuple(replace(file, path=f"{path}/{file.path}") for file in self.tree),
            tuple(f"{path}/{each}" for each in self.submodules),
            tuple(f"{path}/{each}" for each in self.pointers),
            tuple(replace(each, file=f"{path}/{each.file}") for each in self.findings),
        )

    def __add__(self, other: Contents) -> Contents:
        return Contents(
            self.tree + other.tree,
            self.submodules + other.submodules,
            self.pointers + other.pointers,
            self.findings + other.findings,
        )


def bring_in(
    mirror: Mirror, commit: str, into: Path, subdirectory: str, elsewhere: Elsewhere, submodules: Submodules
) -> Contents:
    """Complete the commit that was laid out in the folder `into`, as far as `elsewhere` declares it.

    Raises `NoContent`, `WrongContent` for large files, `RepositoryUnreachable` for submodules.
    """
    root = into / subdirectory
    tree = mirror.tree(commit, subdirectory)
    modules = tuple(file for file in tree if file.is_submodule)
    pointers = tuple(file.path for file in tree if file.is_plain and pointer_in(root / file.path))
    findings = _left_out(mirror, into, subdirectory, tree)
    if pointers and elsewhere.lfs:
        fill_in(mirror, commit, subdirectory, root, pointers)
        blobs = dict(zip(pointers, mirror.blobs([root / path for path in pointers]), strict=True))
        tree = tuple(replace(file, blob=blobs.get(file.path, file.blob)) for file in tree)
        pointers = ()
    if not elsewhere.submodules:
        return Contents(tree, tuple(file.path for file in modules), pointers, findings)
    found = Contents(tree, (), pointers, findings)
    addresses = mirror.submodules(commit) if modules else {}
    for module in modules:
        named = addresses.get(f"{subdirectory}/{module.path}".strip("/"))
        found += _module(module, root, named, elsewhere, submodules)
    return found


def _module(module: TreeFile, root: Path, named: str | None, elsewhere: Elsewhere, submodules: Submodules) -> Contents:
    """One submodule and those in it, laid out in their places below `root`."""
    if named is None:
        return _undeclared(module, "is a submodule that .gitmodules does not name", "name its path and url there")
    where = address(named, Path("/"))
    mirror = submodules(where, module.blob)
    if mirror is None:
        return _undeclared(
            module,
            f"is a submodule from {where}, which pinwheel.toml does not name",
            f'add a table [repositories."{where}"]; an empty one will do where git needs no key',
        )
    place = root / module.path
    if place.resolve() != root.resolve() / module.path:
        raise PinwheelError(
            "a submodule lies behind a symbolic link", where=module.path, remedy="remove the link from the repository"
        )
    mirror.export(module.blob, place)
    return bring_in(mirror, module.blob, place, "", elsewhere, submodules).below(module.path)


def _undeclared(module: TreeFile, problem: str, remedy: str) -> Contents:
    return Contents((), (), (), (Finding("error", "submodule", module.path, problem, remedy),))


def _left_out(mirror: Mirror, into: Path, subdirectory: str, tree: tuple[TreeFile, ...]) -> tuple[Finding, ...]:
    above = f"{subdirectory}/" if subdirectory else ""
    marked = mirror.left_out(into, [above + file.path for file in tree])
    return tuple(
        Finding(
            "error",
            "export-ignore",
            path.removeprefix(above).rstrip("/"),
            "is marked export-ignore: some backends leave it out of the sdist, and so of the wheel",
            "take the mark out of .gitattributes",
        )
        for path in marked
    )
