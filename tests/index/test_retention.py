"""The planner of `index.prune`: whatever the rules, what somebody needs stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pinwheel.index.upkeep.retention import (
    DAY_S,
    Dated,
    Deployment,
    Locked,
    Rules,
    deployments,
    pins,
    planned,
    reasons,
)

NOW = 1_000 * DAY_S
VERSIONS = [f"{major}.{minor}{kind}" for major in range(4) for minor in range(3) for kind in ("", "rc1", ".dev1")]
CHANNELS = st.frozensets(st.sampled_from(["stage", "prod"]), max_size=2)


def dated(version: str, age_days: float = 0, *channels: str, project: str = "acme") -> Dated:
    hashes = frozenset({f"{project}-{version}"})
    return Dated(project, version, NOW - age_days * DAY_S, hashes, frozenset(channels))


@st.composite
def stores(draw: st.DrawFn) -> list[Dated]:
    found = []
    for project in draw(st.lists(st.sampled_from(["acme", "other"]), unique=True)):
        for version in draw(st.lists(st.sampled_from(VERSIONS), unique=True)):
            age = draw(st.integers(0, 900))
            found.append(dated(version, age, *draw(CHANNELS), project=project))
    return found


RULES = st.builds(Rules, st.integers(0, 5), st.integers(0, 400), st.integers(0, 400))


def removed(releases: Sequence[Dated], rules: Rules) -> list[str]:
    return [each.version for each in planned(releases, rules, {}, NOW).remove]


@given(stores(), RULES, st.data())
def test_what_is_promoted_or_needed_never_goes(releases: list[Dated], rules: Rules, data: st.DataObject) -> None:
    needed = {each.key: "needed" for each in releases if data.draw(st.booleans())}
    plan = planned(releases, rules, needed, NOW)
    assert not [each for each in plan.remove if each.channels or each.key in needed]
    assert all(each.channels or each.key in needed for each, _ in plan.spared)


@given(stores(), RULES)
def test_the_newest_version_of_a_project_never_goes(releases: list[Dated], rules: Rules) -> None:
    gone = set(planned(releases, rules, {}, NOW).remove)
    for project in {each.project for each in releases}:
        newest = max((each for each in releases if each.project == project), key=lambda each: Version(each.version))
        assert newest not in gone


@given(stores(), RULES)
def test_the_newest_releases_and_the_young_ones_stay(releases: list[Dated], rules: Rules) -> None:
    gone = set(planned(releases, rules, {}, NOW).remove)
    for project in {each.project for each in releases}:
        ours = [each for each in releases if each.project == project]
        ranked = [each for each in ours if not (rules.development_days and Version(each.version).is_devrelease)]
        ranked.sort(key=lambda each: Version(each.version), reverse=True)
        assert not gone & set(ranked[: rules.releases])
        assert not [each for each in gone & set(ranked) if (NOW - each.uploaded_at) / DAY_S <= rules.days]
        for each in gone & set(ours) - set(ranked):
            assert (NOW - each.uploaded_at) / DAY_S > rules.development_days


@given(stores(), RULES, st.randoms(use_true_random=False))
def test_the_plan_depends_on_nothing_but_its_input(releases: list[Dated], rules: Rules, chance: Any) -> None:
    shuffled = list(releases)
    chance.shuffle(shuffled)
    assert planned(shuffled, rules, {}, NOW) == planned(releases, rules, {}, NOW)


@given(stores(), RULES)
def test_after_a_pruning_there_is_nothing_more_to_prune(releases: list[Dated], rules: Rules) -> None:
    gone = set(planned(releases, rules, {}, NOW).remove)
    assert planned([each for each in releases if each not in gone], rules, {}, NOW).remove == ()


@given(stores())
def test_without_a_limit_nothing_goes(releases: list[Dated]) -> None:
    assert not Rules(days=30).limits
    assert planned(releases, Rules(days=30), {}, NOW).remove == ()


def test_versions_are_compared_as_versions() -> None:
    every = [dated(version, 10) for version in ("1.9", "1.10", "1.2", "2.0rc1")]
    assert removed(every, Rules(releases=2)) == ["1.2", "1.9"]


def test_development_versions_have_days_of_their_own() -> None:
    every = [dated("1.0", 400), dated("1.1.dev1", 20), dated("1.1.dev2", 10), dated("1.1", 5)]
    assert removed(every, Rules(development_days=14)) == ["1.1.dev1"]
    assert removed(every, Rules(releases=1, days=30, development_days=14)) == ["1.0", "1.1.dev1"]
    assert removed(every, Rules(releases=2)) == ["1.0", "1.1.dev1"]


def test_what_is_spared_has_its_reason() -> None:
    every = [dated("1.0", 10, "prod"), dated("1.1", 10), dated("1.2", 10), dated("2.0")]
    plan = planned(every, Rules(releases=1), {("acme", "1.1"): "deployed to prod"}, NOW)
    assert [each.version for each in plan.remove] == ["1.2"]
    assert [(each.version, why) for each, why in plan.spared] == [
        ("1.0", "promoted to prod"),
        ("1.1", "deployed to prod"),
    ]


# what is deployed


def event(kind: str, version: str, host: str = "", environment: str = "prod", release: str = "") -> dict[str, Any]:
    about = {"subject": "acme", "environment": environment, "host": host, "detail": {"release": release}}
    return {"kind": kind, "version": version} | about


def running(*events: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each.environment, each.version) for each in deployments(events)}


def test_the_running_release_and_the_one_before_count_on_each_host() -> None:
    steps = [event("activated", version, "a") for version in ("1.0", "1.1", "1.2")]
    assert running(*steps, event("activated", "1.0", "b")) == {("prod", "1.1"), ("prod", "1.2"), ("prod", "1.0")}


def test_the_same_release_again_does_not_push_out_the_one_before() -> None:
    assert running(*(event("activated", version, "a") for version in ("1.0", "1.1", "1.1", "1.1"))) == {
        ("prod", "1.0"),
        ("prod", "1.1"),
    }


def test_after_a_rollback_what_it_came_from_still_counts() -> None:
    assert running(*(event("activated", version, "a") for version in ("1.0", "1.1", "1.0"))) == {
        ("prod", "1.0"),
        ("prod", "1.1"),
    }


def test_a_rollout_under_way_counts_before_any_host_runs_it() -> None:
    begun = [event("activated", "1.0", "a"), event("rollout-started", "2.0")]
    assert running(*begun) == {("prod", "1.0"), ("prod", "2.0")}
    assert running(*begun, event("rollout-started", "2.1", environment="stage")) >= {("prod", "2.0"), ("stage", "2.1")}


def test_what_a_lock_of_a_deployed_release_pins_stays() -> None:
    lock = Locked("acme", "1", "f" * 64, frozenset({"library-3.0"}))
    other = Locked("acme", "1", "e" * 64, frozenset({"library-4.0"}))
    every = [dated("1.0"), dated("3.0", project="library"), dated("4.0", project="library")]
    found = reasons(every, [Deployment("acme", "prod", "1.0", "1.0-ffffffff")], [lock, other])
    assert found == {
        ("acme", "1"): "deployed to prod",
        ("library", "3"): "pinned by the lock of acme 1, which is deployed to prod",
    }


def test_an_application_of_another_name_is_found_by_its_lock() -> None:
    lock = Locked("acme-shop", "1", "f" * 64, frozenset({"acme-shop-1.0"}))
    found = reasons([dated("1.0", project="acme-shop")], [Deployment("web", "prod", "1.0", "1.0-ffffffff")], [lock])
    assert found["acme-shop", "1"] == "deployed to prod"


def test_what_a_lock_of_a_promoted_release_pins_stays() -> None:
    lock = Locked("acme", "1", "f" * 64, frozenset({"library-3.0"}))
    found = reasons([dated("1.0", 0, "prod"), dated("3.0", project="library")], [], [lock])
    assert found == {("library", "3"): "pinned by the lock of acme 1, which is promoted to prod"}


def test_every_hash_of_a_lock_is_a_pin() -> None:
    document = f'hashes = {{sha256 = "{"a" * 64}"}}\n--hash=sha256:{"b" * 64}\nsha512 = "{"c" * 128}"'
    assert pins(document.encode()) == {"a" * 64, "b" * 64}
