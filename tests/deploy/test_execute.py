"""Rollouts on simulated hosts: who is touched, in which order, and what is written down."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from tests.deploy.simulated import Balancer, Diary, Lease, Onlooker, SimulatedHosts, target

from pinwheel.config import Rollout
from pinwheel.deploy.planning.outcome import Ending
from pinwheel.deploy.planning.plan import plan
from pinwheel.deploy.planning.readiness import Lack, Readied
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.planning.steps import Bootstrap
from pinwheel.deploy.planning.wish import Delivery, Setup, Wish
from pinwheel.deploy.reaching.hosts import StepRefused
from pinwheel.deploy.rolling import bootstrap, execute
from pinwheel.deploy.rolling.pool import Context, HostPool, gather
from pinwheel.deploy.rolling.stop import Stop
from pinwheel.deploy.showing import outcomes

ONE, TWO, THREE = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb", "1.2.0-cccccccc"
WAIT_S = 20


@dataclass
class Fleet:
    """Simulated hosts with everything that a rollout needs, and what it left behind."""

    hosts: SimulatedHosts
    policy: Rollout
    lease: Lease = field(default_factory=Lease)
    diary: Diary = field(default_factory=Diary)
    onlooker: Onlooker = field(default_factory=Onlooker)
    stop: Stop = field(default_factory=Stop)
    balancer: Balancer | None = None

    @property
    def context(self) -> Context:
        targets = {name: target(name) for name in self.hosts.hosts}
        return Context("live", "r1", targets, index_url="https://__token__:secret@index.example/simple/")

    @property
    def pool(self) -> HostPool:
        return HostPool(self.hosts, self.context, self.onlooker, self.stop)

    def roll_out(self, release: str, *, back: bool = False) -> Report:
        told = gather(self.pool, tuple(self.context.targets.values()))
        setup = Setup(f"conf of {release}", ({"name": "shop-web", "processes": ["shop-web"], "health": {}},))
        delivery = None if back else Delivery(dict.fromkeys(told, setup))
        wish = Wish("shop", "shop", release.partition("-")[0], release, delivery, "a" * 64, "c0ffee")
        made = plan(wish, told, self.policy)
        return execute.rollout(made, self.pool, self.lease, self.diary, traffic=self.balancer)


def fleet(count: int = 4, **policy: object) -> Fleet:
    """`count` hosts that run 1.0.0."""
    made = Fleet(SimulatedHosts(*(f"h{number}" for number in range(1, count + 1))), Rollout(**policy))  # type: ignore[arg-type]
    assert made.roll_out(ONE).conclusion is Conclusion.DONE
    made.hosts.asked.clear()
    made.hosts.most_at_once = 0
    made.diary.events.clear()
    for host in made.hosts.hosts.values():
        host.activations.clear()
    return made


def endings(report: Report) -> list[str]:
    return [str(each.ending) for each in report.outcomes]


def test_a_rollout_prepares_everywhere_and_then_activates_canary_first() -> None:
    world = fleet(4, max_unavailable=2, batch="50%")
    report = world.roll_out(TWO)
    assert (report.conclusion, report.reason, report.exit_code) == (Conclusion.DONE, "", 0)
    assert [each.host for each in report.outcomes] == ["h1", "h2", "h3", "h4"]
    assert all(host.current == TWO for host in world.hosts.hosts.values())
    actions = [action for action, _ in world.hosts.asked]
    assert actions == ["facts"] * 4 + ["prepare"] * 4 + ["activate"] * 4
    assert world.hosts.did("activate")[0] == "h1"
    assert world.hosts.most_at_once <= 2


def test_every_ending_is_an_event_of_the_rollout() -> None:
    world = fleet(2)
    world.roll_out(TWO)
    kinds = world.diary.kinds()
    assert kinds[0] == ("rollout-started", "")
    assert sorted(kinds[1:3]) == [("prepared", "h1"), ("prepared", "h2")]
    assert kinds[3:] == [("activated", "h1"), ("activated", "h2"), ("rollout-finished", "")]
    assert {(each["subject"], each["version"], each["commit"], each["rollout"]) for each in world.diary.events} == {
        ("shop", "1.1.0", "c0ffee", "r1")
    }
    assert "secret" not in repr(world.diary.events)


def test_a_host_that_is_as_wished_is_not_touched() -> None:
    world = fleet(3)
    report = world.roll_out(ONE)
    assert endings(report) == ["unchanged"] * 3
    assert {action for action, _ in world.hosts.asked} == {"facts"}


def test_an_unhealthy_canary_leaves_every_other_host_alone() -> None:
    world = fleet(4, max_unavailable=3, failure_budget=3)
    world.hosts["h1"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.HALTED, 1)
    assert endings(report) == ["reverted", "skipped", "skipped", "skipped"]
    assert [each.release for each in report.outcomes] == [ONE] * 4
    assert world.hosts.did("activate") == ["h1"]
    assert "boom" in report.outcomes[0].shown
    assert ("reverted", "h1") in world.diary.kinds()
    assert world.diary.events[-1]["outcome"] == "halted"


@pytest.mark.parametrize(
    ("log", "probe", "program", "remedy"),
    [
        ("Traceback: boom", "500", "shop-web", "read the log above; correct it and release a new version"),
        (
            "",
            "500",
            "shop-web",
            "look at applications.shop.programs.web.command and applications.shop.programs.web.health",
        ),
        ("", "", "shop-web", "it left no log; look at applications.shop.programs.web.command of pinwheel.toml"),
        ("", "", "", "it left no log; look at applications.shop.programs of pinwheel.toml"),
    ],
)
def test_the_remedy_names_what_there_is_to_look_at(
    log: str, probe: str, program: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = fleet(1)
    told = {"outcome": "reverted", "reason": "no", "probe": probe, "log_tail": log, "program": program}
    answer = {**told, "processes": [], "seconds": 0.1}
    monkeypatch.setattr(type(world.hosts["h1"]), "activate", lambda self, body: answer)
    (outcome,) = world.roll_out(TWO).outcomes
    assert remedy in outcome.remedy
    assert ("above" in outcome.remedy) == bool(log)


def test_a_rollback_that_does_not_pass_is_no_reason_for_a_new_version() -> None:
    world = fleet(1)
    world.roll_out(TWO)
    world.hosts["h1"].sick.add(ONE)
    (outcome,) = world.roll_out(ONE, back=True).outcomes
    assert outcome.ending is Ending.REVERTED
    assert "new version" not in outcome.remedy
    assert "--to" in outcome.remedy


@pytest.mark.parametrize("fault", ["unreachable", "prepare_fails", "lost_in"])
def test_a_host_that_failed_is_shown_with_its_address(fault: str) -> None:
    world = fleet(1)
    setattr(world.hosts["h1"], fault, "activate" if fault == "lost_in" else True)
    (outcome,) = world.roll_out(TWO).outcomes
    assert outcome.shown == "h1.example:22"
    assert "    | h1.example:22" in outcomes.lines(outcome)
    assert "h1" not in outcome.reason, "its name stands before it already"


def test_a_failed_prepare_activates_nobody() -> None:
    world = fleet(3)
    world.hosts["h3"].prepare_fails = True
    report = world.roll_out(TWO)
    assert endings(report) == ["skipped", "skipped", "failed"]
    assert report.outcomes[2].reason == "the installer failed"
    assert world.hosts.did("activate") == []


def test_a_failed_prepare_within_the_budget_leaves_out_that_host_only() -> None:
    world = fleet(3, failure_budget=1)
    world.hosts["h1"].prepare_fails = True
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.FAILED, 1)
    assert endings(report) == ["failed", "activated", "activated"]


def test_an_unreachable_host_stops_the_rollout_before_anything_is_touched() -> None:
    world = fleet(3)
    world.hosts["h2"].unreachable = True
    report = world.roll_out(TWO)
    assert endings(report) == ["skipped", "unreachable", "skipped"]
    assert {action for action, _ in world.hosts.asked} == {"facts"}


def test_a_host_that_is_not_ready_stops_the_rollout_and_says_what_to_do() -> None:
    world = fleet(2)
    world.hosts["h2"].ready = False
    report = world.roll_out(TWO)
    assert endings(report) == ["skipped", "failed"]
    assert "deploy.bootstrap" in report.outcomes[1].remedy


def test_a_lost_lease_stops_before_the_next_batch() -> None:
    world = fleet(4)
    world.hosts.before = lambda action, host: setattr(world.lease, "held", (action, host) != ("activate", "h2"))
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.FENCED, 3)
    assert endings(report) == ["activated", "activated", "skipped", "skipped"]


def test_every_host_of_the_fleet_learns_the_token_before_anybody_is_activated() -> None:
    world = fleet(3)
    world.roll_out(TWO)
    world.hosts["h2"].current, world.hosts["h2"].conf = ONE, f"conf of {ONE}"
    world.lease.token = 7
    world.hosts.before = lambda action, host: (
        None if action != "activate" else check({each.fence for each in world.hosts.hosts.values()})
    )
    seen: list[set[int]] = []
    check = seen.append
    report = world.roll_out(TWO)
    assert endings(report) == ["unchanged", "activated", "unchanged"]
    assert seen == [{7}]


def test_a_host_that_has_seen_a_newer_rollout_ends_this_one() -> None:
    world = fleet(3, failure_budget=3)
    world.hosts["h2"].fence = 9
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.FENCED, 3)
    assert world.hosts.did("activate") == []


def test_a_host_lost_in_activation_is_unknown_and_not_failed() -> None:
    world = fleet(4, failure_budget=0)
    world.hosts["h2"].lost_in = "activate"
    report = world.roll_out(TWO)
    assert endings(report) == ["activated", "unknown", "skipped", "skipped"]
    assert ("lost", "h2") in world.diary.kinds(), "in the history it is not failed either"


def test_a_host_lost_in_prepare_is_unreachable_because_nothing_that_runs_was_touched() -> None:
    world = fleet(2)
    world.hosts["h2"].lost_in = "prepare"
    assert endings(world.roll_out(TWO)) == ["skipped", "unreachable"]
    assert ("lost", "h2") in world.diary.kinds()


def test_a_host_that_is_worse_than_before_stops_everything_whatever_the_budget() -> None:
    world = fleet(4, failure_budget=4)
    world.hosts["h2"].sick |= {ONE, TWO}
    report = world.roll_out(TWO)
    assert (report.conclusion, endings(report)) == (
        Conclusion.HALTED,
        ["activated", "revert-unhealthy", "skipped", "skipped"],
    )


def test_the_budget_is_counted_over_the_whole_rollout() -> None:
    world = fleet(6, failure_budget=1)
    world.hosts["h2"].sick.add(TWO)
    world.hosts["h4"].sick.add(TWO)
    report = world.roll_out(TWO)
    assert endings(report) == ["activated", "reverted", "activated", "reverted", "skipped", "skipped"]


def test_an_interruption_starts_nothing_more_and_keeps_what_ended() -> None:
    world = fleet(4)
    world.hosts.before = lambda action, host: world.stop.set(15) if (action, host) == ("activate", "h2") else None
    report = world.roll_out(TWO)
    assert (report.conclusion, report.exit_code) == (Conclusion.INTERRUPTED, 143)
    assert endings(report) == ["activated", "activated", "skipped", "skipped"]
    assert world.diary.kinds()[-1] == ("rollout-finished", "")


def test_a_batch_runs_at_the_same_time() -> None:
    world = fleet(5, canary=1, max_unavailable=2, batch="100%")
    together = threading.Barrier(2, timeout=WAIT_S)

    def meet(action: str, host: str) -> None:
        if action == "activate" and host != "h1":
            together.wait()

    world.hosts.before = meet
    assert world.roll_out(TWO).conclusion is Conclusion.DONE
    assert world.hosts.most_at_once == 2


def test_going_back_needs_nothing_but_the_name_of_the_release() -> None:
    world = fleet(3)
    world.roll_out(TWO)
    world.hosts.asked.clear()
    report = world.roll_out(ONE, back=True)
    assert report.conclusion is Conclusion.DONE
    assert ("prepared", "h1") not in world.diary.kinds()[-6:]
    assert {host.conf for host in world.hosts.hosts.values()} == {f"conf of {ONE}"}


def test_the_first_release_ever_that_is_sick_is_removed() -> None:
    world = Fleet(SimulatedHosts("h1", "h2"), Rollout())
    world.hosts["h1"].sick.add(THREE)
    report = world.roll_out(THREE)
    assert endings(report) == ["removed", "skipped"]
    assert report.outcomes[0].release == ""


def test_bootstrap_tells_what_changed_and_the_second_time_nothing() -> None:
    world = Fleet(SimulatedHosts("h1", "h2"), Rollout())
    world.hosts["h2"].ready = False
    wanted = [Bootstrap(name, {"filename": "uv.whl", "url": "", "sha256": ""}, "supervisor") for name in ("h1", "h2")]
    ready = bootstrap.made_ready(world.pool, wanted, world.lease, world.diary)
    assert ready == {"h1": Readied("h1", (), ()), "h2": Readied("h2", ("install uv.whl", "start supervisor"), ())}
    assert world.diary.kinds() == [("bootstrapped", "h2")]
    again = bootstrap.made_ready(world.pool, wanted, world.lease, world.diary)
    assert again == {name: Readied(name, (), ()) for name in ("h1", "h2")}


def test_what_bootstrap_could_not_do_is_told_and_what_it_did_is_written_down() -> None:
    world = Fleet(SimulatedHosts("h1"), Rollout())
    world.hosts["h1"].ready = False
    world.hosts["h1"].lacks = ("start supervisor",)
    wanted = [Bootstrap("h1", {"filename": "uv.whl", "url": "", "sha256": ""}, "supervisor")]
    (ready,) = bootstrap.made_ready(world.pool, wanted, world.lease, world.diary).values()
    assert ready == Readied("h1", ("install uv.whl",), (Lack("start supervisor", "it fails", "", "mend it"),))
    assert world.diary.events[0]["detail"] == {"changes": ["install uv.whl"]}
    assert world.onlooker.outcomes[0].ending is Ending.FAILED


@pytest.mark.parametrize(
    ("code", "ending"),
    [("moved", "failed"), ("in-doubt", "revert-unhealthy"), ("unexpected", "unknown"), ("aborted", "skipped")],
)
def test_an_error_of_the_runner_in_activation_says_what_may_have_changed(
    code: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = fleet(2)

    def refuse(self: object, body: object) -> None:
        raise StepRefused(code, "no", where="h1", remedy="look")

    monkeypatch.setattr(type(world.hosts["h1"]), "activate", refuse)
    assert endings(world.roll_out(TWO)) == [ending, "skipped"]


def test_an_answer_without_sense_in_activation_is_an_unknown_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    world = fleet(2)
    monkeypatch.setattr(type(world.hosts["h1"]), "activate", lambda self, body: {"outcome": "splendid"})
    report = world.roll_out(TWO)
    assert report.outcomes[0].ending is Ending.UNKNOWN
