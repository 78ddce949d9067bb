"""Run-once tasks, one-off commands and secrets on simulated hosts: who is asked for what, and what is written down."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.test_operate import CONFIG, World

from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning import plan_file, secret_set
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.rolling import operate, run
from pinwheel.deploy.rolling.resume import Resumed, resumed
from pinwheel.deploy.rolling.session import Session
from pinwheel.deploy.showing import plans, reports, story
from pinwheel.errors import UsageError

MIGRATE = """
[applications.shop.tasks.migrate]
command = ["{release}/bin/shop", "migrate", "--host", "{host}"]
"""

AFTER = """
[applications.shop.tasks.warm]
command = ["warm"]
when = "after"
"""

SECRETS = """
[applications.shop.secrets]
API_KEY = {variable = "THE_KEY"}
"""


class Shop(World):
    """A world with more in its configuration, that remembers what hosts were asked for."""

    def __init__(self, folder: Path, more: str, text: str = CONFIG) -> None:
        super().__init__(folder, text.replace("[environments.live]", f"{more}\n[environments.live]", 1))
        (folder / "pinwheel.toml").write_text(text)
        ask = self.hosts.ask

        def listening(host: str, request: Mapping[str, Any], *more: Any, **named: Any) -> Mapping[str, Any]:
            self.requests.append(request)
            return ask(host, request, *more, **named)

        self.hosts.ask = listening  # type: ignore[method-assign]

    def roll_out(self, version: str = "1.0.0", **modes: str) -> Report:
        self.hosts.asked.clear()
        self.last = self.session()
        _, report = operate.rolled_out(self.last, f"shop=={version}", task_modes=modes)
        return report

    def said(self) -> str:
        notes: list[str] = self.last.watcher.notes  # type: ignore[attr-defined]
        return "\n".join(notes)

    def outcomes(self, kind: str) -> list[tuple[str, str, str]]:
        told = [each for each in self.index.recorded if each.kind == kind]
        return [(each.detail.get("task", ""), each.host, each.outcome) for each in told]


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    monkeypatch.setattr(secret_set, "COST", 2)


def test_a_task_runs_once_on_the_first_host_when_all_are_prepared_and_none_is_activated(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    assert world.roll_out().conclusion is Conclusion.DONE
    actions = [action for action, _ in world.hosts.asked]
    assert actions == ["facts"] * 3 + ["prepare"] * 3 + ["task"] + ["activate"] * 3
    assert world.hosts.did("task") == ["h1"]
    root = f"/srv/pinwheel/apps/shop/releases/{world.one}"
    assert world.hosts["h1"].ran == [(f"{root}/bin/shop", "migrate", "--host", "h1")]
    assert world.outcomes("task") == [("migrate", "h1", "ok")]
    assert "h1: the task migrate is done" in world.said()
    assert "    | migrate was here" in world.said()


def test_a_task_that_fails_stops_the_rollout_before_anything_is_activated_and_runs_again(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.hosts["h1"].exit_code = 3
    report = world.roll_out()
    assert (report.conclusion, report.exit_code) == (Conclusion.HALTED, 1)
    assert report.reason == "the task migrate failed with exit code 3 on h1"
    assert world.hosts.did("activate") == []
    assert world.outcomes("task") == [("migrate", "h1", "failed")]
    made = operate.planned(world.session(), "shop==1.0.0")
    assert "task migrate: once, on h1, before the first activation; it failed there before" in plans.notes(made)
    step = reports.next_step(report, made, "live")
    assert step.endswith(
        "Nothing that runs was touched. Put that right, then: pinwheel deploy.rollout shop==1.0.0 --env live"
    )
    world.hosts["h1"].exit_code = 0
    assert world.roll_out().conclusion is Conclusion.DONE
    assert len(world.hosts["h1"].ran) == 2


def test_a_task_that_is_done_is_not_run_again_by_whoever_goes_on(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.hosts["h1"].sick.add(world.one)
    assert world.roll_out().conclusion is Conclusion.HALTED
    world.hosts["h1"].sick.clear()
    made = operate.planned(world.session(), "shop==1.0.0")
    assert made.tasks == ()
    assert world.roll_out().conclusion is Conclusion.DONE
    assert world.hosts.did("task") == []
    assert len(world.hosts["h1"].ran) == 1


def test_another_release_has_its_task_again_and_a_rollback_has_none(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.roll_out("1.0.0")
    world.roll_out("1.1.0")
    assert len(world.hosts["h1"].ran) == 2
    world.hosts.asked.clear()
    operate.rolled_back(world.session(), "shop", "")
    assert world.hosts.did("task") == []


def test_a_task_of_which_nobody_saw_the_end_waits_for_a_persons_word(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.hosts["h2"].tasks[f"{world.one}/migrate"] = "running"
    made = operate.planned(world.session(), "shop==1.0.0")
    assert [(each.host, each.so_far) for each in made.tasks] == [("h2", "running")]
    report = world.roll_out()
    assert report.conclusion is Conclusion.HALTED
    assert "the task migrate did not come through on h2: nobody saw how it ended; --task-done" in report.reason
    assert world.hosts.did("activate") == []
    assert world.outcomes("task") == [("migrate", "h2", "unknown")]
    assert world.roll_out(migrate="again").conclusion is Conclusion.DONE
    assert world.hosts["h2"].ran != []
    world.roll_out(migrate="again")
    assert world.said() == "the task migrate is not due: it is done, or nothing is to be activated"


def test_a_task_can_be_taken_for_done(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.hosts["h2"].tasks[f"{world.one}/migrate"] = "running"
    assert world.roll_out(migrate="done").conclusion is Conclusion.DONE
    assert world.hosts["h2"].ran == []
    assert "h2: the task migrate is done already" in world.said()
    with pytest.raises(UsageError, match="there is no task 'migrat'") as caught:
        world.roll_out(migrat="done")
    assert caught.value.remedy == "known: migrate"


def test_a_controller_that_loses_the_host_meanwhile_says_that_and_activates_nothing(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    world.hosts["h1"].lost_in = "task"
    report = world.roll_out()
    assert "the task migrate did not come through on h1: the connection was lost" in report.reason
    assert world.hosts.did("activate") == []
    assert world.outcomes("task") == [("migrate", "h1", "unknown")]


def test_a_task_runs_where_it_is_told_to_or_not_at_all(tmp_path: Path) -> None:
    world = Shop(tmp_path, f'{MIGRATE}host = "h3"\n', CONFIG.replace("become", "rollout.failure_budget = 1\nbecome"))
    assert world.roll_out().conclusion is Conclusion.DONE
    assert world.hosts.did("task") == ["h3"]
    world.hosts["h3"].prepare_fails = True
    report = world.roll_out("1.1.0")
    assert report.reason == "the task migrate has to run on h3, which is not ready for it"
    assert world.hosts.did("activate") == []


def test_what_is_due_after_the_last_activation_runs_when_every_host_came_through(tmp_path: Path) -> None:
    world = Shop(tmp_path, AFTER, CONFIG.replace("become", "rollout.failure_budget = 1\nbecome"))
    world.hosts["h2"].sick.add(world.one)
    assert world.roll_out().conclusion is Conclusion.FAILED
    assert world.hosts.did("task") == []
    world.hosts["h2"].sick.clear()
    world.hosts["h2"].exit_code = 9
    report = world.roll_out()
    assert (report.conclusion, report.exit_code) == (Conclusion.HALTED, 1)
    assert [action for action, _ in world.hosts.asked][-2:] == ["activate", "task"]
    world.hosts["h2"].exit_code = 0
    made = operate.planned(world.session(), "shop==1.0.0")
    assert made.changes
    assert not any(each.activate for each in made.hosts)
    assert world.roll_out().conclusion is Conclusion.DONE
    assert world.hosts.did("activate") == []
    assert not operate.planned(world.session(), "shop==1.0.0").changes


def test_a_plan_whose_task_was_done_meanwhile_is_not_the_plan_any_more(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    planned = plan_file.document(operate.planned(world.session(), "shop==1.0.0"), "live")
    assert planned["tasks"] == [{"name": "migrate", "when": "before", "host": "h1", "so_far": ""}]
    world.hosts["h2"].tasks[f"{world.one}/migrate"] = "done"
    with pytest.raises(plan_file.Moved) as caught:
        operate.rolled_out(world.session(), "shop==1.0.0", planned)
    assert caught.value.where == "what runs once is nothing, planned was migrate on h1 (new)"


def test_an_interruption_during_a_task_activates_nothing(tmp_path: Path) -> None:
    world = Shop(tmp_path, MIGRATE)
    session = world.session()
    world.hosts.before = lambda action, host: session.stop.set(signal.SIGINT) if action == "task" else None
    _, report = operate.rolled_out(session, "shop==1.0.0")
    assert report.conclusion is Conclusion.INTERRUPTED
    assert world.hosts.did("activate") == []


# --- one-off commands


def test_a_command_runs_where_it_is_told_to_and_the_ledger_has_who_and_where(tmp_path: Path) -> None:
    world = Shop(tmp_path, "")
    world.roll_out()
    world.hosts["h3"].exit_code = 4
    session = world.session()
    session.targets = fleet.limited("live", session.environment, session.targets, ["h3", "h1"], [])
    exits = run.on_hosts(session, "shop", "", ["shop", "check"])
    assert exits == {"h1": 0, "h3": 4}
    assert run.worst(exits) == 4
    told = [each for each in world.index.recorded if each.kind == "ran"]
    assert [(each.host, each.outcome) for each in sorted(told, key=lambda event: event.host)] == [
        ("h1", "ok"),
        ("h3", "failed"),
    ]
    assert told[0].detail["reason"] == "shop check"
    (chapter,) = story.chapters([{**each.document(), "serial": number} for number, each in enumerate(told)])
    assert (chapter.act, chapter.outcome, chapter.hosts) == ("run", "failed", {"ok": 1, "failed": 1})
    assert world.index.released == [1], "it takes no lease"


def test_a_host_that_cannot_be_asked_is_no_success(tmp_path: Path) -> None:
    world = Shop(tmp_path, "")
    world.roll_out()
    world.hosts["h2"].unreachable = True
    exits = run.on_hosts(world.session(), "shop", "web", ["true"])
    assert isinstance(exits["h2"], Outcome)
    assert run.worst(exits) == 1


@pytest.mark.parametrize(
    ("program", "words", "where"),
    [("mail", ["x"], "--program"), ("", [], "--")],
)
def test_a_command_that_cannot_be_is_wrong_usage(tmp_path: Path, program: str, words: list[str], where: str) -> None:
    world = Shop(tmp_path, "")
    with pytest.raises(UsageError) as caught:
        run.on_hosts(world.session(), "shop", program, words)
    assert caught.value.where == where
    assert world.hosts.did("run") == [], "they may be asked which programs they have"


# --- secrets

KEY = "not to be told"


def secretive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("THE_KEY", KEY)
    return Shop(folder, SECRETS + MIGRATE)


def holds_the_key(value: object) -> bool:
    from base64 import b64encode

    text = value if isinstance(value, str) else json.dumps(value)
    return KEY in text or b64encode(KEY.encode()).decode() in text


def test_a_secret_travels_in_prepare_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = secretive(tmp_path, monkeypatch)
    made, report = operate.rolled_out(world.session(), "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert {each["action"] for each in world.requests if holds_the_key(each)} == {"prepare"}
    seen = [repr(made), repr(report), json.dumps(plans.document(made, "live")), *plans.notes(made)]
    seen += [json.dumps(each.document()) for each in world.index.recorded]
    assert not [each for each in seen if holds_the_key(each)]


def test_new_secrets_are_a_change_that_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = secretive(tmp_path, monkeypatch)
    world.roll_out()
    assert not operate.planned(world.session(), "shop==1.0.0").changes
    monkeypatch.setenv("THE_KEY", "another one")
    made = operate.planned(world.session(), "shop==1.0.0")
    assert [each.why for each in made.hosts] == ["its secrets change (API_KEY)"] * 3
    assert made.tasks == ()
    assert world.roll_out().conclusion is Conclusion.DONE
    monkeypatch.setenv("THE_KEY", KEY)


def test_a_resume_leaves_hosts_alone_that_run_well_whatever_the_secrets_are_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = secretive(tmp_path, monkeypatch)
    world.roll_out()
    monkeypatch.setenv("THE_KEY", "another one")
    world.hosts["h3"].down = True
    (done,) = resumed(world.session(), "shop", force=False)
    assert isinstance(done, Resumed)
    assert done.report
    assert [str(each.ending) for each in done.report.outcomes] == ["unchanged", "unchanged", "activated"]


def test_other_secrets_that_some_host_cannot_have_are_taken_back_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Shop(tmp_path, SECRETS + '[environments.live.rollout]\npolicy = "revert-all"\nmax_unavailable = 2\n')
    monkeypatch.setenv("THE_KEY", KEY)
    world.roll_out()
    before = world.hosts["h1"].facts()["applications"]["shop"]["secrets"]
    monkeypatch.setenv("THE_KEY", "another one")
    world.hosts["h2"].sick.add(world.one)
    report = world.roll_out()
    assert [str(each.ending) for each in report.outcomes] == ["taken-back", "revert-unhealthy", "skipped"]
    assert world.hosts["h1"].facts()["applications"]["shop"]["secrets"] == before


def test_going_back_needs_no_secret_of_the_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = secretive(tmp_path, monkeypatch)
    world.roll_out("1.0.0")
    world.roll_out("1.1.0")
    monkeypatch.delenv("THE_KEY")
    session: Session = world.session()
    assert operate.rolled_back(session, "shop", "")[1].conclusion is Conclusion.DONE
    with pytest.raises(UsageError, match="the variable THE_KEY is not set") as caught:
        world.roll_out("1.1.0")
    assert "applications.shop.secrets.API_KEY" in caught.value.where
