"""The tasks as a user calls them: flags, exit codes, and what comes out on which stream."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TextIO

import pytest
from invoke import Collection, Task
from tests.deploy.test_operate import CONFIG, World

from pinwheel import cli, console
from pinwheel.config import Host
from pinwheel.deploy import commands
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.reaching.hosts import HostKey
from pinwheel.deploy.rolling import history, unlock
from pinwheel.deploy.rolling import session as sessions
from pinwheel.deploy.rolling.pool import Watcher
from pinwheel.deploy.rolling.session import Session
from pinwheel.index.client import Holder
from pinwheel.ledger import Ledger

Run = Callable[..., int]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which the tasks find simulated hosts and an index in memory."""
    made = World(tmp_path)
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")

    @contextlib.contextmanager
    def open_session(
        name: str,
        watcher: Watcher,
        hosts: Sequence[str] = (),
        groups: Sequence[str] = (),
        *,
        asks_once: bool = False,
    ) -> Iterator[Session]:
        environment = fleet.environment(made.loaded.config, name)
        targets = fleet.limited(name, environment, fleet.targets(name, environment), hosts, groups)
        limit = " ".join(f"--host {each}" for each in hosts)
        session = Session(made.loaded, name, environment, targets, made.hosts, watcher, made.stop, limit=limit)
        session.client = session.impatient = made.index  # type: ignore[assignment]
        session.ledger = Ledger(made.index, made.spool)
        yield session

    monkeypatch.setattr(sessions, "open_session", open_session)
    return made


@pytest.fixture
def run() -> Run:
    """Run `pinwheel WORDS` in this process; the exit code."""

    def run(*words: str) -> int:
        tree = Collection()
        tree.add_collection(commands.collection())
        cli.guard(tree)
        program = cli.program(tree)
        try:
            program.run(["pinwheel", *words])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def test_a_rollout_tells_its_story_on_stderr_and_its_end_on_stdout(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 0
    out, err = capsys.readouterr()
    assert "rollout of shop==1.0.0: prepare 3 hosts" in err
    assert "rollout of shop==1.0.0: activate h1 (batch 1 of 3)" in err
    assert "h1: activated in 0.1 s" in err
    assert "done: shop 1.0.0 runs on 3 hosts" in err
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        [name, "activated", world.one] for name in world.hosts.hosts
    ]
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 0
    assert capsys.readouterr().out == "nothing to do: shop 1.0.0 runs on every host\n"


def test_a_rollout_that_is_halted_exits_1_and_says_why_in_its_document(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    world.hosts["h1"].sick.add(world.two)
    capsys.readouterr()
    assert run("deploy.rollout", "shop==1.1.0", "--env", "live", "--json") == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["outcome"], document["version"]) == ("halted", "1.1.0")
    assert [(each["name"], each["outcome"], each["release"], each["reason"]) for each in document["hosts"]] == [
        ("h1", "reverted", world.one, "the gate said no"),
        *((name, "skipped", world.one, "the rollout stopped before its turn") for name in ("h2", "h3")),
    ]
    assert "| Traceback: boom" in err


