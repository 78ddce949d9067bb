"""Built twice in different surroundings: the same bytes, or a report of what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, tiny_files
from tests.packaging.running import RunningIndex

from pinwheel.packaging.building.commit import build
from pinwheel.packaging.building.comparison import Difference
from pinwheel.packaging.building.reproduction import reproduce
from pinwheel.packaging.releasing.survey import resolve
from pinwheel.packaging.work import Wanted
from pinwheel.packaging.workspace import below, shuffle

MakeRepository = Callable[[str], Repository]

TELLING = """
import time
def _surroundings():
    mask = os.umask(0o022)
    age = int(os.stat("acme_tiny/__init__.py").st_mtime)
    return f"path {os.getcwd()}\\nzone {time.timezone}\\nmask {mask:o}\\nage {age}\\nname {NAME}\\n"
_plain_wheel = _wheel
def _wheel(name, version, package):
    yield f"{package}/surroundings.txt", _surroundings()
    yield from _plain_wheel(name, version, package)
"""
"""A backend that writes into the wheel what it sees around it."""


def reproduced(workshop: Workshop, remote: Repository, folder: Path) -> tuple[Difference, ...]:
    (job,), _failures = resolve([Wanted(remote.address, name="acme-tiny")], workshop.tools)
    first = build(job, workshop.tools, below(folder, "first"))
    return reproduce(job, workshop.tools, first, below(folder, "second"))


def test_a_backend_that_looks_at_the_commit_alone_is_reproducible(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    assert reproduced(workshop, remote, tmp_path) == ()


def test_path_umask_time_zone_and_ages_are_others_in_the_second_build(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", backend=TELLING), "v1.0.0")
    (difference,) = reproduced(workshop, remote, tmp_path)
    assert (difference.member, difference.aspect) == ("acme_tiny/surroundings.txt", "content")
    changed = {line.split()[0] for line in difference.detail.splitlines() if line.startswith(("-", "+"))}
    assert changed == {"---", "+++", "-path", "+path", "-zone", "+zone", "-mask", "+mask", "-age", "+age"}


def test_shuffled_files_have_other_modes_and_times_and_git_is_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "run", ".git/index"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("gone")
    before = (tmp_path / ".git/index").stat()
    shuffle(tmp_path, 0o077, 1_700_000_000)
    about = {name: (tmp_path / name).stat() for name in ("a", "b", "run")}
    assert {name: f"{each.st_mode & 0o777:o}" for name, each in about.items()} == {"a": "600", "b": "600", "run": "700"}
    assert len({each.st_mtime for each in about.values()}) == 3
    assert all(each.st_mtime < 1_700_000_000 for each in about.values())
    assert (tmp_path / ".git/index").stat() == before


@pytest.mark.slow
def test_the_command_says_reproducible_or_shows_what_is_not(
    index: RunningIndex, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote, home = make_repository("tiny"), tmp_path / "home"
    remote.commit(tiny_files("acme-tiny"), "v1.0.0")
    again = ("packaging.build", "--repo", remote.address, "--verify")
    good = index.run(home, *again)
    assert good.returncode == 0, good.stderr
    assert "acme-tiny 1.0.0: reproducible" in good.stderr
    document = index.document(home, *again)
    assert (document["reproducible"], document["differences"]) == (True, [])
    assert len([file for file in document["files"] if (home / file["file"]).is_file()]) == 2

    remote.commit(tiny_files("acme-tiny", "1.1.0", backend=TELLING), "v1.1.0")
    bad = index.run(home, *again)
    assert bad.returncode == 1
    assert "acme_tiny/surroundings.txt: content:" in bad.stderr
    assert "+mask 77" in bad.stderr
    told = index.run(home, *again, "--json")
    assert told.returncode == 1
    document = json.loads(told.stdout)
    assert [each["member"] for each in document["differences"]] == ["acme_tiny/surroundings.txt"]
