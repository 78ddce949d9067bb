"""Two generations side by side, on a real supervisord: who visits never notices, and what is cut off ends as one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.bare import SERVICE, BareHost, wait_until
from tests.deploy.beside import BesideHost, Visitors, beside_host

from pinwheel.config import Rollout
from pinwheel.deploy.host import runner
from pinwheel.deploy.host.supervisord import Misconfigured, Refusal, Supervisor
from pinwheel.deploy.planning import facts
from pinwheel.deploy.planning.plan import Plan, plan
from pinwheel.deploy.planning.wish import Delivery, Wish

OLD, NEW, NEWER = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb", "1.2.0-cccccccc"

WORKS = "import time; time.sleep(1000)"


@pytest.fixture
def host() -> Iterator[BesideHost]:
    with beside_host(BesideHost) as made:
        yield made


@pytest.fixture
def running(host: BesideHost) -> BesideHost:
    """A host on which OLD runs."""
    assert host.do("activate", host.activation(OLD, None))["outcome"] == "activated"
    return host


def assert_it_alone_runs(host: BesideHost, release: str) -> None:
    """Fully: journal, conf, supervisor and visitors agree, and of the other generation nothing is left."""
    here = host.facts()
    assert (here["current"], here["in_doubt"], here["drift"]) == (release, False, False)
    colour = here["colour"]
    assert [each["state"] for each in here["processes"]] == ["RUNNING"] * (2 if host.worker else 1)
    groups = {each.partition(":")[0] for each in host.pids()}
    assert groups == {f"shop@{colour}", *(["shop"] if host.worker else [])}
    assert host.ask_front_door() == f"good {release}"
    files = {f"pinwheel-shop@{colour}.conf", *(["pinwheel-shop.conf"] if host.worker else [])}
    assert {each.name for each in host.conf_dir.iterdir()} == files
    assert (host.root / "apps/shop/current").readlink() == Path("releases") / release


def test_the_next_release_takes_over_without_a_failed_request(running: BesideHost) -> None:
    before = running.pids()
    with Visitors(running.ask_front_door) as visitors:
        assert running.do("activate", running.activation(NEW, OLD))["outcome"] == "activated"
    assert visitors.failures == []
    assert {visitors.answers[0], visitors.answers[-1]} == {f"good {OLD}", f"good {NEW}"}
    assert not before.keys() & running.pids().keys(), "it runs in the other colour"
    assert_it_alone_runs(running, NEW)


def test_nobody_ever_sees_a_broken_release_and_the_old_one_goes_on_untouched(running: BesideHost) -> None:
    before = running.pids()
    with Visitors(running.ask_front_door) as visitors:
        result = running.do("activate", running.activation(NEW, OLD, "sick", deadline_s=0.5))
    assert (result["outcome"], result["program"]) == ("reverted", "shop-web")
    assert visitors.failures == []
    assert set(visitors.answers) == {f"good {OLD}"}
    assert running.pids() == before
    assert_it_alone_runs(running, OLD)
    assert running.journal() == ["begin", "commit", "begin", "reverted"]


def test_the_end_of_input_before_the_commit_leaves_the_old_one_untouched(running: BesideHost) -> None:
    before, aborted = running.pids(), threading.Event()
    aborted.set()
    with pytest.raises(Refusal, match="controller went away"):
        running.do("activate", running.activation(NEW, OLD), aborted)
    work = running.start("activate", running.activation(NEW, OLD, "sick"))
    wait_until(lambda: len(running.pids()) == 2, "the new generation")
    work.close_stdin()
    assert work.end()["reason"] == "the controller went away before the commit"
    assert running.pids() == before
    assert_it_alone_runs(running, OLD)


def test_what_runs_in_a_colour_is_as_wished_and_a_host_without_its_link_is_not(running: BesideHost) -> None:
    def planned() -> Plan:
        known = {"h1": dataclasses.replace(facts.parse("h1", running.do("facts", {})), ready=True)}
        delivery = Delivery({"h1": running.setup(OLD)})
        return plan(Wish("shop", "shop", "1.0.0", OLD, delivery), known, Rollout())

    (host,) = planned().hosts
    assert (host.activate, host.conf_diff, host.why) == (None, "", "already as wished")
    running.front_door.parent.parent.unlink()
    (host,) = planned().hosts
    assert host.activate is not None
    assert running.do("activate", running.activation(OLD, OLD))["outcome"] == "unchanged"
    assert_it_alone_runs(running, OLD)


@pytest.mark.slow
def test_a_rollback_fails_no_request_either(running: BesideHost) -> None:
    running.do("activate", running.activation(NEW, OLD))
    with Visitors(running.ask_front_door) as visitors:
        assert running.back(OLD, NEW)["outcome"] == "activated"
    assert visitors.failures == []
    assert_it_alone_runs(running, OLD)


@pytest.mark.slow
def test_what_runs_already_goes_on_and_what_does_not_answer_is_replaced(running: BesideHost) -> None:
    before = running.pids()
    assert running.do("activate", running.activation(OLD, OLD))["outcome"] == "unchanged"
    assert running.pids() == before
    os.kill(next(iter(before.values())), signal.SIGSTOP)
    body = running.activation(OLD, OLD, timeout_s=0.5, deadline_s=3.0)
    assert running.do("activate", body)["outcome"] == "activated"
    assert_it_alone_runs(running, OLD)


@pytest.mark.slow
def test_without_an_earlier_release_nothing_is_left(host: BesideHost) -> None:
    assert host.do("activate", host.activation(OLD, None, "sick", deadline_s=0.5))["outcome"] == "removed"
    assert (host.pids(), list(host.conf_dir.iterdir()), host.front_door.exists()) == ({}, [], False)
    assert host.do("activate", host.activation(NEW, None))["outcome"] == "activated"


@pytest.mark.slow
def test_a_request_that_has_begun_is_answered_by_the_old_release(running: BesideHost) -> None:
    """Its server hangs up on everybody when it is told to end: nobody was connected any more."""
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(running.ask_front_door("/slow")), daemon=True)
    slow.start()
    assert running.do("activate", running.activation(NEW, OLD))["outcome"] == "activated"
    slow.join(20)
    assert answers == [f"good {OLD}"]


@pytest.mark.slow
def test_a_check_is_not_needed_to_know_whether_it_accepts(running: BesideHost) -> None:
    assert running.do("activate", running.activation(NEW, OLD, http=""))["outcome"] == "activated"
    body = running.activation(NEWER, NEW, "crash", http="", deadline_s=1.0)
    assert running.do("activate", body)["outcome"] == "reverted"
    assert_it_alone_runs(running, NEW)


@pytest.mark.slow
def test_the_socket_belongs_to_the_programs_user(host: BesideHost) -> None:
    if os.geteuid() != 0:
        pytest.skip("to be another user needs root")
    host.interpreter = shutil.which("python3", path="/usr/bin") or pytest.skip("others may not use this Python")
    body = host.activation(OLD, None)
    for each in body["colours"].values():
        each["programs"][0]["user"] = "nobody"
        each["conf"] += "user=nobody\n"
    for folder in (host.root, *host.root.rglob("*"), host.root.parent):
        folder.chmod(0o755)
    assert host.do("activate", body)["outcome"] == "activated"
    assert host.front_door.owner() == "nobody"
    body["colours"]["green"]["programs"][0]["user"] = "nobody-at-all"
    body |= {"release": NEW, "expected_current": OLD}
    host.add_release(NEW)
    result = host.do("activate", body)
    assert (result["outcome"], "nobody-at-all" in result["reason"]) == ("reverted", True)


# --- programs with and without


@pytest.mark.slow
def test_workers_are_switched_when_the_web_is_healthy(running: BesideHost) -> None:
    running.worker = WORKS
    with Visitors(running.ask_front_door) as visitors:
        assert running.do("activate", running.activation(NEW, OLD))["outcome"] == "activated"
        before = running.pids()
        result = running.do("activate", running.activation(NEWER, NEW, "sick", deadline_s=0.5))
        assert result["outcome"] == "reverted"
        assert running.pids() == before, "a web that is not healthy costs no worker"
        running.worker_check = ("false",)
        result = running.do("activate", running.activation(NEWER, NEW, deadline_s=3.0))
        assert (result["outcome"], result["program"]) == ("reverted", "shop-worker")
    assert visitors.failures == []
    assert f"good {NEWER}" not in visitors.answers, "it was never committed"
    same = {key for key, pid in running.pids().items() if before[key] == pid}
    assert {key.partition(":")[2] for key in same} == {"shop-web"}
    assert_it_alone_runs(running, NEW)


@pytest.mark.slow
def test_a_restart_fails_no_request_and_leaves_alone_who_was_not_meant(running: BesideHost) -> None:
    running.worker = WORKS
    running.do("activate", running.activation(NEW, OLD))
    again = {"application": "shop", "release": NEW, "expected_current": NEW, "conf": None, "programs": None}

    def worker() -> int:
        return running.pids()["shop:shop-worker"]

    with Visitors(running.ask_front_door) as visitors:
        before = running.pids()
        assert running.do("activate", {**again, "restart": "shop-web"})["outcome"] == "activated"
        assert worker() == before["shop:shop-worker"]
        web = running.pids().items() - {("shop:shop-worker", worker())}
        assert running.do("activate", {**again, "restart": "shop-worker"})["outcome"] == "activated"
        assert worker() != before["shop:shop-worker"]
        assert web <= running.pids().items()
        before = running.pids()
        assert running.do("activate", {**again, "restart": ""})["outcome"] == "activated"
        assert not {*before.values()} & {*running.pids().values()}
    assert visitors.failures == []
    assert_it_alone_runs(running, NEW)


@pytest.mark.slow
def test_an_application_comes_from_ordinary_mode_and_goes_back_to_it(host: BesideHost) -> None:
    ordinary = BareHost.activation(host, OLD, None)
    (host.root / "apps/shop/releases" / OLD / "service.py").write_text(SERVICE)
    assert host.do("activate", ordinary)["outcome"] == "activated"
    assert host.do("activate", host.activation(NEW, OLD, "sick", deadline_s=0.5))["outcome"] == "reverted"
    assert "good at" in host.answer()

    def asked_by_a_proxy_whose_second_choice_is_the_port() -> str:
        with contextlib.suppress(OSError):
            return host.ask_front_door()
        if "good at" not in (answer := host.answer()):
            raise ConnectionError(answer)
        return answer

    with Visitors(asked_by_a_proxy_whose_second_choice_is_the_port) as visitors:
        assert host.do("activate", host.activation(NEW, OLD))["outcome"] == "activated"
        assert_it_alone_runs(host, NEW)
        assert host.back(OLD, NEW)["outcome"] == "activated"
    assert visitors.failures == []
    assert ["good at" in each for each in (visitors.answers[0], visitors.answers[-1])] == [True, True]
    assert f"good {NEW}" in visitors.answers
    assert "good at" in host.answer()
    assert list(host.pids()) == ["shop:shop-web"]
    assert not host.front_door.exists()
    assert [each.name for each in host.conf_dir.iterdir()] == ["pinwheel-shop.conf"]


# --- the runner, or the power, goes away

MOMENTS = {
    "begun": "app.sockets.make_room(",
    "room made": "replace_file(app.file(colour), conf)",
    "conf written": "app.supervisor.apply(group, True, True",
    "started": "return gate(programs, lambda: app.supervisor",
    "web healthy": "before = read_text(app.conf_file)\n    replace_file(app.conf_file, setup.conf)",
    "workers' conf written": "app.supervisor.apply(app.name, True, restart",
    "all started": "return watch(app, colour, setup.all_programs(colour), app.job.aborted)\n\n\ndef watch",
    "healthy": 'app.record("commit", **entry)',
    "committed": "settle(app)\n    return verdict",
    "led to": 'last, begin = app.last(), app.last("begin")\n    if last and begin and last["event"]',
    "written down": 'last, begin = app.last(), app.last("begin")\n    if not (last',
    "before the old one is drained": "app.sockets.drain(",
    "before the old one ends": "app.supervisor.apply(app.group(colour), False, False",
    "the old one has ended": "app.file(colour).unlink()\n",
}
"""Lines of the runner before which it dies."""


def cut(host: BesideHost, moment: str, new: str, old: str) -> None:
    """Activate `new`, and kill the runner at a moment of it."""
    whole, line = host.sources["runner"], MOMENTS[moment]
    assert whole.count(line) == 1, line
    indent = whole[: whole.index(line)].rpartition("\n")[2]
    # not in the replay at its start, which takes the same ways
    death = f'if (app.last() or {{}}).get("release") == "{new}":\n{indent}    os.kill(os.getpid(), signal.SIGKILL)'
    host.sources["runner"] = whole.replace(line, f"{death}\n{indent}{line}")
    work = host.start("activate", host.activation(new, old))
    assert work.wait() == -signal.SIGKILL
    host.sources["runner"] = whole


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_at_whatever_moment_the_runner_dies_nobody_notices_and_one_generation_is_left(
    running: BesideHost, moment: str
) -> None:
    running.worker = WORKS
    running.do("activate", running.activation(NEW, OLD))
    before = running.pids()
    with Visitors(running.ask_front_door) as visitors:
        cut(running, moment, NEWER, NEW)
        told = running.facts()["current"]
        assert running.do("prepare", {"application": "shop", "release": told, "superfluous": []})["created"] is False
    assert visitors.failures == []
    assert told == (NEWER if list(MOMENTS).index(moment) > list(MOMENTS).index("healthy") else NEW)
    if told == NEW:
        assert f"good {NEWER}" not in visitors.answers, "it was never committed"
        assert {key: pid for key, pid in running.pids().items() if "@" in key}.items() <= before.items()
    assert_it_alone_runs(running, told)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["started", "all started", "committed", "led to", "before the old one ends"])
def test_after_a_power_loss_visitors_are_answered_before_anybody_has_come_and_one_generation_is_left(
    running: BesideHost, moment: str
) -> None:
    running.worker = WORKS
    running.do("activate", running.activation(NEW, OLD))
    cut(running, moment, NEWER, NEW)
    running.stop_supervisor()
    service = running.root / "apps/shop/releases" / NEWER / "service.py"
    service.write_text(f"import time; time.sleep(0.5)\n{service.read_text()}")  # up later than the one before
    running.start_supervisor()

    def answered() -> bool:
        try:
            return running.ask_front_door().startswith("good")
        except OSError:
            return False

    wait_until(answered, "an answer, with nobody to replay the journal")
    told = running.facts()["current"]
    with Visitors(running.ask_front_door) as visitors:
        assert running.do("prepare", {"application": "shop", "release": told, "superfluous": []})["created"] is False
    assert visitors.failures == []
    assert_it_alone_runs(running, told)


@pytest.mark.slow
def test_what_could_not_be_ended_is_told_and_ended_by_the_next_action(
    running: BesideHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = Supervisor.apply

    def not_this_one(self: Supervisor, group: str, wanted: bool, restart: bool, patience_s: float) -> None:
        if group == "shop@blue" and not wanted:
            raise Misconfigured("shop-web (pid 1) does not stop")
        apply(self, group, wanted, restart, patience_s)

    monkeypatch.setattr(Supervisor, "apply", not_this_one)
    result = running.do("activate", running.activation(NEW, OLD))
    assert (result["outcome"], "does not stop" in result["reason"]) == ("activated", True)
    monkeypatch.undo()
    assert len(running.pids()) == 2
    assert [each["program"] for each in running.facts()["processes"]] == ["shop-web"], "the one that is led to"
    assert running.do("activate", running.activation(NEW, NEW))["outcome"] == "unchanged"
    assert_it_alone_runs(running, NEW)


# --- other people, other versions


@pytest.mark.parametrize("section", ["group:shop@green", "program:shop-web@blue"])
def test_somebody_elses_section_of_our_name_is_refused_first(running: BesideHost, section: str) -> None:
    (running.conf_dir / "theirs.conf").write_text(f"[{section}]\ncommand=/bin/sleep 1000\nprograms=x\n")
    before = running.pids()
    with pytest.raises(Refusal) as refused:
        running.do("activate", running.activation(NEW, OLD))
    assert refused.value.code == "foreign-conf"
    assert running.pids() == before


def rewritten(host: BesideHost, **changes: object) -> None:
    """The journal as another version of pinwheel would have left it; None takes a field away."""
    journal = host.root / "apps/shop/journal.jsonl"
    records = [{**json.loads(line), **changes} for line in journal.read_text().splitlines()]
    gone = {key for key, value in changes.items() if value is None}
    kept = [{key: value for key, value in each.items() if key not in gone} for each in records]
    journal.write_text("".join(json.dumps(each) + "\n" for each in kept))


def test_the_journal_of_an_older_pinwheel_is_read(host: BesideHost) -> None:
    """Its records have no format, and know no colours."""
    body = BareHost.activation(host, OLD, None)
    (host.root / "apps/shop/releases" / OLD / "service.py").write_text(SERVICE)
    host.do("activate", body)
    rewritten(host, format=None, colours=None, colour=None, former_colour=None)
    about = host.root / "apps/shop/releases" / OLD / "release.json"
    known = json.loads(about.read_text())
    del known["colours"]
    about.write_text(json.dumps(known))
    here = host.facts()
    assert (here["current"], here["colour"], here["drift"]) == (OLD, "", False)
    assert host.do("activate", host.activation(NEW, OLD))["outcome"] == "activated"
    assert_it_alone_runs(host, NEW)


def test_a_host_that_a_newer_pinwheel_has_touched_is_left_alone_and_shown(running: BesideHost) -> None:
    rewritten(running, format=runner.FORMAT + 1)
    fence, before = running.root / "state/fence.json", running.pids()
    running.fence, held = 99, fence.read_text()
    with pytest.raises(Refusal, match="last touched by a newer pinwheel") as refused:
        running.do("activate", running.activation(NEW, OLD))
    assert refused.value.code == "unsupported"
    assert refused.value.remedy
    assert (fence.read_text(), running.pids()) == (held, before)
    here = running.facts()
    assert "newer pinwheel" in here["unsupported"]
    assert (here["current"], here["in_doubt"], here["drift"]) == (None, False, False)
    assert [each["state"] for each in here["processes"]] == ["RUNNING"]