def test_a_plan_exits_4_with_changes_and_0_without(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("deploy.plan", "shop==1.0.0", "--env", "live", "--json") == 4
    assert json.loads(capsys.readouterr().out)["waves"] == [["h1"], ["h2"], ["h3"]]
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    assert run("deploy.plan", "shop==1.0.0", "--env", "live") == 0
    world.hosts["h3"].unreachable = True
    assert run("deploy.plan", "shop==1.0.0", "--env", "live") == 1
    assert run("deploy.plan", "shop==1.1.0", "--env", "live") == 1, "what cannot be carried out is no plan"


def test_a_held_environment_exits_3_and_names_the_holder(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.index.holder = Holder("anna@desk", "r9", "", 5, 40)
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 3
    assert "anna@desk" in capsys.readouterr().err


def test_a_halted_rollback_says_how_it_goes_on(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1.0.0", "1.1.0"):
        run("deploy.rollout", f"shop=={version}", "--env", "live")
    world.hosts["h1"].sick.add(world.one)
    capsys.readouterr()
    assert run("deploy.rollback", "shop", "--env", "live") == 1
    said = capsys.readouterr().err
    assert said.endswith("then: pinwheel deploy.rollback shop --to 1.0.0 --env live\n")
    assert "new version" not in said


def test_a_script_reads_a_line_for_everything_that_happens_and_the_end_last(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hosts["h2"].sick.add(world.one)
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live", "--json-lines") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[0] == {"event": "hosts", "hosts": ["h1", "h2", "h3"]}
    ended = [(each["name"], each["outcome"]) for each in told if each["event"] == "ended"]
    assert sorted(ended[:3]) == [("h1", "prepared"), ("h2", "prepared"), ("h3", "prepared")]
    assert ended[3:] == [("h1", "activated"), ("h2", "removed")]
    assert (told[-1]["event"], told[-1]["outcome"], told[-1]["exit_code"]) == ("finished", "halted", 1)


def test_exactly_what_was_planned_is_done_or_nothing(
    tmp_path: Path, world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    file = tmp_path / "shop.plan"
    assert run("deploy.plan", "shop==1.1.0", "--env", "live", "--out", str(file)) == 4
    world.hosts["h2"].conf = "edited by hand"
    capsys.readouterr()
    world.hosts.asked.clear()
    assert run("deploy.rollout", "shop==1.1.0", "--env", "live", "--plan", str(file)) == 1
    assert "where: h2: its conf on the host is another one" in capsys.readouterr().err
    assert {action for action, _ in world.hosts.asked} == {"facts"}
    assert run("deploy.plan", "shop==1.1.0", "--env", "live", "--out", str(file)) == 4
    assert run("deploy.rollout", "shop==1.1.0", "--env", "live", "--plan", str(file)) == 0
    assert run("deploy.rollout", "shop==1.1.0", "--env", "live", "--plan", str(file)) == 1, "it is done by now"
    assert "h1: it runs 1.1.0-" in capsys.readouterr().err


def test_resume_says_what_it_would_do_and_does_it(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    world.hosts["h3"].lost_in = "activate"
    assert run("deploy.rollout", "shop==1.1.0", "--env", "live") == 1
    world.hosts["h3"].lost_in = ""
    capsys.readouterr()
    assert run("deploy.resume", "--env", "live", "--check") == 4
    assert f"shop should be at {world.two}: the wish of rollout" in capsys.readouterr().out
    assert world.hosts["h3"].current == world.one
    pids = [world.hosts[name].pid for name in ("h1", "h2")]
    assert run("deploy.resume", "--env", "live", "--json") == 0
    (about,) = json.loads(capsys.readouterr().out)["applications"]
    assert [each["outcome"] for each in about["hosts"]] == ["unchanged", "unchanged", "activated"]
    assert about["should_run"] == world.two
    assert [world.hosts[name].pid for name in ("h1", "h2")] == pids
    assert run("deploy.resume", "--env", "live", "--application", "shop") == 0
    assert "nothing to do: shop 1.1.0 runs on every host" in capsys.readouterr().out


def test_a_rollback_takes_every_host_back(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for version in ("1.0.0", "1.1.0"):
        run("deploy.rollout", f"shop=={version}", "--env", "live")
    capsys.readouterr()
    assert run("deploy.rollback", "shop", "--env", "live", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["outcome"], document["version"]) == ("done", "1.0.0")
    assert run("deploy.rollback", "shop", "--env", "live", "--to", "1.1.0") == 0
    assert world.hosts["h1"].current == world.two


def test_status_shows_every_host_also_one_that_is_away(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    world.hosts["h3"].unreachable = True
    capsys.readouterr()
    assert run("deploy.status", "--env", "live", "--json") == 1
    hosts = json.loads(capsys.readouterr().out)["hosts"]
    assert [(host["name"], host["reachable"]) for host in hosts] == [("h1", True), ("h2", True), ("h3", False)]
    assert hosts[0]["applications"][0]["version"] == "1.0.0"
    assert run("deploy.status", "--env", "live") == 1
    assert "unreachable" in capsys.readouterr().out
    world.hosts["h3"].unreachable = False
    assert run("deploy.status", "--env", "live") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("action", ["facts", "activate", "survey", "bootstrap"])
def test_an_interruption_exits_with_its_signal(world: World, run: Run, number: int, action: str) -> None:
    """As every other task does: 130, 143, 129."""
    world.hosts["h1"].ready = world.hosts["h2"].ready = action not in ("survey", "bootstrap")

    def stop(asked: str, _: str) -> None:
        if asked == action and not world.stop.is_set():
            world.stop.set(number)

    world.hosts.before = stop
    words = ("deploy.bootstrap",) if action in ("survey", "bootstrap") else ("deploy.rollout", "shop==1.0.0")
    assert run(*words, "--env", "live") == 128 + number


def test_a_limited_rollout_says_how_it_goes_on_with_the_same_limit(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hosts["h1"].prepare_fails = True
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live", "--host", "h1", "--host", "h2") == 1
    out, err = capsys.readouterr()
    assert "pinwheel deploy.rollout shop==1.0.0 --env live --host h1 --host h2" in err
    assert "h3" not in out
    assert run("deploy.status", "--env", "live", "--host", "h*", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["hosts"]) == 3


def test_bootstrap_says_what_it_will_do_then_does_it_then_says_that_there_is_nothing_to_do(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hosts["h2"].ready = False
    world.hosts["h2"].notes = ("no systemd",)
    assert run("deploy.bootstrap", "--env", "live", "--check") == 4
    out, err = capsys.readouterr()
    uv = world.index.files("uv")[0].filename
    plan = (
        f"h1: nothing to do\nh2: to do\n  install {uv} (not there)\n  start supervisor (not there)\nh3: nothing to do\n"
    )
    assert out == plan
    assert "h2: no systemd" in err
    assert run("deploy.bootstrap", "--env", "live") == 0
    assert capsys.readouterr().out == f"{plan}h2: ready\n"
    assert run("deploy.bootstrap", "--env", "live") == 0
    assert capsys.readouterr().out == "h1: nothing to do\nh2: nothing to do\nh3: nothing to do\n"
    run("deploy.bootstrap", "--env", "live", "--json")
    hosts = json.loads(capsys.readouterr().out)["hosts"]
    assert [(host["outcome"], host["plan"], host["changes"]) for host in hosts] == [("ready", [], [])] * 3
    world.hosts["h1"].unreachable = True
    capsys.readouterr()
    assert run("deploy.bootstrap", "--env", "live") == 1
    assert capsys.readouterr().out.startswith("h1: nobody listens\n  where: h1.example:22\n  remedy: is it up?\n")
    run("deploy.bootstrap", "--env", "live", "--check", "--json")
    one = json.loads(capsys.readouterr().out)["hosts"][0]
    assert (one["outcome"], one["reason"], one["remedy"]) == ("unreachable", "nobody listens", "is it up?")


def test_bootstrap_says_what_a_host_lacks_in_the_end(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hosts["h2"].ready = False
    world.hosts["h2"].lacks = ("start supervisor",)
    assert run("deploy.bootstrap", "--env", "live") == 1
    end = "h2: not ready yet, it lacks\n  start supervisor: it fails\n    remedy: mend it\n"
    assert capsys.readouterr().out.endswith(end)
    assert run("deploy.bootstrap", "--env", "live", "--json") == 1
    one = json.loads(capsys.readouterr().out)["hosts"][1]
    assert (one["outcome"], one["reason"]) == ("not ready", "start supervisor: it fails")
    assert [each["what"] for each in one["missing"]] == ["start supervisor"]


KEYS = {
    "h1": HostKey("h1.example", "ssh-ed25519", "AAAA", 256, "SHA256:one"),
    "h2": HostKey("[h2.example]:2222", "ecdsa-sha2-nistp256", "BBBB", 256, "SHA256:two"),
}


@pytest.fixture
def strangers(world: World) -> World:
    """h1 and h2 have keys that nobody knows."""
    for name, key in KEYS.items():
        world.hosts[name].key = key
    return world


def test_unknown_keys_are_shown_as_ssh_keygen_does_and_added_only_when_they_are_named(
    strangers: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = ("deploy.bootstrap", "--env", "live", "--scan-host-keys")
    assert run(*scan) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "256 SHA256:one h1.example (ED25519)\n  for h1\n" in err
    assert "256 SHA256:two [h2.example]:2222 (ECDSA)\n  for h2\n" in err
    assert strangers.hosts.trusted == []
    assert run(*scan, "--accept", "SHA256:two", "--accept", "SHA256:other", "--json") == 4
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["known"] == ["h3", "h2"]
    assert [each["fingerprint"] for each in document["added"]] == ["SHA256:two"]
    assert [(each["fingerprint"], each["hosts"]) for each in document["unknown"]] == [("SHA256:one", ["h1"])]
    assert "SHA256:other" in err
    assert strangers.hosts.trusted == [KEYS["h2"]]
    assert run(*scan, "--accept", "SHA256:one") == 0
    assert capsys.readouterr().out == "added to ~/.ssh/known_hosts: h1.example SHA256:one\n"
    assert run(*scan) == 0
    assert strangers.hosts.asked == [], "no runner was started"


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("no\n", 4), ("y\n", 4), ("", 4)])
def test_on_a_terminal_a_question_is_asked(
    strangers: World, run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr(console, "somebody", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert run("deploy.bootstrap", "--env", "live", "--scan-host-keys") == code
    assert len(strangers.hosts.trusted) == (0 if code else 2)


def test_a_host_that_cannot_be_asked_for_its_key_exits_1(
    strangers: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    strangers.hosts["h3"].unreachable = True
    words = (
        "deploy.bootstrap",
        "--env",
        "live",
        "--scan-host-keys",
        "--accept",
        "SHA256:one",
        "--accept",
        "SHA256:two",
    )
    assert run(*words) == 1
    assert "h3: nobody listens\n  remedy: is it up?\n" in capsys.readouterr().out
    assert len(strangers.hosts.trusted) == 2


def test_history_shows_what_the_index_recorded(
    tmp_path: Path, world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pinwheel.toml").write_text(CONFIG)
    monkeypatch.setenv("PINWHEEL_CONFIG", str(tmp_path / "pinwheel.toml"))
    monkeypatch.setattr(history, "from_config", lambda loaded: world.index)
    for version in ("1.0.0", "1.1.0"):
        run("deploy.rollout", f"shop=={version}", "--env", "live")
    run("deploy.restart", "shop", "--env", "live", "--host", "h2")
    capsys.readouterr()
    assert run("deploy.history", "--env", "live", "--limit", "2", "--json") == 0
    second, third = json.loads(capsys.readouterr().out)["rollouts"]
    assert (second["act"], second["version"], second["outcome"]) == ("rollout", "1.1.0", "done")
    assert (second["hosts"], third["hosts"]) == ({"activated": 3}, {"restarted": 1})
    assert (third["act"], third["version"]) == ("restart", "1.1.0")
    assert second["seconds"] >= 0
    assert run("deploy.history", "--env", "live", "--application", "shop") == 0
    assert capsys.readouterr().out.count("\n") == 4
    assert run("deploy.history", "--env", "live", "--rollout", third["rollout"], "--json") == 0
    kinds = [each["kind"] for each in json.loads(capsys.readouterr().out)["events"]]
    assert kinds == ["rollout-started", "restarted", "rollout-finished"]
    assert run("deploy.history", "--env", "live", "--application", "chop") == 0
    assert capsys.readouterr().out == "nothing was ever done with chop in live\n"
    assert run("deploy.history", "--env", "live", "--rollout", "r0") == 2


def test_a_restart_starts_what_runs_again_and_says_so(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    pids = {name: host.pid for name, host in world.hosts.hosts.items()}
    capsys.readouterr()
    assert run("deploy.restart", "shop", "--env", "live") == 0
    out, err = capsys.readouterr()
    assert "done: shop began anew on 3 hosts" in err
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["restarted"] * 3
    assert all(host.pid > pids[name] for name, host in world.hosts.hosts.items())
    assert world.index.leased_for[-1] == ("shop", "shop")
    assert run("deploy.restart", "shop", "--env", "live", "--program", "web", "--host", "h2", "--json") == 0
    assert [host["name"] for host in json.loads(capsys.readouterr().out)["hosts"]] == ["h2"]


@pytest.mark.parametrize(
    "words", [("deploy.restart",), ("deploy.logs",), ("deploy.run", "--command", "true")], ids=lambda words: words[0]
)
def test_a_program_may_be_one_of_the_older_release_that_runs(
    world: World, run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    (program,) = world.loaded.config.applications["shop"].programs.values()
    renamed = world.loaded.config.applications["shop"].but(programs={"api": program})
    world.loaded = replace(world.loaded, config=world.loaded.config.but(applications={"shop": renamed}))
    assert run(*words, "shop", "--env", "live", "--program", "web") == 0
    world.hosts.asked.clear()
    capsys.readouterr()
    assert run(*words, "shop", "--env", "live", "--program", "mailer") == 2
    assert "there is no program 'mailer'" in capsys.readouterr().err
    assert {action for action, _ in world.hosts.asked} == {"facts"}


def test_a_restart_stops_at_a_canary_that_is_not_healthy_afterwards(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    world.hosts["h1"].sick.add(world.one)
    pid = world.hosts["h2"].pid
    capsys.readouterr()
    assert run("deploy.restart", "shop", "--env", "live") == 1
    assert "Look at that host first" in capsys.readouterr().err
    assert world.hosts["h2"].pid == pid


def test_who_holds_an_environment_is_told_and_force_takes_it(
    tmp_path: Path, world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pinwheel.toml").write_text(CONFIG)
    monkeypatch.setenv("PINWHEEL_CONFIG", str(tmp_path / "pinwheel.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(unlock, "from_config", lambda loaded: world.index)
    assert run("deploy.unlock", "--env", "live") == 0
    world.index.holder = Holder("anna@desk pid 7", "r9", "2026-01-01T00:00:00Z", 5, 40, 3)
    assert run("deploy.unlock", "--env", "live") == 3
    assert "anna@desk" in capsys.readouterr().out
    assert run("deploy.unlock", "--env", "live", "--force", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["released"], document["holder"]["life"]) == (True, "renewing")
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 0


def test_somebody_elses_broken_file_is_told_by_the_plan_and_nobody_is_touched(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.hosts["h3"].foreign = "somebody else's file keeps supervisor from reloading (/etc/theirs.conf)"
    assert run("deploy.plan", "shop==1.0.0", "--env", "live") == 1
    assert "/etc/theirs.conf" in capsys.readouterr().out
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 1
    assert "/etc/theirs.conf" in capsys.readouterr().err
    assert world.hosts.did("activate") == []


def test_pruning_is_planned_with_exit_4_then_done_then_nothing_is_left(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        if version > "1.1.0":
            world.index.publish(version)
        assert run("deploy.rollout", f"shop=={version}", "--env", "live") == 0
    before = [sorted(host.releases) for host in world.hosts.hosts.values()]
    capsys.readouterr()
    words = ("deploy.prune", "shop", "--env", "live", "--keep", "1")
    assert run(*words, "--check", "--json") == 4
    document = json.loads(capsys.readouterr().out)
    assert (document["check"], document["bytes"]) == (True, 60)
    assert [len(host["removed"]) for host in document["hosts"]] == [2, 2, 2]
    assert run(*words, "--check") == 4
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in table] == [4, *(3, 1) * 3], "a row of its own for each that can go"
    assert [sorted(host.releases) for host in world.hosts.hosts.values()] == before
    assert run(*words) == 0
    out, err = capsys.readouterr()
    assert "freed on 3 hosts" in err
    assert world.one in out
    assert all(len(host.releases) == 2 for host in world.hosts.hosts.values()), "what runs, and what it came from"
    assert world.kinds()[-3:] == ["pruned"] * 3
    assert run(*words, "--check") == 0
    assert "nothing to remove" in capsys.readouterr().err
    assert run("deploy.rollback", "shop", "--env", "live") == 0
    world.hosts["h2"].unreachable = True
    assert run("deploy.prune", "all", "--env", "live") == 1
    assert world.index.leased_for[-1] == (), "all that there is"


def test_a_rollout_removes_what_it_makes_superfluous_as_planned_and_in_three_execs(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    world.loaded = replace(
        world.loaded,
        config=world.loaded.config.but(environments={"live": world.environment.but(keep=3)}),
    )
    third, fourth = world.index.publish("1.2.0"), world.index.publish("1.3.0")
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        assert run("deploy.rollout", f"shop=={version}", "--env", "live") == 0
    assert "pruned" not in world.kinds(), "nothing is removed in vain"
    capsys.readouterr()
    assert run("deploy.plan", "shop==1.3.0", "--env", "live") == 4
    assert f"remove from h1, h2, h3: {world.one}" in capsys.readouterr().out
    assert run("deploy.plan", "shop==1.3.0", "--env", "live", "--json") == 4
    assert [each["removes"] for each in json.loads(capsys.readouterr().out)["hosts"]] == [[world.one]] * 3
    world.hosts.asked.clear()
    assert run("deploy.rollout", "shop==1.3.0", "--env", "live") == 0
    assert [action for action, host in world.hosts.asked if host == "h1"] == ["facts", "prepare", "activate"]
    assert [sorted(host.releases) for host in world.hosts.hosts.values()] == [[world.two, third, fourth]] * 3
    assert world.kinds().count("pruned") == 3
    assert run("deploy.prune", "shop", "--env", "live", "--check") == 0, "nothing is left to remove"


def test_every_flag_says_its_default() -> None:
    # copies of the modules: Invoke takes the texts out of a task when it first parses a command line
    folder = Path(commands.__file__).parent
    fresh = [_copy(file) for file in folder.glob("*.py") if file.name != "__init__.py"]
    for task in [each for module in fresh for each in vars(module).values() if isinstance(each, Task)]:
        for name, parameter in list(inspect.signature(task.body).parameters.items())[1:]:
            default = parameter.default
            told = default if isinstance(default, int) and not isinstance(default, bool) else ""
            assert f"(default: {told}" in task.help[name], f"{task.name} --{name}"


def _copy(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fresh", file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(fresh := importlib.util.module_from_spec(spec))
    return fresh


@contextlib.contextmanager
def nobody() -> Iterator[TextIO]:
    """A stream of which the reader has gone away, as `head -2` does."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


def test_a_rollout_of_which_nobody_reads_the_messages_goes_on(
    world: World, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody() as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        assert run("deploy.rollout", "shop==1.0.0", "--env", "live", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "done"
    assert {host.current for host in world.hosts.hosts.values()} == {world.one}


def test_a_rollout_of_which_nobody_reads_the_result_is_done_all_the_same_and_exits_1(
    world: World, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody() as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 1
    assert {host.current for host in world.hosts.hosts.values()} == {world.one}
    assert world.kinds()[-1] == "rollout-finished"


@pytest.mark.parametrize(
    "words",
    [
        ("deploy.rollout", "shop==1.0.0"),
        ("deploy.rollout", "--env", "live"),
        ("deploy.rollout", "shop", "--env", "live"),
        ("deploy.rollout", "shop==1.0.0", "--env", "lvie"),
        ("deploy.rollout", "chop==1.0.0", "--env", "live"),
        ("deploy.rollback", "chop", "--env", "live"),
        ("deploy.status", "--env", ""),
        ("deploy.rollout", "shop==1.0.0", "--env", "live", "--json", "--json-lines"),
        ("deploy.rollout", "shop==1.0.0", "--env", "live", "--plan", "nowhere.plan"),
        ("deploy.resume", "--env", "lvie"),
        ("deploy.history", "--env", "live", "--limit", "0"),
        ("deploy.history", "--env", ""),
        ("deploy.status", "--env", "live", "--host", "h9"),
        ("deploy.restart", "chop", "--env", "live"),
        ("deploy.unlock", "--env", ""),
        ("deploy.prune", "chop", "--env", "live"),
        ("deploy.prune", "shop", "--env", "live", "--keep", "-1"),
        ("deploy.logs", "chop", "--env", "live"),
        ("deploy.logs", "shop", "--env", "live", "--lines", "-1"),
        ("deploy.bootstrap", "--env", "live", "--accept", "SHA256:x"),
        ("deploy.rollout", "shop==1.0.0", "--env", "live", "--host", "h4"),
        ("deploy.status", "--env", "live", "--group", "web"),
    ],
)
def test_wrong_usage_exits_2_and_touches_nothing(world: World, run: Run, words: tuple[str, ...]) -> None:
    assert run(*words) == 2
    assert world.hosts.asked == []


def test_a_fleet_of_one_host_says_so(world: World, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    alone = world.environment.but(hosts={"h1": Host(variables={"port": "1"})})
    environments = {"live": alone}
    world.loaded = replace(world.loaded, config=world.loaded.config.but(environments=environments))
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 0
    assert "runs on 1 host" in capsys.readouterr().err


def test_a_command_after_two_dashes_runs_word_for_word_and_its_lines_have_names(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deploy.rollout", "shop==1.0.0", "--env", "live") == 0
    capsys.readouterr()
    world.hosts["h2"].exit_code = 3
    assert run("deploy.run", "shop", "--env", "live", "--host", "h2", "--", "shop", "--help", "two words") == 3
    out, _ = capsys.readouterr()
    assert out == "h2 | hello from the command\n"
    assert world.hosts["h2"].ran == [("shop", "--help", "two words")]
    assert run("deploy.run", "shop", "--env", "live", "--command", "shop 'two words'", "--json") == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [(each["name"], each["exit"]) for each in document["hosts"]] == [("h1", 0), ("h2", 3), ("h3", 0)]
    assert document["command"] == ["shop", "two words"]
    assert "h1 | hello from the command" in err


def test_a_command_that_cannot_run_somewhere_says_why(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deploy.run", "shop", "--env", "live", "--host", "h1", "--", "true") == 1
    _, err = capsys.readouterr()
    assert "h1: failed: it does not run here" in err
    assert "remedy: roll it out" in err
    assert run("deploy.run", "shop", "--env", "live") == 2
    assert run("deploy.run", "shop", "--env", "live", "--command", "'half") == 2


@pytest.mark.parametrize("words", [("deploy.status", "--application", "shp"), ("deploy.prune", "shp", "--check")])
def test_an_application_that_nobody_knows_is_no_application_in_order(
    world: World, run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(*words, "--env", "live") == 2
    assert "did you mean shop?" in capsys.readouterr().err


def test_an_application_that_hosts_still_have_is_shown_when_the_configuration_has_it_no_more(
    world: World, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("deploy.rollout", "shop==1.0.0", "--env", "live")
    world.loaded = replace(world.loaded, config=world.loaded.config.but(applications={}))
    capsys.readouterr()
    assert run("deploy.status", "--env", "live", "--application", "shop") == 0
    assert "shop: 1.0.0 on 3 hosts" in capsys.readouterr().out
