"""Releases: from a repository to files in the index, once, and only what is fit. Builds are real."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, git, project_files, tiny_files

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexFile, IndexUnreachable, WrongCredential
from pinwheel.index.grants import Grant
from pinwheel.packaging import statement
from pinwheel.packaging.building.assemble import BuildFailed
from pinwheel.packaging.inspection.findings import Allowance, NotFit
from pinwheel.packaging.publishing.publish import Answer
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.releasing.survey import survey
from pinwheel.packaging.repositories.git import RepositoryUnreachable, TagMoved
from pinwheel.packaging.repositories.worktree import DirtyTree
from pinwheel.packaging.work import Conflict, Failure, Release, Wanted
from pinwheel.packaging.workspace import DiskFull

MakeRepository = Callable[[str], Repository]


def one(workshop: Workshop, repository: Repository, ref: str = "", **more: object) -> Release:
    """Release a single project, or raise what stopped it."""
    (outcome,) = release([Wanted(repository.address, ref, **more)], workshop.tools)  # type: ignore[arg-type]
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


@pytest.mark.parametrize("backend", ["hatchling", pytest.param("setuptools", marks=pytest.mark.slow)])
def test_a_tag_becomes_an_sdist_and_a_wheel(backend: str, workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("greet")
    commit = remote.commit(project_files("acme-greet", "1.2.0", backend=backend), "v1.2.0", annotated=True)
    made = one(workshop, remote, "v1.2.0", name="acme-greet", declared=True)
    assert made.document()["commit"] == commit
    assert [(file.filename, file.outcome) for file in made.files] == [
        ("acme_greet-1.2.0.tar.gz", "published"),
        ("acme_greet-1.2.0-py3-none-any.whl", "published"),
    ]
    assert made.findings == ()
    body = workshop.shelf.attachment("acme-greet", "1.2.0", "acme_greet-1.2.0-py3-none-any.whl.statement.json")
    assert body is not None
    about = statement.read(body).provenance
    assert (about.commit, about.tag) == (commit, "v1.2.0")
    assert about.tag_object != commit
    assert backend in {each.name for each in about.dependencies if each.sha256}
    ((kind, _subject, event),) = workshop.notebook.entries
    assert (kind, event["commit"]) == ("released", commit)
    wheel = workshop.shelf.blobs["acme-greet", "acme_greet-1.2.0-py3-none-any.whl"]
    assert "acme_greet/__init__.py" in zipfile.ZipFile(io.BytesIO(wheel)).namelist()
    assert not list((workshop.cache / "logs").iterdir())


def test_a_second_release_neither_fetches_nor_builds(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    first = one(workshop, remote, name="acme-tiny", declared=True)
    workshop.said.clear()
    again = one(workshop, remote, name="acme-tiny", declared=True)
    assert {file.outcome for file in again.files} == {"already there"}
    assert [file.sha256 for file in again.files] == [file.sha256 for file in first.files]
    assert workshop.said == []
    assert (len(workshop.shelf.uploads), len(workshop.notebook.entries)) == (2, 1)
    unnamed = one(workshop, remote)
    assert [file.outcome for file in unnamed.files] == ["already there", "already there"]
    assert not [said for said in workshop.said if "building" in said]


def test_another_machine_with_no_cache_does_nothing_either(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    one(workshop, remote)
    elsewhere = Workshop(tmp_path / "elsewhere", workshop.registry, workshop.uv_cache, workshop.shelf)
    one(elsewhere, remote, name="acme-tiny")
    assert not list((elsewhere.cache / "git").glob("*.git"))


def test_without_a_ref_the_newest_version_is_released(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", "1.9.0"), "v1.9.0")
    remote.commit(tiny_files("acme-tiny", "1.10.0"), "v1.10.0")
    remote.commit(tiny_files("acme-tiny", "1.11.0"))
    assert one(workshop, remote).version == "1.10.0"


@pytest.mark.slow
def test_a_project_in_a_folder_is_found_by_its_own_tags(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("mono")
    for name, version in (("acme-one", "1.0"), ("acme-two", "3.0")):
        files = {f"{name}/{path}": text for path, text in tiny_files(name, version).items()}
        remote.commit(files, f"{name}-{version}")
    assert one(workshop, remote, subdirectory="acme-one").version == "1.0"
    assert one(workshop, remote, name="acme-two", subdirectory="acme-two").tag == "acme-two-3.0"


def test_a_full_commit_is_released_and_a_branch_is_not(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    commit = remote.commit(tiny_files("acme-tiny"))
    with pytest.raises(UsageError, match="never published"):
        one(workshop, remote, "main")
    with pytest.raises(UsageError, match="no tag names a version"):
        one(workshop, remote)
    assert one(workshop, remote, commit).tag == ""
    assert {file.outcome for file in one(workshop, remote, commit).files} == {"already there"}


def test_p1_a_moved_tag_is_an_error_with_and_without_a_cache(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    before = remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    one(workshop, remote)
    after = remote.commit(tiny_files("acme-tiny") | {"acme_tiny/__init__.py": "moved"})
    git(remote.folder, "tag", "--force", "v1.0.0")
    with pytest.raises(TagMoved) as caught:
        one(workshop, remote)
    assert before in caught.value.problem
    assert after in caught.value.problem
    elsewhere = Workshop(tmp_path / "elsewhere", workshop.registry, workshop.uv_cache, workshop.shelf)
    with pytest.raises(Conflict) as conflict:
        one(elsewhere, remote)
    assert before in conflict.value.where
    assert after in conflict.value.where


def test_p2_what_is_not_fit_is_not_published(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", "1.2.1"), "v1.2.0")
    with pytest.raises(NotFit, match="1 finding"):
        one(workshop, remote)
    remote.write({"acme_tiny/.env": "TOKEN=x"})
    with pytest.raises(DirtyTree) as caught:
        one(workshop, remote)
    assert ".env" in caught.value.where
    git(remote.folder, "clean", "--quiet", "--force", "-d")
    more = "open('acme_tiny/.env', 'w').write('TOKEN=x')\nMORE = ('acme_tiny/.env',)\n"
    remote.commit(tiny_files("acme-tiny", "1.3.0", backend=more), "v1.3.0")
    with pytest.raises(NotFit) as unfit:
        one(workshop, remote, name="acme-tiny", declared=True)
    assert [each.problem for each in unfit.value.findings] == [
        "is not in the commit",
        "has a name that files of secrets have",
    ]
    assert not workshop.shelf.uploads


def test_a_finding_that_is_allowed_is_published_and_told_with_its_reason(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("tiny")
    more = "open('acme_tiny/.env', 'w').write('A=b')\nMORE = ('acme_tiny/.env',)\n"
    remote.commit(tiny_files("acme-tiny", backend=more), "v1.0.0")
    allowed = [
        Allowance("secret-file", "settings of the tests", "*.env"),
        Allowance("not-in-commit", "made by the build"),
        Allowance("readme", "to be written"),
    ]
    with pytest.raises(NotFit, match="1 finding"):
        one(workshop, remote, name="acme-tiny", declared=True, allowed=tuple(allowed[:1]))
    made = one(workshop, remote, name="acme-tiny", declared=True, allowed=tuple(allowed))
    assert [(each.rule, each.severity, each.allowed) for each in made.findings] == [
        ("not-in-commit", "error", "made by the build"),
        ("secret-file", "error", "settings of the tests"),
        ("unused-allowance", "warning", ""),
    ]
    body = workshop.shelf.attachment("acme-tiny", "1.0.0", "acme_tiny-1.0.0.tar.gz.statement.json")
    assert body is not None
    assert statement.read(body).provenance.allowed == (
        Allowance("not-in-commit", "made by the build", "acme_tiny/.env"),
        Allowance("secret-file", "settings of the tests", "acme_tiny/.env"),
    )


def test_p3_a_version_with_other_bytes_stops_the_release(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    first = remote.commit(tiny_files("acme-tiny"))
    one(workshop, remote, first)
    second = remote.commit({"acme_tiny/__init__.py": "changed"})
    with pytest.raises(Conflict) as caught:
        one(workshop, remote, second)
    assert first in caught.value.where
    assert second in caught.value.where
    assert len(workshop.shelf.uploads) == 2


@pytest.mark.slow
def test_p4_a_release_cut_off_at_every_step_is_completed_in_the_end(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    """Before and after each upload, before each statement; every attempt gets one step further than the one before."""
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    passed: set[str] = set()

    class Killed(BaseException):
        pass

    class Fragile(type(workshop.shelf)):  # type: ignore[misc]
        def _step(self, name: str) -> None:
            if name not in passed:
                passed.add(name)
                raise Killed

        def upload(self, path: Path) -> Answer:
            self._step(f"before {path.name}")
            answer: Answer = super().upload(path)
            self._step(f"after {path.name}")
            return answer

        def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str:
            self._step(name)
            return str(super().put_attachment(project, version, name, body))

    workshop.shelf = Fragile()
    for _ in range(6):
        with pytest.raises(Killed):
            one(workshop, remote)
    made = one(workshop, remote)
    assert len(made.files) == len(workshop.shelf.blobs) == len(workshop.shelf.papers) == 2


def test_p6_the_backend_sees_no_secret_and_no_other_index(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    out = tmp_path / "seen"
    spy = f"import json\nopen({str(out)!r}, 'a').write(json.dumps(dict(os.environ)) + chr(10))\n"
    remote.commit(tiny_files("acme-tiny", backend=spy), "v1.0.0")
    workshop.environ |= {"PINWHEEL_TOKEN": "hunter2", "PIP_FIND_LINKS": "/decoy", "AWS_SECRET": "hunter2"}
    workshop.token = "hunter2"
    one(workshop, remote)
    seen = out.read_text()
    assert "hunter2" not in seen
    assert "decoy" not in seen
    assert "SOURCE_DATE_EPOCH" in seen
    assert str(Path.home()) + '"' not in seen


def test_a_backend_that_fails_shows_its_last_words_and_the_whole_log(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("tiny")
    noise = "def build_sdist(folder, config_settings=None):\n    print('\\n'.join(map(str, range(500))))\n    1 / 0\n"
    remote.commit(tiny_files("acme-tiny", backend=noise), "v1.0.0")
    with pytest.raises(BuildFailed) as caught:
        one(workshop, remote)
    assert "ZeroDivisionError" in caught.value.problem
    assert len(caught.value.problem.splitlines()) < 40
    assert "\n42\n" in Path(caught.value.where).read_text()


def test_the_frames_that_call_the_backend_are_not_shown(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    fails = "def build_sdist(folder, config_settings=None):\n    print('look at this')\n    1 / 0\n"
    remote.commit(tiny_files("acme-tiny", backend=fails), "v1.0.0")
    with pytest.raises(BuildFailed) as caught:
        one(workshop, remote)
    first, *shown = caught.value.problem.splitlines()
    assert first.startswith("the build failed")
    assert shown[0] == "look at this"
    assert shown[-1] == "ZeroDivisionError: division by zero"
    assert not any("pyproject_hooks" in line for line in shown)


@pytest.mark.filterwarnings("error")
def test_what_a_backend_warns_of_is_not_said_across_the_progress_display(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("tiny")
    warns = """
