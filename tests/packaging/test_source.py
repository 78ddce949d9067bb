"""A commit is judged before any code of it runs: all that is wrong with it, at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, git, offered, project_files

from pinwheel.errors import PinwheelError
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.repositories import source
from pinwheel.packaging.repositories.git import Mirror
from pinwheel.packaging.repositories.source import NoProject, Source

MakeRepository = Callable[[str], Repository]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


class Bench:
    """A repository, its mirror, and room for what is laid out."""

    def __init__(self, remote: Repository, folder: Path) -> None:
        self.remote = remote
        self.mirror = Mirror(remote.address, folder / "cache")
        self._folder = folder
        self._count = 0

    def resolve(self, ref: str) -> Resolved:
        resolved = self.mirror.resolve(offered(self.mirror), ref)
        self.mirror.fetch(resolved)
        return resolved

    def lay_out(self, ref: str, subdirectory: str = "") -> Source:
        self._count += 1
        return source.lay_out(self.mirror, self.resolve(ref), subdirectory, self._folder / f"out{self._count}" / "tree")


@pytest.fixture
def bench(make_repository: MakeRepository, tmp_path: Path) -> Bench:
    for count in range(1, 4):
        (tmp_path / f"out{count}").mkdir()
    return Bench(make_repository("acme"), tmp_path)


def test_a_sound_commit_is_laid_out(bench: Bench) -> None:
    bench.remote.commit(project_files("acme-greet"), "v1.0.0")
    laid = bench.lay_out("v1.0.0")
    assert (laid.manifest.name, str(laid.version), laid.findings) == ("acme-greet", "1.0.0", ())
    assert (laid.root / "acme_greet/__init__.py").is_file()
    assert laid.commit.epoch == 1_767_323_045


def test_everything_wrong_with_a_commit_is_found_at_once(bench: Bench) -> None:
    bench.remote.commit(project_files("acme-greet", "1.2.1") | {"acme_greet/model.bin": POINTER, "more.bin": POINTER})
    git(bench.remote.folder, "update-index", "--add", "--cacheinfo", f"160000,{bench.remote.head},vendor/lib")
    git(bench.remote.folder, "commit", "--quiet", "-m", "a submodule")
    git(bench.remote.folder, "tag", "v1.2.0")
    found = {each.file: each.problem for each in bench.lay_out("v1.2.0").findings}
    assert found == {
        "vendor/lib": "is a submodule, whose files are not in this commit",
        "acme_greet/model.bin": "is a Git LFS pointer, not the file itself",
        "more.bin": "is a Git LFS pointer, not the file itself",
        "pyproject.toml": "states version 1.2.1, the tag v1.2.0 says 1.2.0",
    }


def test_a_project_in_a_folder_is_judged_by_its_own_files(bench: Bench) -> None:
    files = {f"python/{name}": text for name, text in project_files("acme-greet", "2.0").items()}
    bench.remote.commit(files | {"elsewhere.bin": POINTER}, "acme-greet-2.0")
    laid = bench.lay_out("acme-greet-2.0", "python")
    assert laid.findings == ()
    assert {file.path for file in laid.tree} == {"pyproject.toml", "acme_greet/__init__.py"}
    with pytest.raises(NoProject) as caught:
        bench.lay_out("acme-greet-2.0")
    assert caught.value.remedy == "name the project's folder: --subdirectory python"


def test_a_repository_without_pyproject_is_told_what_to_add(bench: Bench) -> None:
    bench.remote.commit({"setup.py": "x"}, "v1")
    with pytest.raises(NoProject) as caught:
        bench.lay_out("v1")
    assert 'requires = ["setuptools"]' in caught.value.remedy


DYNAMIC = '[build-system]\nrequires = ["hatch-vcs"]\n[project]\nname = "acme-greet"\ndynamic = ["version"]\n'


def test_a_dynamic_version_is_the_tags(bench: Bench) -> None:
    bench.remote.commit({"pyproject.toml": DYNAMIC}, "v1.4.0")
    laid = bench.lay_out("v1.4.0")
    assert str(laid.version) == "1.4.0"
    assert laid.variables["SETUPTOOLS_SCM_PRETEND_VERSION_FOR_ACME_GREET"] == "1.4.0"


def test_a_branch_after_a_tag_gets_a_development_version(bench: Bench) -> None:
    bench.remote.commit({"pyproject.toml": DYNAMIC}, "v1.4.0")
    bench.remote.commit({"a": "1"})
    laid = bench.lay_out("main")
    assert laid.version is None
    assert laid.variables["SETUPTOOLS_SCM_PRETEND_VERSION"] == "1.4.1.dev1"


def test_a_tag_that_names_no_version_cannot_give_one(bench: Bench) -> None:
    bench.remote.commit({"pyproject.toml": DYNAMIC}, "nightly")
    assert [each.file for each in bench.lay_out("nightly").findings] == ["pyproject.toml"]


def test_another_project_than_configured_is_refused(bench: Bench) -> None:
    bench.remote.commit(project_files("acme-greet"), "v1.0.0")
    found = source.read_manifest(bench.mirror, bench.resolve("v1.0.0"), "")
    source.check_name(found, "Acme_Greet", "there")
    with pytest.raises(PinwheelError) as caught:
        source.check_name(found, "acme-shop", "there")
    assert "[projects.acme-greet]" in caught.value.remedy
