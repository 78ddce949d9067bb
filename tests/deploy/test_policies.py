"""What a rollout does to a fleet's service, on simulated hosts: who is out, who goes back, who stays drained."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.deploy.simulated import Balancer
from tests.deploy.test_execute import ONE, TWO, Fleet, endings, fleet

from pinwheel.deploy.planning.outcome import Ending
from pinwheel.deploy.planning.report import Conclusion
from pinwheel.deploy.planning.waves import most_unavailable


class Meter:
    """Watches a fleet from the side: every host that is taken out of service must have been allowed to."""

    def __init__(self, world: Fleet) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._out = {name for name, host in world.hosts.hosts.items() if host.unreachable or host.down}
        self.broken: list[str] = []
        ask = world.hosts.ask

        def measured(host: str, request: object, *more: object, **named: object) -> object:
            if request["action"] != "activate":  # type: ignore[index]
                return ask(host, request, *more, **named)  # type: ignore[arg-type]
            with self._lock:
                if host not in self._out:
                    self._out.add(host)
                    if len(self._out) > most_unavailable(len(world.hosts.hosts), world.policy):
                        self.broken.append(f"{host} was taken out beside {sorted(self._out)}")
            answer = ask(host, request, *more, **named)  # type: ignore[arg-type]
            with self._lock:
                if not self._world.hosts[host].down:
                    self._out.discard(host)
            return answer

        world.hosts.ask = measured  # type: ignore[method-assign, assignment]


FAULTS = ("", "", "", "", "away", "down", "lost", "sick", "doomed", "no space", "no drain", "no undrain")


@some.composite
def troubled(draw: some.DrawFn) -> Fleet:
    """A fleet that runs 1.0.0, with a load balancer, and with faults of every kind; its operator may press Ctrl-C, and
    its lease may be lost."""
    world = fleet(
        draw(some.integers(1, 8)),
        canary=draw(some.integers(0, 2)),
        batch=draw(some.sampled_from(["1", "25%", "100%"])),
        max_unavailable=draw(some.sampled_from([1, 2, 3, "30%", "100%"])),
        failure_budget=draw(some.integers(0, 4)),
        policy=draw(some.sampled_from(["halt", "revert-batch", "revert-all"])),
    )
    world.balancer = Balancer()
    ends = draw(some.sampled_from(["", "", "", "operator", "lease"]))
    after = draw(some.integers(0, 8))
    begun: list[str] = []

    def before(action: str, host: str) -> None:
        if action == "activate":
            begun.append(host)
        if len(begun) >= after and ends == "operator" and action == "activate":
            world.stop.set(2)
        elif len(begun) >= after and ends == "lease":
            world.lease.held = False

    world.hosts.before = before
    for name, host in world.hosts.hosts.items():
        match draw(some.sampled_from(FAULTS)):
            case "away":
                host.unreachable = True
            case "down":
                host.down = True
            case "lost":
                host.lost_in = "activate"
            case "sick":
                host.sick = {TWO}
            case "doomed":
                host.sick = {ONE, TWO}
            case "no space":
                host.prepare_fails = True
            case "no drain":
                world.balancer.fails.add(("drain", name))
            case "no undrain":
                world.balancer.fails.add(("undrain", name))
    return world


@settings(max_examples=80, deadline=None)
@given(world=troubled())
def test_never_more_are_out_of_service_than_may_be_whatever_happens(world: Fleet) -> None:
    meter = Meter(world)
    world.roll_out(TWO)
    assert meter.broken == []


@settings(max_examples=80, deadline=None)
@given(world=troubled())
def test_at_the_end_exactly_those_are_drained_that_it_names_and_none_of_them_is_healthy(world: Fleet) -> None:
    assert world.balancer
    report = world.roll_out(TWO)
    assert {each.host for each in report.outcomes if each.drained} == world.balancer.drained | {
        name for what, name in world.balancer.fails if what == "undrain" and ("undrain", name) in world.balancer.asked
    }
    for name in world.balancer.drained:
        host = world.hosts[name]
        assert host.down or host.lost_in or ("undrain", name) in world.balancer.fails
    drains = [each for each in world.diary.kinds() if each[0] in ("drained", "undrained")]
    held = {name for what, name in drains if what == "drained"} - {name for what, name in drains if what == "undrained"}
    assert held == {each.host for each in report.outcomes if each.drained}


@settings(max_examples=80, deadline=None)
@given(world=troubled())
def test_every_host_runs_what_the_report_says(world: Fleet) -> None:
    for outcome in world.roll_out(TWO).outcomes:
        runs = world.hosts[outcome.host].current
        match outcome.ending:
            case Ending.ACTIVATED | Ending.STAYED:
                assert (runs, outcome.release) == (TWO, TWO)
            case Ending.TAKEN_BACK | Ending.REVERTED:
                assert (runs, outcome.release) == (ONE, ONE)
            case Ending.SKIPPED | Ending.FAILED:
                assert runs == ONE


def test_by_default_hosts_that_came_through_stay() -> None:
    world = fleet(4)
    world.hosts["h3"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["activated", "activated", "reverted", "skipped"]


def test_revert_batch_takes_the_last_batch_back_and_no_other() -> None:
    world = fleet(6, batch="100%", max_unavailable=3, policy="revert-batch")
    world.hosts["h3"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["activated", "taken-back", "reverted", "skipped", "skipped", "skipped"]
    assert [world.hosts[name].current for name in ("h1", "h2", "h3")] == [TWO, ONE, ONE]
    assert report.conclusion is Conclusion.HALTED


def test_revert_all_takes_every_host_back_in_waves_the_last_first_and_writes_it_down() -> None:
    world = fleet(5, batch="100%", max_unavailable=2, policy="revert-all")
    world.hosts["h4"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["taken-back", "taken-back", "taken-back", "reverted", "taken-back"]
    assert {host.current for host in world.hosts.hosts.values()} == {ONE}
    backs = [phase for phase in world.onlooker.phases if phase.startswith("take back")]
    assert backs == [f"take back {who}" for who in ("h5 (batch 1 of 3)", "h2, h3 (batch 2 of 3)", "h1 (batch 3 of 3)")]
    assert world.hosts.most_at_once <= 2
    told = [each for each in world.diary.events if each["kind"] == "activated" and each["outcome"] == "taken-back"]
    assert {(each["host"], each["version"], each["detail"]["taken_back"]) for each in told} == {
        (name, "1.0.0", TWO) for name in ("h1", "h2", "h3", "h5")
    }
    assert world.diary.kinds()[-1] == ("rollout-finished", "")


def test_a_host_whose_old_release_is_no_longer_healthy_keeps_the_new_one_that_is() -> None:
    world = fleet(3, policy="revert-all")
    world.hosts["h1"].sick.add(ONE)
    world.hosts["h2"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["stayed", "reverted", "skipped"]
    assert report.outcomes[0].release == TWO
    assert "not healthy" in report.outcomes[0].reason


def test_where_nothing_ran_before_there_is_nothing_to_go_back_to() -> None:
    world = fleet(3, policy="revert-all")
    first = world.hosts["h1"]
    first.current, first.conf, first.programs, first.releases = None, None, [], {}
    world.hosts["h2"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["activated", "reverted", "skipped"]
    assert report.outcomes[0].reason == "there is nothing to go back to"


def test_a_lost_lease_takes_nobody_back_because_somebody_else_may_be_at_work() -> None:
    world = fleet(4, policy="revert-all")
    world.hosts["h2"].sick.add(TWO)
    world.hosts.before = lambda action, host: setattr(world.lease, "held", (action, host) != ("activate", "h1"))
    report = world.roll_out(TWO)
    assert report.conclusion is Conclusion.FENCED
    assert endings(report) == ["activated", "skipped", "skipped", "skipped"]


def test_an_interruption_on_the_way_back_says_who_stayed() -> None:
    world = fleet(4, policy="revert-all")
    world.hosts["h3"].sick.add(TWO)
    asked: list[str] = []

    def before(action: str, host: str) -> None:
        if action == "activate":
            asked.append(host)
            if asked == ["h1", "h2", "h3", "h2"]:
                world.stop.set(2)

    world.hosts.before = before
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.INTERRUPTED, 130)
    assert endings(report) == ["stayed", "taken-back", "reverted", "skipped"]


def test_a_host_that_is_away_takes_the_room_of_one_that_would_be_worked_on() -> None:
    world = fleet(3, failure_budget=1)
    world.hosts["h2"].unreachable = True
    report = world.roll_out(TWO)
    assert world.hosts.did("activate") == []
    assert report.reason == "h2 is out of service, and no more than 1 may be"
    wider = fleet(3, failure_budget=1, max_unavailable=2)
    wider.hosts["h2"].unreachable = True
    assert endings(wider.roll_out(TWO)) == ["activated", "unreachable", "activated"]


def test_a_host_that_is_down_is_repaired_though_no_other_may_be_touched_meanwhile() -> None:
    world = fleet(3, canary=0)
    world.hosts["h3"].down = True
    report = world.roll_out(TWO)
    assert endings(report) == ["activated"] * 3
    assert world.hosts.did("activate") == ["h3", "h1", "h2"]


def drained(count: int = 3, **policy: object) -> tuple[Fleet, Balancer]:
    world = fleet(count, **policy)
    world.balancer = Balancer()
    return world, world.balancer


def test_each_host_is_drained_before_its_turn_and_back_before_the_next_batch() -> None:
    world, balancer = drained(2)
    world.hosts.before = lambda action, host: balancer.asked.append((action, host))
    world.roll_out(TWO)
    turn = ("drain", "activate", "undrain")
    assert [each for each in balancer.asked if each[0] in turn] == [
        (what, host) for host in ("h1", "h2") for what in turn
    ]
    kinds = [each for each in world.diary.kinds() if each[1] == "h1"]
    assert kinds == [("prepared", "h1"), ("drained", "h1"), ("undrained", "h1"), ("activated", "h1")]


def test_a_host_that_is_not_drained_is_not_touched_and_put_back() -> None:
    world, balancer = drained()
    balancer.fails.add(("drain", "h1"))
    report = world.roll_out(TWO)
    assert report.outcomes[0].reason == "it was not drained: drain says no"
    assert world.hosts.did("activate") == []
    assert ("undrain", "h1") in balancer.asked


def test_undrain_is_withheld_from_a_host_that_is_worse_off_than_before() -> None:
    """Promise D5 (d)."""
    world, balancer = drained()
    world.hosts["h1"].sick |= {ONE, TWO}
    report = world.roll_out(TWO)
    assert (report.outcomes[0].ending, report.outcomes[0].drained) == (Ending.UNHEALTHY, "it is not healthy")
    assert balancer.drained == {"h1"}
    assert world.diary.events[-1]["detail"]["drained"] == ["h1"]


def test_a_host_that_cannot_be_put_back_does_not_count_as_done() -> None:
    world, balancer = drained()
    balancer.fails.add(("undrain", "h1"))
    report = world.roll_out(TWO)
    assert report.conclusion is Conclusion.HALTED
    assert (report.outcomes[0].ending, report.outcomes[0].drained) == (
        Ending.ACTIVATED,
        "undrain failed: undrain says no",
    )
    assert world.hosts.did("activate") == ["h1"]


def test_a_host_that_was_lost_is_put_back_when_it_turns_out_to_be_well() -> None:
    world, balancer = drained()
    world.hosts["h1"].lost_in = "activate"
    report = world.roll_out(TWO)
    assert (report.outcomes[0].ending, report.outcomes[0].drained) == (Ending.UNKNOWN, "")
    assert balancer.drained == set()


def test_a_host_that_is_gone_stays_drained_and_the_report_says_so() -> None:
    world, balancer = drained()

    def before(action: str, host: str) -> None:
        if action == "activate":
            world.hosts[host].lost_in, world.hosts[host].unreachable = "activate", True

    world.hosts.before = before
    report = world.roll_out(TWO)
    assert report.outcomes[0].drained == "nobody knows whether it is healthy"
    assert balancer.drained == {"h1"}


def test_an_interruption_puts_back_who_went_back() -> None:
    world, balancer = drained(4, max_unavailable=2, canary=0, batch="100%")
    world.hosts.before = lambda action, host: world.stop.set(2) if action == "activate" else None
    report = world.roll_out(TWO)
    assert report.conclusion is Conclusion.INTERRUPTED
    assert balancer.drained == set()


def test_a_fault_of_our_own_puts_back_who_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    world, balancer = drained()

    def boom(self: object, body: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(type(world.hosts["h1"]), "activate", boom)
    with pytest.raises(RuntimeError):
        world.roll_out(TWO)
    assert ("drain", "h1") in balancer.asked
    assert balancer.drained == set()
