"""Several projects with dependencies among them, against the real index, through the command that a user types."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.packaging.forge import Repository, git, tiny_files
from tests.packaging.running import PATIENCE_S, RunningIndex, eventually, running

from pinwheel.index.client import IndexClient

NEEDS = {
    "text": (),
    "money": (),
    "stock": ("money",),
    "cart": ("money", "text"),
    "shop": ("cart", "stock"),
    "admin": ("shop",),
    "docs": (),
}
"""Seven projects, and what each needs to run."""


@dataclass(frozen=True, slots=True)
class Family:
    """Projects of one company, whose names begin with `prefix`, in a folder with a pinwheel.toml."""

    index: RunningIndex
    home: Path
    prefix: str
    remotes: dict[str, Repository]

    def files(self, name: str, version: str = "1.0.0", backend: str = "") -> dict[str, str]:
        needs = tuple(f"{self.prefix}-{need}" for need in NEEDS[name])
        return tiny_files(f"{self.prefix}-{name}", version, needs=needs, backend=backend)

    def plan(self, *words: str) -> dict[str, dict[str, Any]]:
        """The rows of a plan by the project's short name, in order."""
        document = json.loads(self.index.run(self.home, "packaging.plan", "--json", *words).stdout)
        assert "failures" not in document or document["failures"] == []
        return {self.short(row["name"]): row for row in document["projects"]}

    def release(self, *words: str) -> list[str]:
        """Release all; the short names of those that the answer tells of."""
        document = self.index.document(self.home, "packaging.release", "--all", *words)
        return [self.short(each["name"]) for each in document["releases"]]

    def short(self, name: str) -> str:
        return name.removeprefix(f"{self.prefix}-")


@pytest.fixture
def family(
    request: pytest.FixtureRequest, index: RunningIndex, tmp_path: Path, make_repository: Callable[[str], Repository]
) -> Family:
    """All seven, or those that a test names by `only`."""
    home = tmp_path / "home"
    home.mkdir()
    remotes = {name: make_repository(name) for name in getattr(request, "param", NEEDS)}
    made = Family(index, home, f"acme-{tmp_path.name.replace('_', '-').lower()}", remotes)
    tables = (f'[projects.{made.prefix}-{name}]\nrepository = "{remote.address}"\n' for name, remote in remotes.items())
    (home / "pinwheel.toml").write_text("".join(tables))
    for name, remote in remotes.items():
        remote.commit(made.files(name), "v1.0.0")
    return made


