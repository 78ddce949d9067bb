"""Resuming: hosts come to what should run by now, who is right is left alone, what failed is not tried again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.deploy.simulated import Balancer
from tests.deploy.test_operate import CONFIG, World

from pinwheel.deploy.planning.resumption import Intent, NotAgain, NothingToResume, drained, intent
from pinwheel.deploy.rolling import hooks, operate
from pinwheel.deploy.rolling.resume import Resumed, Withheld, resumed, to_resume
from pinwheel.deploy.rolling.session import Session
from pinwheel.errors import PinwheelError

BUDGET = CONFIG.replace(
    "become = []",
    """become = []
rollout.failure_budget = 1
rollout.max_unavailable = 2
hooks.drain = ["true", "{host}"]
hooks.undrain = ["true", "{host}"]
""",
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    made = World(tmp_path, BUDGET)
    operate.rolled_out(made.session(), "shop==1.0.0")
    return made


def resume(world: World, *, force: bool = False) -> Resumed:
    (done,) = resumed(world.session(), "shop", force=force)
    assert isinstance(done, Resumed)
    return done


def resume_would(world: World) -> str:
    """The release that a resume would bring."""
    (found,) = to_resume(world.session(), "shop", force=False)
    assert isinstance(found, Resumed)
    return found.intent.release


def releases(world: World) -> list[str | None]:
    return [host.current for host in world.hosts.hosts.values()]


def endings(done: Resumed) -> list[str]:
    assert done.report
    return [str(each.ending) for each in done.report.outcomes]


def test_a_host_that_was_away_comes_to_the_wish_and_nobody_else_is_restarted(world: World) -> None:
    """Promise D3."""
    world.hosts["h3"].unreachable = True
    operate.rolled_out(world.session(), "shop==1.1.0")
    assert releases(world) == [world.two, world.two, world.one]
    world.hosts["h3"].unreachable = False
    pids = [world.hosts[name].pid for name in ("h1", "h2")]
    done = resume(world)
    assert endings(done) == ["unchanged", "unchanged", "activated"]
    assert done.intent.outcome == "failed"
    assert [world.hosts[name].pid for name in ("h1", "h2")] == pids


def test_a_rollout_that_found_nothing_to_do_is_the_newest_wish(world: World) -> None:
    world.hosts["h1"].unreachable = world.hosts["h2"].unreachable = True
    assert operate.rolled_out(world.session(), "shop==1.1.0")[1].exit_code == 1
    world.hosts["h1"].unreachable = world.hosts["h2"].unreachable = False
    assert resume_would(world) == world.two
    operate.rolled_out(world.session(), "shop==1.0.0")
    done = resume(world)
    assert done.intent.told.endswith("which ended as done")
    assert releases(world) == [world.one] * 3
    begun = world.kinds().count("rollout-started")
    resume(world)
    assert world.kinds().count("rollout-started") == begun, "to resume is no wish of its own"


def test_what_a_killed_controller_left_is_finished(world: World) -> None:
    """Promise D4."""

    def die(action: str, host: str) -> None:
        if (action, host) == ("activate", "h2"):
            raise KeyboardInterrupt

    world.hosts.before = die
    with pytest.raises(KeyboardInterrupt):
        operate.rolled_out(world.session(), "shop==1.1.0")
    assert releases(world) == [world.two, world.one, world.one]
    world.hosts.before = lambda action, host: None
    done = resume(world)
    assert done.intent.told.endswith("which never said how it ended")
    assert releases(world) == [world.two] * 3


def test_a_release_that_failed_on_the_canary_is_over_and_the_one_before_is_the_wish(world: World) -> None:
    world.hosts["h1"].sick.add(world.two)
    world.hosts["h3"].down = True
    operate.rolled_out(world.session(), "shop==1.1.0")
    done = resume(world)
    assert done.intent.release == world.one
    assert endings(done) == ["unchanged", "unchanged", "activated"]
    assert not world.hosts["h3"].down
    assert world.two not in world.hosts["h3"].activations


def test_a_release_that_failed_and_runs_somewhere_is_a_decision(world: World) -> None:
    for name in ("h2", "h3"):
        world.hosts[name].sick.add(world.two)
    operate.rolled_out(world.session(), "shop==1.1.0")
    world.hosts.asked.clear()
    with pytest.raises(NotAgain, match="1 host runs it") as caught:
        resume(world)
    assert "deploy.rollback shop" in caught.value.remedy
    assert {action for action, _ in world.hosts.asked} == {"facts"}
    for name in ("h2", "h3"):
        world.hosts[name].sick.clear()
    assert endings(resume(world, force=True)) == ["unchanged", "activated", "activated"]


def test_an_application_that_cannot_be_resumed_keeps_no_other_from_it(world: World) -> None:
    for name in ("h2", "h3"):
        world.hosts[name].sick.add(world.two)
    operate.rolled_out(world.session(), "shop==1.1.0")
    (done,) = resumed(world.session(), "", force=False)
    assert isinstance(done, Withheld)
    assert (done.application, type(done.why)) == ("shop", NotAgain)


def test_another_conf_that_failed_is_no_verdict_on_the_release_that_runs(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    before = [each.activations[:] for each in world.hosts.hosts.values()]
    world.hosts["h1"].conf = "changed by hand"
    world.hosts["h1"].sick.add(world.one)
    assert operate.rolled_out(world.session(), "shop==1.0.0")[1].exit_code == 1
    world.hosts["h1"].sick.clear()
    world.hosts["h1"].releases[world.one]["verdict"] = "good"  # a real host blames the conf
    done = resume(world)
    assert done.intent.release == world.one
    assert [each.activations for each in world.hosts.hosts.values()][1:] == before[1:]


def test_within_the_budget_a_host_that_failed_its_gate_is_left_alone(world: World) -> None:
    world.hosts["h2"].sick.add(world.two)
    operate.rolled_out(world.session(), "shop==1.1.0")
    assert releases(world) == [world.two, world.one, world.two]
    world.hosts["h3"].down = True
    done = resume(world)
    assert endings(done) == ["unchanged", "failed", "activated"]
    assert done.report
    assert done.report.outcomes[1].reason == f"{world.two} failed its gate here before"


def test_an_interruption_is_no_verdict_on_the_release(world: World) -> None:
    def interrupt(action: str, host: str) -> None:
        if (action, host) == ("activate", "h2"):
            session.stop.set(2)

    session = world.session()
    world.hosts.before = interrupt
    operate.rolled_out(session, "shop==1.1.0")
    world.hosts.before = lambda action, host: None
    assert resume(world).intent.release == world.two
    assert releases(world) == [world.two] * 3


def test_a_rollback_is_resumed_as_a_rollback(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.1.0")
    world.hosts["h3"].unreachable = True
    operate.rolled_back(world.session(), "shop", "")
    world.hosts["h3"].unreachable = False
    world.index.minted.clear()
    done = resume(world)
    assert done.intent.back
    assert releases(world) == [world.one] * 3
    assert world.index.minted == [], "they have kept it"


def test_a_new_pinwheel_toml_restarts_nobody_who_is_right(world: World, tmp_path: Path) -> None:
    changed = World(tmp_path, BUDGET.replace('"--port"', '"--listen"'))
    changed.hosts, changed.index = world.hosts, world.index
    assert endings(resume(changed)) == ["unchanged"] * 3


def test_a_lock_that_was_made_anew_is_not_rolled_out_by_the_way(world: World) -> None:
    world.index.attach("1.0.0", "pylock.toml", world.index.attachment("shop", "1.0.0", "pylock.toml") + b"\n")  # type: ignore[operator]
    with pytest.raises(PinwheelError, match="its lock was made anew") as caught:
        resume(world)
    assert "deploy.rollout shop==1.0.0" in caught.value.remedy


def test_without_a_ledger_the_hosts_say_what_was_activated_last(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.1.0")
    world.hosts["h3"].down = True
    world.index.recorded.clear()
    done = resume(world)
    assert (done.intent.release, done.intent.rollout) == (world.two, "")
    assert endings(done) == ["unchanged", "unchanged", "activated"]


def test_where_nothing_ever_ran_there_is_nothing_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    bare = World(tmp_path, BUDGET)
    assert resumed(bare.session(), "", force=False) == []
    with pytest.raises(NothingToResume):
        resumed(bare.session(), "shop", force=False)


@pytest.fixture
def balancer(monkeypatch: pytest.MonkeyPatch) -> Balancer:
    """What the commands of the environment speak with."""
    made = Balancer()
    monkeypatch.setattr(hooks.Commands, "drain", lambda self, host: made.drain(host))
    monkeypatch.setattr(hooks.Commands, "undrain", lambda self, host: made.undrain(host))
    return made


def test_whoever_was_left_drained_is_put_back_once_he_is_healthy(world: World, balancer: Balancer) -> None:
    """Promise D3: undrain done."""

    def lose(action: str, host: str) -> None:
        if (action, host) == ("activate", "h2"):
            world.hosts["h2"].lost_in, world.hosts["h2"].unreachable = "activate", True

    world.hosts.before = lose
    operate.rolled_out(world.session(), "shop==1.1.0")
    assert balancer.drained == {"h2"}
    done = resume(world)
    assert done.report
    assert (endings(done)[1], done.report.outcomes[1].drained) == ("unreachable", "nobody knows whether it is healthy")
    assert balancer.drained == {"h2"}, "nobody knows yet"
    world.hosts.before = lambda action, host: None
    world.hosts["h2"].lost_in, world.hosts["h2"].unreachable = "", False
    resume(world)
    assert balancer.drained == set()
    assert releases(world) == [world.two] * 3


def test_a_host_that_became_right_by_itself_is_only_put_back(world: World, balancer: Balancer) -> None:
    """It finished what it did when nobody listened any more."""
    operate.rolled_out(world.session(), "shop==1.1.0")
    world.session().ledger.append("drained", "shop", environment="live", host="h2")
    balancer.drained.add("h2")
    world.hosts.asked.clear()
    done = resume(world)
    assert endings(done) == ["unchanged"] * 3
    assert balancer.drained == set()
    assert world.hosts.did("activate") == []


KINDS = ("drained", "undrained", "activated", "rollout-started")


@given(story=some.lists(some.tuples(some.sampled_from(KINDS), some.sampled_from(["h1", "h2"]))))
def test_who_is_drained_is_whose_last_word_that_was(story: list[tuple[str, str]]) -> None:
    events = [{"kind": kind, "host": host, "subject": "shop"} for kind, host in story]
    held: set[str] = set()
    for kind, host in story:
        if kind == "drained":
            held.add(host)
        elif kind == "undrained":
            held.discard(host)
    assert drained("shop", events) == held
    assert drained("other", events) == set()


def test_the_wish_is_that_of_the_newest_rollout() -> None:
    def started(rollout: str, release: str) -> dict[str, Any]:
        return {
            "kind": "rollout-started",
            "subject": "shop",
            "version": release.partition("-")[0],
            "rollout": rollout,
            "outcome": "ok",
            "detail": {"release": release},
        }

    events = [started("r1", "1.0.0-a"), started("r2", "1.1.0-b")]
    assert intent("shop", events, (), force=False) == Intent("shop", "1.1.0", "1.1.0-b", False, "r2")


Act = Callable[[Session], object]


@settings(max_examples=5, deadline=None)
@given(
    faults=some.lists(some.sampled_from(["", "away", "lost", "down", "no space"]), min_size=3, max_size=3),
    hand=some.sampled_from(["", "h1", "h2", "h3"]),
)
def test_whatever_happened_a_resume_converges_once_the_faults_are_gone(
    tmp_path_factory: pytest.TempPathFactory, faults: list[str], hand: str
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PINWHEEL_TOKEN", "ours")
        world = World(tmp_path_factory.mktemp("world"), BUDGET)
        operate.rolled_out(world.session(), "shop==1.0.0")
        for host, fault in zip(world.hosts.hosts.values(), faults, strict=True):
            host.unreachable, host.down = fault == "away", fault == "down"
            host.lost_in, host.prepare_fails = "activate" if fault == "lost" else "", fault == "no space"
        operate.rolled_out(world.session(), "shop==1.1.0")
        for host in world.hosts.hosts.values():
            host.unreachable, host.lost_in, host.prepare_fails = False, "", False
            host.conf = "edited by hand" if host.name == hand else host.conf
        done = resume(world)
        assert done.report
        assert done.report.exit_code == 0
        assert releases(world) == [world.two] * 3
        again = resume(world)
        assert endings(again) == ["unchanged"] * 3


def test_a_rollout_of_some_hosts_is_no_wish_for_the_others_and_a_resume_leaves_those_hosts_alone(
    world: World,
) -> None:
    world.hosts["h2"].down = True
    operate.rolled_out(world.session(["h1"]), "shop==1.1.0")
    done = resume(world)
    assert done.intent.release == world.one
    assert [each.host for each in done.plan.hosts] == ["h2", "h3"]
    assert releases(world) == [world.two, world.one, world.one]
    operate.rolled_out(world.session(), "shop==1.1.0")
    assert [each.host for each in resume(world).plan.hosts] == ["h1", "h2", "h3"], "the last one was of all hosts"
