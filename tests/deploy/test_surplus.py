"""Which releases can go: never one that somebody may still need."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinwheel.deploy.planning.facts import HostFacts, Installed, Release
from pinwheel.deploy.planning.releases import NothingToGoBackTo, earlier
from pinwheel.deploy.planning.surplus import superseded, surplus
from pinwheel.deploy.planning.wish import Wish
from pinwheel.errors import UsageError


def release(version: int, verdict: str = "good") -> Release:
    return Release(f"1.{version}-aaaaaaaa", f"1.{version}", "0" * 64, verdict, f"2026-01-01T00:00:{version:02d}Z")


def host(name: str, current: int | None, *releases: Release) -> HostFacts:
    here = Installed(current if current is None else release(current).release, releases=releases)
    return HostFacts(name, "3.11", "x86_64", ("glibc", "2.36"), 10**9, True, applications={"shop": here})


def left(fleet: list[HostFacts], keep: int) -> dict[str, list[str]]:
    gone = surplus("shop", fleet, keep)
    return {
        each.host: [one.version for one in each.installed("shop").releases if one.release not in gone[each.host]]
        for each in fleet
    }


def test_the_newest_stay() -> None:
    assert left([host("h1", 5, *map(release, range(6)))], 3) == {"h1": ["1.3", "1.4", "1.5"]}


def test_what_runs_and_what_a_rollback_would_go_to_stay_however_old() -> None:
    fleet = [host("h1", 2, *map(release, range(8)))]
    assert left(fleet, 2) == {"h1": ["1.1", "1.2", "1.6", "1.7"]}


def test_what_runs_elsewhere_stays_everywhere() -> None:
    """A rollout that stopped half-way: the other half may still come back."""
    fleet = [host("h1", 5, *map(release, range(6))), host("h2", 1, *map(release, range(6)))]
    assert left(fleet, 1) == {"h1": ["1.1", "1.4", "1.5"], "h2": ["1.1", "1.4", "1.5"]}


def test_what_failed_counts_for_nothing_and_stays_only_while_it_is_newer() -> None:
    releases = (release(1), release(2, "bad"), release(3), release(4, "bad"))
    assert left([host("h1", 3, *releases)], 2) == {"h1": ["1.1", "1.3", "1.4"]}


def test_what_failed_as_a_canary_counts_for_nothing_on_the_hosts_that_only_prepared_it() -> None:
    """Else every release that fails pushes out a good one, everywhere but on the canary."""
    canary = host("h1", 4, release(1), release(2, "bad"), release(3, "bad"), release(4))
    other = host("h2", 4, release(1), release(2, "prepared"), release(3, "prepared"), release(4))
    assert left([canary, other], 2) == {"h1": ["1.1", "1.4"], "h2": ["1.1", "1.4"]}


def test_a_host_on_which_it_never_was_has_nothing_to_lose() -> None:
    assert left([host("h1", None)], 1) == {"h1": []}


def test_to_keep_none_is_wrong_usage() -> None:
    with pytest.raises(UsageError):
        surplus("shop", [], 0)


def test_what_ran_before_on_a_host_stays_there() -> None:
    came_from_newer = host("h1", 3, *map(release, range(6)))
    here = replace(came_from_newer.installed("shop"), previous=release(1).release)
    assert left([replace(came_from_newer, applications={"shop": here})], 1) == {"h1": ["1.1", "1.2", "1.3", "1.5"]}


def comes(version: int) -> Wish:
    return Wish("shop", "shop", f"1.{version}", release(version).release, None)


def left_for(version: int, fleet: list[HostFacts], keep: int) -> dict[str, list[str]]:
    gone = superseded(comes(version), fleet, keep)
    return {
        each.host: [one.version for one in each.installed("shop").releases if one.release not in gone[each.host]]
        for each in fleet
    }


def test_what_comes_counts_among_those_that_stay() -> None:
    assert left_for(6, [host("h1", 5, *map(release, range(6)))], 3) == {"h1": ["1.4", "1.5"]}


def test_until_it_runs_the_way_back_stays() -> None:
    assert left_for(6, [host("h1", 5, *map(release, range(6)))], 1) == {"h1": ["1.4", "1.5"]}
    assert left_for(0, [host("h1", 5, *map(release, range(6)))], 1) == {"h1": ["1.0", "1.4", "1.5"]}


def test_what_failed_lately_stays_until_something_newer_runs() -> None:
    """A resume goes by it."""
    releases = (release(1), release(2, "bad"), release(3), release(4, "bad"))
    assert left_for(5, [host("h1", 3, *releases)], 1) == {"h1": ["1.1", "1.3", "1.4"]}


@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7))), min_size=1, max_size=4
    ),
    st.integers(1, 5),
    st.integers(0, 8),
)
def test_nothing_that_somebody_may_need_goes(
    drawn: list[tuple[int, set[int], set[int]]], keep: int, coming: int
) -> None:
    fleet = []
    for number, (current, others, bad) in enumerate(drawn):
        versions = sorted({current, *others})
        releases = (release(each, "bad" if each in bad and each != current else "good") for each in versions)
        fleet.append(host(f"h{number}", current, *releases))
    gone, for_another = surplus("shop", fleet, keep), superseded(comes(coming), fleet, keep)
    for each in fleet:
        here = each.installed("shop")
        assert here.current not in {*gone[each.host], *for_another[each.host]}
        assert comes(coming).release not in for_another[each.host]
        good = [one.release for one in here.releases if one.verdict == "good"]
        assert len(set(good) - set(gone[each.host])) >= min(keep, len(good))
        assert len(set(good) - set(for_another[each.host])) >= min(keep - 1, len(good))
    with contextlib.suppress(NothingToGoBackTo):
        target = earlier("shop", fleet).release
        assert all(target not in names for names in (*gone.values(), *for_another.values()))