import warnings
def get_requires_for_build_sdist(config_settings=None):
    warnings.warn("this is old")
    return []
"""
    remote.commit(tiny_files("acme-tiny", backend=warns), "v1.0.0")
    one(workshop, remote)


def test_a_backend_outside_the_project_is_one_clear_error(workshop: Workshop, make_repository: MakeRepository) -> None:
    remote = make_repository("tiny")
    files = tiny_files("acme-tiny")
    files["pyproject.toml"] = files["pyproject.toml"].replace('["."]', '["../.."]')
    remote.commit(files, "v1.0.0")
    with pytest.raises(BuildFailed, match="backend-path"):
        one(workshop, remote)


def test_a_build_requirement_that_is_nowhere_is_said_to_be_so(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("greet")
    files = project_files("acme-greet")
    files["pyproject.toml"] = files["pyproject.toml"].replace('"hatchling"', '"hatchling", "acme-no-such-thing==9"')
    remote.commit(files, "v1.0.0")
    with pytest.raises(BuildFailed, match="acme-no-such-thing") as caught:
        one(workshop, remote)
    assert "private index" in caught.value.remedy


def test_p8_a_failure_stops_only_what_needs_it(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    wanted = [Wanted(str(tmp_path / "gone"), name="acme-gone", declared=True)]
    for name, needs, version in (
        ("acme-shop", ("acme-greet",), "1.0.0"),
        ("acme-greet", (), "1.0.0"),
        ("acme-lost", ("acme-gone",), "1.0.0"),
        ("acme-a", ("acme-b",), "1.0.0"),
        ("acme-b", ("acme-a",), "1.0.0"),
        ("acme-bad", (), "1.0.1"),
        ("acme-needs-bad", ("acme-bad>=1",), "1.0.0"),
    ):
        remote = make_repository(name)
        remote.commit(tiny_files(name, version, needs=needs), "v1.0.0")
        wanted.append(Wanted(remote.address, name=name, declared=True))
    outcomes = release(wanted, workshop.tools)
    assert [each.name for each in outcomes if isinstance(each, Release)] == ["acme-greet", "acme-shop"]
    failures = {each.name: each.error for each in outcomes if isinstance(each, Failure)}
    assert isinstance(failures["acme-gone"], RepositoryUnreachable)
    assert failures["acme-a"].problem == "not released: it is part of a cycle: acme-a → acme-b → acme-a"
    assert "acme-gone" in failures["acme-lost"].problem
    assert isinstance(failures["acme-bad"], NotFit)
    assert "acme-bad" in failures["acme-needs-bad"].problem
    assert len(outcomes) == len(wanted)


@pytest.mark.slow
def test_an_index_that_stops_answering_does_not_hide_what_was_released_before(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    wanted = []
    for name in ("acme-first", "acme-second", "acme-third"):
        remote = make_repository(name)
        remote.commit(tiny_files(name), "v1.0.0")
        wanted.append(Wanted(remote.address, name=name, declared=True))

    class Failing(type(workshop.shelf)):  # type: ignore[misc]
        def upload(self, path: Path) -> Answer:
            if "second" in path.name:
                raise IndexUnreachable("the index does not answer")
            answer: Answer = super().upload(path)
            return answer

    workshop.shelf = Failing()
    first, second, third = release(wanted, workshop.tools)
    assert isinstance(first, Release)
    assert isinstance(second, Failure)
    assert isinstance(second.error, IndexUnreachable)
    assert isinstance(third, Failure)
    assert "stopped answering" in third.error.problem
    assert not [said for said in workshop.said if said.startswith("acme-third: building")]


def test_a_token_that_may_not_upload_is_found_out_before_anything_is_built(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    workshop.shelf.who = replace(workshop.shelf.who, scopes=("read",))
    assert survey([Wanted(remote.address)], workshop.tools).todo, "a plan needs no right to upload"
    with pytest.raises(WrongCredential, match="may not upload"):
        one(workshop, remote)
    assert not [said for said in workshop.said if "building" in said]


def test_a_project_that_the_token_is_not_for_leaves_the_others_alone(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    wanted = []
    for name, needs in (("other-shop", ("other-greet",)), ("other-greet", ()), ("acme-greet", ())):
        remote = make_repository(name)
        remote.commit(tiny_files(name, needs=needs), "v1.0.0")
        wanted.append(Wanted(remote.address, name=name, declared=True))
    workshop.shelf.who = replace(workshop.shelf.who, grants=(Grant("upload", ("acme-*",)),))
    outcomes = {each.name: each for each in release(wanted, workshop.tools)}
    assert isinstance(outcomes["acme-greet"], Release)
    refused, unmet = outcomes["other-greet"], outcomes["other-shop"]
    assert isinstance(refused, Failure)
    assert isinstance(refused.error, WrongCredential)
    assert isinstance(unmet, Failure)
    assert "it needs other-greet" in unmet.error.problem
    assert not [said for said in workshop.said if said.startswith("other-greet: building")]


def test_a_plan_says_what_a_release_would_do_and_does_nothing(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    wanted = []
    for name, needs in (("acme-shop", ("acme-greet",)), ("acme-greet", ()), ("acme-done", ())):
        remote = make_repository(name)
        remote.commit(tiny_files(name, needs=needs), "v1.0.0")
        wanted.append(Wanted(remote.address, name=name, declared=True))
    release(wanted[2:], workshop.tools)
    planned = survey(wanted, workshop.tools)
    assert planned.failed == ()
    assert [(each.name, each.action) for each in planned.rows()] == [
        ("acme-done", "nothing"),
        ("acme-greet", "release"),
        ("acme-shop", "release"),
    ]
    assert len(workshop.shelf.uploads) == 2


def test_commits_that_no_tag_releases_yet_are_counted_where_they_concern_the_project(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("mono")
    files = {f"one/{path}": text for path, text in tiny_files("acme-one").items()}
    remote.commit(files, "acme-one-1.0.0")
    remote.commit({"one/README": "new"})
    remote.commit({"two/README": "new"})
    wanted = Wanted(remote.address, subdirectory="one", name="acme-one", declared=True)
    (job,) = survey([wanted], workshop.tools, count=True).todo
    assert job.notes == ("1 commit since acme-one-1.0.0, untagged",)
    (asked_for,) = survey([replace(wanted, ref="acme-one-1.0.0")], workshop.tools, count=True).todo
    assert asked_for.notes == ()


def test_a_project_without_a_version_tag_is_passed_over_when_only_changes_are_wanted(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("young")
    remote.commit(tiny_files("acme-young"))
    wanted = [Wanted(remote.address, name="acme-young", declared=True)]
    assert [each.name for each in survey(wanted, workshop.tools).failed] == ["acme-young"]
    planned = survey(wanted, workshop.tools, changed=True)
    assert [each.name for each in planned.untagged] == ["acme-young"]
    assert not planned.failed
    assert release(wanted, workshop.tools, changed=True) == []


def test_what_it_needs_is_looked_for_in_the_index_and_no_upstream_hears_a_name_of_ours(
    workshop: Workshop, make_repository: MakeRepository
) -> None:
    remote = make_repository("shop")
    remote.commit(tiny_files("acme-shop", needs=("flask", "ours-greet>=2")), "v1.0.0")
    wanted = [Wanted(remote.address, name="acme-shop", declared=True)]
    asked: list[str] = []

    class Listening(type(workshop.shelf)):  # type: ignore[misc]
        def files(self, project: str) -> tuple[IndexFile, ...]:
            asked.append(project)
            found: tuple[IndexFile, ...] = super().files(project)
            return found

    workshop.shelf = Listening()
    (failure,) = survey(wanted, replace(workshop.tools, ours=frozenset({"ours-greet"}))).failed
    assert "it needs ours-greet>=2, and the index has none that fits" in failure.error.problem
    assert asked == ["flask"]


@pytest.mark.slow
def test_what_a_repository_says_of_indexes_has_no_say(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    """P5: the project's own configuration of uv, and files that installers look for."""
    remote = make_repository("greet")
    decoy = '\n[[tool.uv.index]]\nurl = "http://127.0.0.1:9/simple/"\ndefault = true\n'
    files = project_files("acme-greet", extra=decoy)
    files |= {"uv.toml": '[[index]]\nurl = "http://127.0.0.1:9/simple/"\ndefault = true\n'}
    remote.commit(files, "v1.0.0")
    workshop.environ |= {"UV_INDEX_URL": "http://127.0.0.1:9/", "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    made = one(workshop, remote)
    sdist = workshop.shelf.blobs["acme-greet", made.files[0].filename]
    with tarfile.open(fileobj=io.BytesIO(sdist)) as archive:
        assert "acme_greet-1.0.0/uv.toml" in archive.getnames()


@pytest.mark.root
@pytest.mark.parametrize("size", ["40k", "200k", "900k"])
def test_a_full_disk_is_said_to_be_full_and_leaves_nothing(
    size: str,
    workshop: Workshop,
    make_repository: MakeRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote = make_repository("full")
    remote.commit(project_files("acme-full") | {"acme_full/big.txt": "x" * 150_000}, "v1.0.0")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)), check=True)
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        workshop.environ |= {"TMPDIR": str(disk)}
        with pytest.raises(PinwheelError, match="the disk is full"):
            one(workshop, remote)
        assert not list(disk.iterdir())
    finally:
        subprocess.run(("umount", str(disk)), check=True)
    assert not workshop.shelf.uploads


@pytest.mark.root
@pytest.mark.parametrize("size", ["8k", "64k", "200k"])
def test_a_full_cache_is_said_to_be_full(
    size: str, workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("full")
    files = {f"acme_full/{n}.txt": os.urandom(30_000).hex() for n in range(20)}
    remote.commit(tiny_files("acme-full") | files, "v1.0.0")
    disk = workshop.cache
    disk.mkdir(parents=True, exist_ok=True)
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)), check=True)
    try:
        with pytest.raises(DiskFull) as caught:
            one(workshop, remote)
        assert not list(disk.rglob("tmp_*"))
    finally:
        subprocess.run(("umount", str(disk)), check=True)
    assert "packaging.cache" in caught.value.remedy
    assert caught.value.where.startswith(str(disk))
