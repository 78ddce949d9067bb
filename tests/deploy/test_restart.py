"""The plan of a restart: each host that runs the application, with the release that it has."""

from __future__ import annotations

import pytest

from pinwheel.config import Rollout
from pinwheel.deploy.planning.facts import HostFacts, Installed, Release
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.restart import NothingRuns, restart

OLD, NEW = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


def host(name: str, release: str = "", *, drift: bool = False) -> HostFacts:
    about = (Release(release, release.partition("-")[0], "0" * 64, "good"),)
    applications = {"shop": Installed(release, drift=drift, releases=about)} if release else {}
    return HostFacts(name, "3.11", "x86_64", ("glibc", "2.36"), 10**9, True, applications=applications)


def test_each_host_keeps_the_release_that_it_has_and_a_host_without_one_is_left_out() -> None:
    known = {"h1": host("h1", OLD), "h2": host("h2", NEW), "h3": host("h3")}
    made = restart("shop", "acme-shop", known, Rollout())
    assert [(each.host, each.current, each.wanted) for each in made.hosts] == [("h1", OLD, OLD), ("h2", NEW, NEW)]
    assert [each.activate and each.activate.restart for each in made.hosts] == ["", ""]
    assert not any(each.builds for each in made.hosts)
    assert (made.wish.version, made.wish.release) == ("", "")
    assert made.waves == (("h1",), ("h2",))


def test_one_program_is_started_again_by_its_name_on_the_host() -> None:
    made = restart("shop", "acme-shop", {"h1": host("h1", OLD)}, Rollout(), "web")
    (only,) = made.hosts
    assert only.activate is not None
    assert only.activate.restart == "shop-web"
    assert (made.wish.version, made.wish.release) == ("1.0.0", OLD)


def test_a_host_that_is_away_is_named_and_drift_is_said() -> None:
    away = Outcome("h2", Ending.UNREACHABLE, "nobody listens")
    made = restart("shop", "shop", {"h1": host("h1", OLD, drift=True), "h2": away}, Rollout())
    assert made.blocked == (away,)
    assert "conf was changed" in made.hosts[0].why


def test_without_a_host_that_runs_it_there_is_nothing_to_start() -> None:
    with pytest.raises(NothingRuns):
        restart("shop", "shop", {"h1": host("h1")}, Rollout())
