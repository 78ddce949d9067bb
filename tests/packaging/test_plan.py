"""The planner: what the index has is left alone, and what needs something that failed is not tried."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pinwheel.errors import PinwheelError
from pinwheel.packaging import manifest
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.releasing.plan import judge, outdated, plan, wanting
from pinwheel.packaging.statement import Dependency, Provenance
from pinwheel.packaging.work import Conflict, Failure, Job, Listed, NoVersionTag, Release, Wanted

COMMIT, OTHER = "a" * 40, "b" * 40
WHEEL, SDIST = "acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"
PROVENANCE = Provenance(repository="/srv/acme.git", ref="v1.0", commit=COMMIT, tag="v1.0")

names = st.sampled_from("abcdefg")
graphs = st.dictionaries(names, st.frozensets(st.sampled_from("abcdefgz"), max_size=3), max_size=7)


def job(name: str, needs: Set[str] = frozenset(), tag: str = "v1.0") -> Job:
    dependencies = ", ".join(f'"{need}"' for need in sorted(needs))
    text = (
        f'[build-system]\nrequires = []\n[project]\nname = "{name}"\nversion = "1.0"\ndependencies = [{dependencies}]'
    )
    resolved = Resolved("tag", f"refs/tags/{tag}", COMMIT, tag) if tag else Resolved("commit", COMMIT, COMMIT)
    return Job(Wanted(f"/srv/{name}.git"), resolved, manifest.parse(text, "here"))


def listed(commit: str, tag: str = "v1.0") -> Listed:
    return Listed("0" * 64, Provenance(repository="/srv/acme.git", ref=tag or commit, commit=commit, tag=tag))


@given(graphs, st.frozensets(st.sampled_from("xz")))
def test_every_job_is_in_one_pile_and_none_is_tried_before_or_without_what_it_needs(
    needs: dict[str, frozenset[str]], failed: frozenset[str]
) -> None:
    settled = [Failure(name, PinwheelError("broken")) for name in failed]
    planned = plan([job(name, wanted) for name, wanted in needs.items()], settled)
    todo = [each.name for each in planned.todo]
    fallen = {each.name for each in planned.failed}
    assert sorted([*todo, *fallen]) == sorted([*needs, *failed])
    for at, name in enumerate(todo):
        assert needs[name] & needs.keys() - {name} <= {*todo[:at]}
        assert not needs[name] & fallen
    reordered = plan([job(name, wanted) for name, wanted in reversed(needs.items())], settled)
    assert [each.name for each in reordered.todo] == todo


def test_a_project_that_needs_a_failed_one_says_which() -> None:
    planned = plan([job("shop", frozenset({"greet"}))], [Failure("greet", PinwheelError("broken"))])
    assert [each.error.problem for each in planned.failed][1] == "not released: it needs greet, which was not released"


def judged(files: dict[str, Listed], known: tuple[str, ...] = (), *, changed: bool = False, **about: object) -> str:
    """Why there is something to do; empty when everything is there."""
    wanted = Wanted("/srv/acme.git", **about)  # type: ignore[arg-type]
    outcome = judge(replace(job("acme"), wanted=wanted), files, [Version(each) for each in known], changed=changed)
    assert isinstance(outcome, (Job, Release))
    return outcome.why if isinstance(outcome, Job) else ""


def test_both_kinds_of_file_from_the_very_commit_are_a_release() -> None:
    done = judge(job("acme"), {WHEEL: listed(COMMIT), SDIST: listed(COMMIT)})
    assert isinstance(done, Release)
    assert [(file.filename, file.outcome) for file in done.files] == [
        (SDIST, "already there"),
        (WHEEL, "already there"),
    ]


def test_every_job_says_why_it_is_one() -> None:
    unstated = Listed("0" * 64, None)
    assert judged({}) == "first release"
    assert judged({}, ("0.9", "0.10")) == "new version: the index has 0.10"
    assert judged({WHEEL: listed(COMMIT)}) == "the index lacks its sdist"
    assert judged({SDIST: listed(COMMIT)}) == "the index lacks its wheel"
    assert judged({SDIST: listed(COMMIT), WHEEL: unstated}).startswith("the index has it without a statement")
    other = {WHEEL: listed(OTHER, ""), SDIST: listed(COMMIT)}
    assert judged(other).startswith(f"changed commit: the index has it from {OTHER[:12]}")


def test_a_new_python_asks_for_its_wheel_unless_one_serves_them_all() -> None:
    def for_tag(tag: str) -> dict[str, Listed]:
        return {SDIST: listed(COMMIT), f"acme-1.0-{tag}.whl": listed(COMMIT)}

    pythons = ("3.11", "3.12")
    native = for_tag("cp311-cp311-manylinux_2_28_x86_64")
    assert judged(native, pythons=pythons[:1]) == ""
    assert judged(native, pythons=pythons) == "new Python: the index lacks its wheel for 3.12"
    assert judged(native | for_tag("cp312-cp312-manylinux_2_28_x86_64"), pythons=pythons) == ""
    assert judged(for_tag("cp311-abi3-manylinux_2_28_x86_64"), pythons=pythons) == ""
    assert judged(for_tag("py3-none-any"), pythons=pythons) == ""


def test_of_what_changed_a_version_that_somebody_else_published_is_no_part() -> None:
    unstated = Listed("0" * 64, None)
    for files in ({WHEEL: unstated}, {WHEEL: unstated, SDIST: unstated}):
        assert judged(files)
        assert judged(files, changed=True) == ""
    # what a release that was killed leaves, which begins with the sdist and states it before the wheel
    for files in ({SDIST: unstated}, {SDIST: listed(COMMIT)}, {SDIST: listed(COMMIT), WHEEL: unstated}):
        assert judged(files, changed=True)


def test_what_was_built_with_something_older_than_there_is_now_is_told() -> None:
    about = replace(
        PROVENANCE, dependencies=(Dependency("acme-build", "1.0"), Dependency("hatchling", "1.27")), normaliser="1"
    )
    newer = {"acme-build": Version("1.1"), "acme-other": Version("9")}
    assert outdated(about, newer) == ("changed dependency: built with acme-build 1.0, now there is 1.1",)
    assert outdated(about, {"acme-build": Version("1.0")}, "1") == ()
    assert outdated(about, {}, "2") == ("built with normaliser 1, now there is 2",)
    assert outdated(None, newer, "2") == ()


def test_what_nothing_supplies_is_found() -> None:
    text = '["greet>=2", "shop<3", "other; python_version<\'3\'", "Acme[all]"]'
    manifested = manifest.parse(f'[project]\nname = "acme"\ndependencies = {text}', "here")
    mine = replace(job("acme"), manifest=manifested)
    assert [each.name for each in wanting(mine, {})] == ["greet", "shop"]
    assert [each.name for each in wanting(mine, {"greet": Version("1.9"), "shop": Version("2.9")})] == ["greet"]
    assert wanting(mine, {"greet": None, "shop": Version("2.9")}) == ()


def test_a_plan_is_told_in_order_with_what_each_comes_after() -> None:
    about = replace(PROVENANCE, dependencies=(Dependency("greet", "0.9"),))
    done = Release("tool", "1.0", COMMIT, "v1.0", (), provenance=about, notes=("2 commits since v1.0, untagged",))
    jobs = [replace(job(name, needs), why="first release") for name, needs in (("shop", {"greet"}), ("greet", set()))]
    untagged = Failure("young", NoVersionTag("no tag names a version"))
    rows = plan(jobs, [done], [untagged]).rows()
    assert [(row.name, row.action, row.told) for row in rows] == [
        ("young", "nothing", "no tag names a version"),
        (
            "tool",
            "nothing",
            "already there from the same commit; 2 commits since v1.0, untagged;"
            " changed dependency: built with greet 0.9, now there is 1.0",
        ),
        ("greet", "release", "first release"),
        ("shop", "release", "first release; after greet"),
    ]


def test_a_tag_that_names_another_commit_now_is_a_conflict() -> None:
    moved = judge(job("acme"), {WHEEL: listed(OTHER), SDIST: listed(OTHER)})
    assert isinstance(moved, Failure)
    assert isinstance(moved.error, Conflict)
    assert COMMIT in moved.error.where
    assert OTHER in moved.error.where