def only(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("family", [names], indirect=True, ids=["few"])


@pytest.mark.slow
def test_of_seven_projects_only_the_one_that_changed_is_released(family: Family) -> None:
    assert {name: (row["why"], row["after"]) for name, row in family.plan().items()} == {
        name: ("first release", sorted(f"{family.prefix}-{need}" for need in NEEDS[name])) for name in NEEDS
    }
    done = family.release("--jobs", "3")
    assert sorted(done) == sorted(NEEDS)
    for name, needs in NEEDS.items():
        assert all(done.index(need) < done.index(name) for need in needs)
    assert family.release("--changed") == []

    family.remotes["money"].commit(family.files("money", "1.1.0"), "v1.1.0")
    family.remotes["text"].commit({"README": "new"})
    family.remotes["text"].commit({"README": "newer"})
    plan = family.plan()
    assert {name: row["action"] for name, row in plan.items() if row["action"] != "nothing"} == {"money": "release"}
    assert plan["money"]["why"] == "new version: the index has 1.0.0"
    assert plan["text"]["notes"] == ["2 commits since v1.0.0, untagged"]
    assert plan["shop"]["why"] == "already there from the same commit"
    assert family.release("--changed") == ["money"]
    assert {row["action"] for row in family.plan().values()} == {"nothing"}


@only("money", "docs")
@pytest.mark.slow
def test_what_was_built_with_a_newer_tool_is_told_and_its_next_version_comes_after_it(family: Family) -> None:
    """A build dependency of our own: its wheel is an input of the wheels that are built with it."""
    needs_tool = f'requires = ["{family.prefix}-money"]'

    def with_tool(version: str) -> dict[str, str]:
        files = family.files("docs", version)
        return files | {"pyproject.toml": files["pyproject.toml"].replace("requires = []", needs_tool)}

    docs, money = family.remotes["docs"], family.remotes["money"]
    docs.commit(with_tool("1.1.0"), "v1.1.0")
    assert family.plan()["docs"]["after"] == [f"{family.prefix}-money"]
    family.release()
    money.commit(family.files("money", "1.1.0"), "v1.1.0")
    assert family.release("--changed") == ["money"]
    row = family.plan()["docs"]
    assert row["action"] == "nothing"
    assert row["notes"] == [f"changed dependency: built with {family.prefix}-money 1.0.0, now there is 1.1.0"]
    docs.commit(with_tool("1.2.0"), "v1.2.0")
    assert family.release("--changed") == ["docs"]
    assert family.plan()["docs"]["notes"] == []


@pytest.mark.slow
def test_p8_what_is_missing_is_named_and_the_rest_is_released(family: Family) -> None:
    """A cycle, a dependency that is nowhere, a repository that is gone, and a project without a tag."""
    for name, need in (("text", "cart"), ("docs", "nowhere>=2")):
        files = tiny_files(f"{family.prefix}-{name}", "1.1.0", needs=(f"{family.prefix}-{need}",))
        family.remotes[name].commit(files, "v1.1.0")
    family.remotes["stock"].folder.rename(family.home / "gone")
    git(family.remotes["money"].folder, "tag", "--delete", "v1.0.0")
    done = family.index.run(family.home, "packaging.release", "--all", "--changed", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    failures = {family.short(each["name"]): each for each in document["failures"]}
    assert f"{family.prefix}-cart → {family.prefix}-text → {family.prefix}-cart" in failures["text"]["problem"]
    assert f"{family.prefix}-nowhere>=2" in failures["docs"]["problem"]
    assert failures["stock"]["where"] == family.remotes["stock"].address
    assert {name for name, each in failures.items() if not each["blocked"]} == {"stock"}
    assert failures.keys() == NEEDS.keys() - {"money"}, "without a tag there is nothing to release"
    assert "not tried" in done.stderr


@only("money", "text", "cart")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_builds_that_are_broken_off_leave_nothing_half_and_are_completed(family: Family, number: int) -> None:
    """Two that build at the same time; Ctrl-C ends both with all that they started."""
    pids = family.home / "pids"
    go_on = family.home / "go-on"
    waits = "import time\n"
    waits += f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\n"
    waits += f"while not os.path.exists({str(go_on)!r}):\n    time.sleep(0.05)\n"
    for name in ("money", "text"):
        family.remotes[name].commit(family.files(name, "2.0.0", waits), "v2.0.0")
    child = family.index.spawn(family.home, "packaging.release", "--all", "--jobs", "2")
    try:
        eventually(lambda: child.poll() is not None or (pids.is_file() and len(pids.read_text().split()) >= 2))
        assert child.poll() is None, child.communicate()
        os.kill(child.pid, number)
        child.communicate(timeout=PATIENCE_S)
        if number == signal.SIGINT:
            assert child.returncode == 130
            eventually(lambda: not any(running(pid) for pid in pids.read_text().split()))
    finally:
        go_on.touch()
        child.kill()
        child.communicate()
    assert sorted(family.release()) == ["cart", "money", "text"]
    client = IndexClient(family.index.url, family.index.token)
    for name in family.remotes:
        files = client.own_files(f"{family.prefix}-{name}")
        assert len(files) == 2
        for file in files:
            assert client.attachment(f"{family.prefix}-{name}", file.version, f"{file.filename}.statement.json")
