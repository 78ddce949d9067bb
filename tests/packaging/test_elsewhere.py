"""Submodules and large files are brought in where a project declares them, from repositories that are declared too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, git, offered, project_files

from pinwheel import process
from pinwheel.errors import UsageError
from pinwheel.packaging.repositories import source
from pinwheel.packaging.repositories.access import Keyring
from pinwheel.packaging.repositories.addresses import beside
from pinwheel.packaging.repositories.git import Mirror
from pinwheel.packaging.repositories.large_files import NoContent, WrongContent
from pinwheel.packaging.repositories.source import Source
from pinwheel.packaging.work import Elsewhere

MakeRepository = Callable[[str], Repository]
EVERYTHING = Elsewhere(submodules=True, lfs=True)
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 5\n"


def add_submodule(remote: Repository, path: str, url: str, commit: str) -> None:
    """Commit what `git submodule add` would."""
    modules = remote.folder / ".gitmodules"
    with modules.open("a") as out:
        out.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(remote.folder, "add", ".gitmodules")
    git(remote.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(remote.folder, "commit", "--quiet", "-m", "a submodule")


def laid_out(
    workshop: Workshop, remote: Repository, elsewhere: Elsewhere, *known: Repository, subdirectory: str = ""
) -> Source:
    """The newest commit, where the repositories `known` are named in pinwheel.toml."""
    workshop.keyring = Keyring(projects=frozenset(each.address for each in known))
    mirror = Mirror(remote.address, workshop.cache / "git", workshop.environ)
    resolved = mirror.resolve(offered(mirror), "main")
    mirror.fetch(resolved)
    into = workshop.folder / "laid" / resolved.commit
    into.parent.mkdir(exist_ok=True)
    shutil.rmtree(into, ignore_errors=True)
    return source.lay_out(mirror, resolved, subdirectory, into, elsewhere, workshop.tools.submodule)


def test_submodules_are_laid_out_with_those_in_them(workshop: Workshop, make_repository: MakeRepository) -> None:
    innermost, inner, outer = (make_repository(name) for name in ("innermost", "inner", "outer"))
    deep = innermost.commit({"deep.txt": "deep"})
    inner.commit({"in.txt": "in"})
    add_submodule(inner, "further", "../innermost", deep)
    pinned = inner.head
    inner.commit({"in.txt": "later"})
    outer.commit({f"python/{name}": text for name, text in project_files("acme-outer").items()})
    add_submodule(outer, "python/lib/inner", "../inner", pinned)
    add_submodule(outer, "docs/theme", "https://elsewhere.invalid/theme.git", "1" * 40)
    laid = laid_out(workshop, outer, EVERYTHING, inner, innermost, subdirectory="python")
    assert laid.findings == ()
    assert (laid.root / "lib/inner/in.txt").read_text() == "in"
    assert (laid.root / "lib/inner/further/deep.txt").read_text() == "deep"
    assert {"lib/inner/in.txt", "lib/inner/further/deep.txt"} < {file.path for file in laid.tree}
    assert git(laid.root, "status", "--porcelain") == ""


def test_a_submodule_is_brought_in_only_from_a_repository_that_is_named(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    inner, outer = make_repository("inner"), make_repository("outer")
    commit = inner.commit({"in.txt": "in"})
    outer.commit(project_files("acme-outer"))
    add_submodule(outer, "inner", "../inner", commit)
    git(outer.folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},lost")
    git(outer.folder, "commit", "--quiet", "-m", "one that .gitmodules does not name")
    found = {each.file: each for each in laid_out(workshop, outer, EVERYTHING).findings}
    assert found["inner"].remedy.startswith(f'add a table [repositories."{inner.address}"]')
    assert ".gitmodules does not name" in found["lost"].problem
    undeclared = laid_out(workshop, outer, Elsewhere(), inner).findings
    assert {each.file for each in undeclared} == {"inner", "lost"}
    assert "submodules = true" in undeclared[0].remedy


def test_a_credential_in_gitmodules_is_refused_and_not_shown(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    outer = make_repository("outer")
    outer.commit(project_files("acme-outer"))
    add_submodule(outer, "inner", "https://hunter2@git.acme.example/inner.git", "1" * 40)
    with pytest.raises(UsageError) as caught:
        laid_out(workshop, outer, EVERYTHING)
    assert "hunter2" not in f"{caught.value.problem}{caught.value.where}{caught.value.remedy}"


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://git.acme.example/team/a.git", "https://git.acme.example/team/lib.git"),
        ("ssh://git@git.acme.example:22/team/a.git", "ssh://git@git.acme.example:22/team/lib.git"),
        ("git@git.acme.example:team/a.git", "git@git.acme.example:team/lib.git"),
        ("/srv/git/a", "/srv/git/lib.git"),
    ],
)
def test_a_relative_address_is_beside_the_repository(base: str, address: str) -> None:
    assert beside(base, "../lib.git") == address
    assert beside(base, "https://x.example/lib.git") == "https://x.example/lib.git"


def test_a_relative_address_cannot_change_the_host() -> None:
    assert (
        beside("https://git.acme.example/a.git", "../../../x.example/a.git")
        == "https://git.acme.example/x.example/a.git"
    )
    with pytest.raises(UsageError, match="leads out of the host"):
        beside("git@git.acme.example:a.git", "../../x.git")


def test_without_git_lfs_a_project_that_needs_it_is_told_so(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    workshop.environ["PATH"] = str(tmp_path / "bin")
    remote = make_repository("large")
    remote.commit(project_files("acme-large") | {"acme_large/model.bin": POINTER})
    with pytest.raises(process.ProgramMissing, match="git-lfs is not installed") as caught:
        laid_out(workshop, remote, EVERYTHING)
    assert "apt-get install git-lfs" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
def test_large_files_of_a_repository_on_this_machine_are_filled_in(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("large")
    git(remote.folder, "lfs", "install", "--local")
    remote.commit(project_files("acme-large") | {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    for name in ("acme_large/model.bin", "other/large.bin"):
        remote.commit({name: f"content of {name}"})
    assert git(remote.folder, "show", "HEAD:acme_large/model.bin").startswith("version https://git-lfs")
    laid = laid_out(workshop, remote, EVERYTHING)
    assert laid.findings == ()
    assert (laid.root / "acme_large/model.bin").read_text() == "content of acme_large/model.bin"
    (entry,) = (file for file in laid.tree if file.path == "acme_large/model.bin")
    assert entry.blob == git(laid.root, "hash-object", "--no-filters", "acme_large/model.bin")
    # the cache is no place to trust: somebody may have written to it
    for content in (workshop.cache / "git").rglob("lfs/objects/*/*/*"):
        size = content.stat().st_size
        content.unlink()  # git-lfs has linked it to the one in the repository
        content.write_bytes(b"x" * size)
    with pytest.raises(WrongContent, match="not what the commit points to"):
        laid_out(workshop, remote, EVERYTHING)
    assert laid_out(workshop, remote, EVERYTHING).findings == ()
    assert os.access(laid.root / "other/large.bin", os.W_OK)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
def test_a_large_file_that_was_never_pushed_is_one_clear_error(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("large")
    remote.commit(project_files("acme-large") | {"acme_large/model.bin": POINTER})
    with pytest.raises(NoContent, match="4d4d4d") as caught:
        laid_out(workshop, remote, EVERYTHING)
    assert "git lfs push" in caught.value.remedy


def test_files_that_an_export_would_leave_out_are_an_error(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("attributes")
    attributes = "tests export-ignore\n*.md export-ignore\nkept.md -export-ignore\n/docs/ export-ignore\n"
    files = {".gitattributes": attributes, "tests/deep/a.py": "", "README.md": "", "kept.md": "", "docs/b.rst": ""}
    remote.commit(project_files("acme-attributes") | files | {"sub/c.md": "", "sub/pyproject.toml": ""})
    found = laid_out(workshop, remote, Elsewhere()).findings
    assert {each.file for each in found} == {"tests", "docs", "README.md", "sub/c.md"}
    assert {each.file for each in laid_out(workshop, remote, Elsewhere(), subdirectory="sub").findings} >= {"c.md"}
