"""The planner: what the index has is left alone, and what needs something that failed is not tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinwheel.errors import PinwheelError
from pinwheel.packaging import manifest
from pinwheel.packaging.plan import judge, plan
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.work import Conflict, Failure, Job, Listed, Release, Wanted

COMMIT, OTHER = "a" * 40, "b" * 40
WHEEL, SDIST = "acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"

names = st.sampled_from("abcdefg")
graphs = st.dictionaries(names, st.frozensets(st.sampled_from("abcdefgz"), max_size=3), max_size=7)


def job(name: str, needs: frozenset[str] = frozenset(), tag: str = "v1.0") -> Job:
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


def test_both_kinds_of_file_from_the_very_commit_are_a_release() -> None:
    for files in ({}, {WHEEL: listed(COMMIT)}, {SDIST: listed(COMMIT)}):
        assert judge(job("acme"), files) is None
    done = judge(job("acme"), {WHEEL: listed(COMMIT), SDIST: listed(COMMIT)})
    assert isinstance(done, Release)
    assert [(file.filename, file.outcome) for file in done.files] == [
        (SDIST, "already there"),
        (WHEEL, "already there"),
    ]


def test_files_of_another_or_an_unknown_commit_are_compared_after_the_build() -> None:
    assert judge(job("acme", tag=""), {WHEEL: listed(OTHER, ""), SDIST: listed(OTHER, "")}) is None
    assert judge(job("acme"), {WHEEL: Listed("0" * 64, None), SDIST: listed(COMMIT)}) is None


def test_a_tag_that_names_another_commit_now_is_a_conflict() -> None:
    moved = judge(job("acme"), {WHEEL: listed(OTHER), SDIST: listed(OTHER)})
    assert isinstance(moved, Failure)
    assert isinstance(moved.error, Conflict)
    assert COMMIT in moved.error.where
    assert OTHER in moved.error.where
