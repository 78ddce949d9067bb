"""The runner as a child process over pipes, against a real supervisord: whatever happens, a host is fully old or
fully new, and the journal says which."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import BareHost, bare_host, wait_until

from pinwheel.deploy.host import files, runner
from pinwheel.deploy.host.wire import Wire

OLD, NEW = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BareHost]:
    with bare_host(tmp_path) as made:
        yield made


@pytest.fixture
def running(host: BareHost) -> BareHost:
    """A host on which OLD runs."""
    assert host.do("activate", host.activation(OLD, None))["outcome"] == "activated"
    return host


def release(host: BareHost, name: str) -> dict[str, Any]:
    (found,) = (each for each in host.facts()["releases"] if each["release"] == name)
    return dict(found)


def assert_old_runs(host: BareHost) -> None:
    """Fully old: journal, conf, supervisor and visitors agree."""
    facts = host.facts()
    assert (facts["current"], facts["in_doubt"], facts["drift"]) == (OLD, False, False)
    assert host.conf_file.read_text() == host.conf(OLD)
    assert [each["state"] for each in facts["processes"]] == ["RUNNING"]
    assert "good at" in host.answer()
    assert (host.root / "apps/shop/current").readlink() == Path("releases") / OLD
    assert sorted(each.name for each in host.conf_dir.iterdir()) == ["pinwheel-shop.conf"]


def test_the_first_release_runs(host: BareHost) -> None:
    result = host.activate(OLD, None)
    assert (result["outcome"], result["reason"]) == ("activated", "")
    assert result["processes"][0]["pid"] == host.pid()
    assert_old_runs(host)
    assert host.journal() == ["begin", "commit"]
    assert release(host, OLD)["verdict"] == "good"
    assert release(host, OLD)["activated_at"]


def test_the_next_release_takes_its_place(running: BareHost) -> None:
    before = running.pid()
    assert running.activate(NEW, OLD)["outcome"] == "activated"
    facts = running.facts()
    assert (facts["current"], facts["drift"]) == (NEW, False)
    assert running.pid() != before


def test_what_runs_already_goes_on(running: BareHost) -> None:
    before = running.pid()
    result = running.activate(OLD, OLD)
    assert result["outcome"] == "unchanged"
    assert running.pid() == before
    assert running.journal() == ["begin", "commit"]


@pytest.mark.slow
def test_a_release_that_runs_but_does_not_answer_is_started_again(running: BareHost) -> None:
    """The wished-for conf is there, and its process hangs: nothing else would bring it back."""
    before = running.pid()
    os.kill(before, signal.SIGSTOP)
    assert running.activate(OLD, OLD, timeout_s=0.5, deadline_s=3.0)["outcome"] == "activated"
    assert running.pid() != before


@pytest.mark.slow
def test_what_holds_a_programs_environment_is_readable_by_its_owner_only(running: BareHost) -> None:
    """Also the journal, and also one that an older runner has made; supervisor's file, too, while it is replaced."""
    journal = running.root / "apps/shop/journal.jsonl"
    journal.chmod(0o644)
    body = running.activation(NEW, OLD, "sick", deadline_s=5.0)
    body["conf"] += 'environment=PASSWORD="very-secret"\n'
    work = running.start("activate", body)
    wait_until(lambda: "sick" in running.answer(), "the new release")
    held = {each: each.stat().st_mode & 0o777 for each in holding(running, b"very-secret")}
    assert held == dict.fromkeys((journal, running.conf_file), 0o600)
    work.close_stdin()
    work.end()
    body["conf"] = running.conf(NEW) + 'environment=PASSWORD="very-secret"\n'
    assert running.ask("activate", body)["outcome"] == "activated"
    held = {each: each.stat().st_mode & 0o777 for each in holding(running, b"very-secret")}
    about = running.root / "apps/shop/releases" / NEW / "release.json"
    assert held == dict.fromkeys((journal, running.conf_file, about), 0o600)


def holding(host: BareHost, text: bytes) -> list[Path]:
    """The files of the host in which `text` stands."""
    every = [each for folder in (host.root, host.conf_dir) for each in folder.rglob("*")]
    return [each for each in every if each.is_file() and text in each.read_bytes()]


def test_a_crash_loop_goes_back_with_the_reason(running: BareHost) -> None:
    """And with its own log, whatever the other programs of the application write meanwhile."""
    body = running.activation(NEW, OLD, "crash", start_s=1)
    noise = f"/bin/sh -c 'while echo {'noise' * 99}; do sleep 0.1; done'"
    log = running.log.with_name("shop-worker.log")
    body["conf"] = body["conf"].replace("programs=shop-web", "programs=shop-web,shop-worker")
    body["conf"] += f"[program:shop-worker]\ncommand={noise}\nstartsecs=0\nkillasgroup=true\nstdout_logfile={log}\n"
    body["programs"] += [{**body["programs"][0], "name": "shop-worker", "processes": ["shop-worker"]}]
    result = running.ask("activate", body)
    assert result["outcome"] == "reverted"
    assert "FATAL" in result["reason"]
    assert "no database" in result["log_tail"]
    assert "noise" not in result["log_tail"]
    assert "service good starts" not in result["log_tail"], "lines of the old release are not evidence"
    assert_old_runs(running)
    assert release(running, NEW)["verdict"] == "bad"
    assert running.journal() == ["begin", "commit", "begin", "reverted"]


@pytest.mark.slow
def test_a_command_that_is_not_there_goes_back_with_supervisors_words(running: BareHost) -> None:
    """It leaves no log: what could not be started has written none."""
    body = running.activation(NEW, OLD, start_s=1)
    body["conf"] = body["conf"].replace("command=", "command=/nowhere/shop ")
    result = running.ask("activate", body)
    assert (result["outcome"], result["program"], result["log_tail"]) == ("reverted", "shop-web", "")
    assert "can't find command '/nowhere/shop'" in result["reason"]
    assert_old_runs(running)


def test_a_release_that_answers_500_goes_back_with_what_it_said(running: BareHost) -> None:
    result = running.activate(NEW, OLD, "sick", deadline_s=1.5)
    assert result["outcome"] == "reverted"
    assert "not healthy after 1.5 s" in result["reason"]
    assert result["program"] == "shop-web"
    assert "500 Oh" in result["probe"]
    assert "sick at" in result["probe"]
    assert_old_runs(running)


@pytest.mark.slow
def test_a_release_that_dies_after_a_while_goes_back(running: BareHost) -> None:
    """It passes every probe for 0.6 s, again and again, and never lives for the second that is asked."""
    result = running.activate(NEW, OLD, "shortlived", min_healthy_s=1.0, deadline_s=2.5)
    assert result["outcome"] == "reverted"
    assert_old_runs(running)


@pytest.mark.slow
def test_without_an_earlier_release_the_group_is_removed(host: BareHost) -> None:
    result = host.activate(OLD, None, "sick", deadline_s=0.5)
    assert result["outcome"] == "removed"
    facts = host.facts()
    assert (facts["current"], facts["conf"], facts["processes"]) == (None, None, [])
    assert host.activate(NEW, None)["outcome"] == "activated"


@pytest.mark.slow
def test_an_unhealthy_old_release_is_told(running: BareHost) -> None:
    """What it goes back to does not pass its gate either: its stored health asks for the impossible."""
    file = running.root / "apps/shop/releases" / OLD / "release.json"
    about = json.loads(file.read_text())
    about["programs"][0]["health"] |= {"http": "", "command": ["/bin/false"], "deadline_s": 0.5}
    file.write_text(json.dumps(about))
    result = running.activate(NEW, OLD, "sick", deadline_s=0.5)
    assert result["outcome"] == "revert-unhealthy"
    assert running.facts()["current"] == OLD


@pytest.mark.slow
def test_a_conf_that_supervisor_refuses_stops_nothing(running: BareHost) -> None:
    before = running.pid()
    body = running.activation(NEW, OLD)
    body["conf"] += "startsecs=soon\n"
    result = running.ask("activate", body)
    assert result["outcome"] == "reverted"
    assert "soon" in result["reason"]
    assert running.pid() == before
    assert_old_runs(running)


@pytest.mark.slow
@pytest.mark.parametrize("deadline_s", [float("nan"), float("inf"), 0, -1.0])
def test_a_deadline_that_never_comes_is_refused_before_anything_stops(running: BareHost, deadline_s: float) -> None:
    before = running.pid()
    error = running.activate(NEW, OLD, deadline_s=deadline_s)
    assert (error["code"], error["where"]) == ("bad-request", "shop-web")
    assert running.pid() == before
    assert_old_runs(running)
    assert running.journal() == ["begin", "commit"]


@pytest.mark.slow
def test_the_same_release_with_another_conf_is_never_marked_bad(running: BareHost) -> None:
    result = running.ask("activate", running.activation(OLD, OLD, "sick", deadline_s=0.5))
    assert result["outcome"] == "reverted"
    assert_old_runs(running)
    assert release(running, OLD)["verdict"] == "good"


def test_a_rollback_needs_only_the_name(running: BareHost) -> None:
    running.activate(NEW, OLD)
    assert running.back(OLD, NEW)["outcome"] == "activated"
    assert_old_runs(running)


def test_a_release_that_never_ran_cannot_be_gone_back_to(running: BareHost) -> None:
    running.add_release(NEW)
    assert running.back(NEW, OLD)["code"] == "not-prepared"
    assert running.back("0.9-cccccccc", OLD)["code"] == "not-prepared"
    assert_old_runs(running)


# --- the controller goes away


def test_the_end_of_input_before_the_commit_goes_back(running: BareHost) -> None:
    work = running.start("activate", running.activation(NEW, OLD, "sick"))
    wait_until(lambda: "sick" in running.answer(), "the new release")
    work.close_stdin()
    result = work.end()
    assert (result["outcome"], result["reason"]) == ("reverted", "the controller went away before the commit")
    assert_old_runs(running)
    assert release(running, NEW)["verdict"] == "prepared", "nobody knows whether it is bad"


@pytest.mark.slow
def test_a_lost_connection_goes_back_without_anybody_to_tell(running: BareHost) -> None:
    work = running.start("activate", running.activation(NEW, OLD, "sick"))
    wait_until(lambda: "sick" in running.answer(), "the new release")
    work.hang_up()
    work.wait()
    assert_old_runs(running)
    assert running.journal()[-1] == "reverted"


@pytest.mark.slow
def test_sigterm_goes_back_and_sighup_is_nothing(running: BareHost) -> None:
    work = running.start("activate", running.activation(NEW, OLD, "sick"))
    wait_until(lambda: "sick" in running.answer(), "the new release")
    os.kill(work.pid, signal.SIGHUP)
    os.kill(work.pid, signal.SIGPIPE)
    os.kill(work.pid, signal.SIGTERM)
    assert work.end()["outcome"] == "reverted"
    assert_old_runs(running)


def test_the_end_of_input_after_the_commit_changes_nothing(running: BareHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, so that it comes at exactly that moment."""
    aborted = threading.Event()
    record = runner.Application.record

    def and_then_nothing(app: runner.Application, event: str, **fields: Any) -> dict[str, Any]:
        done = record(app, event, **fields)
        if event == "commit":
            aborted.set()
        return done

    monkeypatch.setattr(runner.Application, "record", and_then_nothing)
    assert running.do("activate", running.activation(NEW, OLD), aborted)["outcome"] == "activated"
    assert aborted.is_set()
    assert running.facts()["current"] == NEW
    assert running.facts()["processes"][0]["state"] == "RUNNING"


# --- the runner, or the power, goes away


def kill_in_the_middle(host: BareHost) -> None:
    """The new release already runs, and was not committed."""
    work = host.start("activate", host.activation(NEW, OLD, "sick"))
    wait_until(lambda: "sick" in host.answer(), "the new release")
    work.kill()


@pytest.mark.slow
def test_what_was_cut_off_is_in_doubt_and_the_next_action_goes_back(running: BareHost) -> None:
    kill_in_the_middle(running)
    facts = running.facts()
    assert (facts["in_doubt"], facts["current"]) == (True, OLD)
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    assert_old_runs(running)
    assert release(running, NEW)["verdict"] == "prepared"
    assert running.journal() == ["begin", "commit", "begin", "reverted"]


@pytest.mark.slow
def test_at_whatever_moment_it_is_cut_off_the_host_ends_up_old_or_new(running: BareHost) -> None:
    """Forty moments of two kinds of end; the next action of any kind settles what is open."""
    moments = random.Random(20)
    for _ in range(40):
        old = running.facts()["current"]
        new, mode = NEW if old == OLD else OLD, moments.choice(["good", "good", "sick"])
        work = running.start("activate", running.activation(new, old, mode, deadline_s=0.5, min_healthy_s=0.3))
        time.sleep(moments.uniform(0.1, 1.3))
        if moments.choice([True, False]):
            work.kill()
        else:
            work.hang_up()
            work.wait()
        told = running.facts()["current"]
        assert running.ask("prepare", {"application": "shop", "release": told, "superfluous": []})["created"] is False
        facts = running.facts()
        assert (facts["current"], facts["in_doubt"], facts["drift"]) == (told, False, False)
        assert [each["state"] for each in facts["processes"]] == ["RUNNING"]
        assert "good at" in running.answer()
        assert told in running.conf_file.read_text()


@pytest.mark.slow
def test_what_was_cut_off_goes_back_before_another_release_comes(running: BareHost) -> None:
    kill_in_the_middle(running)
    assert running.activate("1.2.0-cccccccc", OLD)["outcome"] == "activated"
    assert running.journal()[-4:] == ["begin", "reverted", "begin", "commit"]


@pytest.mark.slow
@pytest.mark.parametrize("saved", [True, False], ids=["before the rename", "after the rename"])
def test_a_cut_between_the_journal_and_the_conf_goes_back(running: BareHost, saved: bool) -> None:
    """`begin` is written and nothing else happened; or going back was itself cut off after its rename."""
    app = runner.Application(runner.Job(running.request("facts", {}), Wire(-1), threading.Event()), "shop")
    body = running.activation(NEW, OLD)
    entry = {"rollout": "r0", "release": NEW, "previous": OLD, "saved": True}
    if saved:
        files.replace_file(app.saved_conf, running.conf_file.read_text())
        running.conf_file.write_text(body["conf"])
    app.record("begin", **entry, conf=body["conf"], programs=body["programs"])
    before = running.pid()
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    assert running.pid() == before, "what had not been stopped goes on"
    assert_old_runs(running)


def test_a_cut_right_after_the_commit_is_completed(running: BareHost) -> None:
    (running.root / "apps/shop/current").unlink()
    file = running.root / "apps/shop/releases" / OLD / "release.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "verdict": "prepared", "activated_at": None}))
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    assert release(running, OLD)["verdict"] == "good"
    assert_old_runs(running)


def test_a_torn_last_line_of_the_journal_was_never_acted_upon(running: BareHost) -> None:
    with (running.root / "apps/shop/journal.jsonl").open("a") as journal:
        journal.write('{"event": "begin", "rel')
    assert running.facts()["current"] == OLD
    assert running.activate(NEW, OLD)["outcome"] == "activated"
    assert running.facts()["current"] == NEW


@pytest.mark.slow
def test_a_host_whose_supervisor_is_gone_says_so(running: BareHost) -> None:
    kill_in_the_middle(running)
    running.stop_supervisor()
    error = running.activate(OLD, OLD)
    assert error["code"] == "in-doubt"
    running.start_supervisor()
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    assert_old_runs(running)


# --- the disk is full


def full(number: int = errno.ENOSPC) -> OSError:
    return OSError(number, os.strerror(number), "/srv")


@pytest.mark.slow
def test_a_full_disk_at_the_commit_brings_the_old_release_back(
    running: BareHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the commit nor the way back can be written down; it goes back all the same, which takes no space."""
    record = runner.Application.record

    def first_only(app: runner.Application, event: str, **fields: Any) -> dict[str, Any]:
        if event != "begin":
            raise full()
        return record(app, event, **fields)

    monkeypatch.setattr(runner.Application, "record", first_only)
    with pytest.raises(OSError, match="No space left"):
        running.do("activate", running.activation(NEW, OLD))
    monkeypatch.undo()
    assert running.conf_file.read_text() == running.conf(OLD)
    assert "good at" in running.answer()
    assert running.facts()["in_doubt"]
    before = running.pid()
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    assert running.pid() == before
    assert_old_runs(running)
    assert release(running, NEW)["verdict"] == "prepared", "it was no fault of the release"


@pytest.mark.slow
def test_a_full_disk_after_the_commit_makes_no_failure_of_it(
    running: BareHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows from the commit is written down by the next action."""

    def not_now(release: runner.Virtualenv, **changes: Any) -> None:
        raise full()

    monkeypatch.setattr(runner.Virtualenv, "note", not_now)
    assert running.do("activate", running.activation(NEW, OLD))["outcome"] == "activated"
    monkeypatch.undo()
    assert running.facts()["current"] == NEW
    before = running.pid()
    assert running.activate(NEW, NEW)["outcome"] == "unchanged"
    assert running.pid() == before
    assert release(running, NEW)["verdict"] == "good"


def test_a_full_disk_at_the_conf_leaves_the_old_one_as_it_is(
    running: BareHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, before = files.replace_file, running.pid()

    def not_this_one(file: Path, data: str | bytes, mode: int = 0o600) -> None:
        if file == running.conf_file:
            raise full()
        replace(file, data, mode)

    monkeypatch.setattr(runner, "replace_file", not_this_one)
    with pytest.raises(OSError, match="No space left"):
        running.do("activate", running.activation(NEW, OLD))
    assert running.pid() == before
    assert_old_runs(running)


@pytest.mark.root
@pytest.mark.parametrize("place", ["conf.d", "srv/apps", "srv/state"])
def test_a_really_full_disk_is_told_and_changes_nothing(running: BareHost, place: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = running.root.parent / place
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder), check=True)
    try:
        shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
        running.add_release(NEW)
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(b"x" * 4096) == 4096:
                pass
        before, running.fence = running.pid(), 5
        body = running.activation(NEW, OLD)
        body["conf"] += "; a longer text\n" * 1000
        error = running.ask("activate", body)
        assert error["code"] == "no-space", error
        assert running.pid() == before
        (folder / "ballast").unlink()
        assert_old_runs(running)
        assert running.activate(NEW, OLD)["outcome"] == "activated"
    finally:
        running.stop_supervisor()
        subprocess.run(("umount", folder), check=True)


# --- other people


BROKEN = {
    "no section": "hello\n",
    "no command": "[program:other]\nautostart=true\n",
    "bad value": "[program:other]\ncommand=/bin/true\nstartsecs=soon\n",
    "not text": b"\xff\xfe\x00[program",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_somebody_elses_broken_file_refuses_before_anything_stops(running: BareHost, text: str | bytes) -> None:
    file = running.conf_dir / "other.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = running.pid()
    about: dict[str, Any] = {"application": "shop", "release": NEW, "superfluous": [], "secrets": None}
    for error in (running.ask("prepare", about), running.activate(NEW, OLD)):
        assert error["code"] == "foreign-conf"
        assert str(file) in error["where"] + error["problem"]
        assert "\n" not in error["problem"]
        assert error["remedy"]
    assert running.pid() == before
    assert running.ask("prepare", {**about, "release": OLD})["type"] == "result", "nothing is to stop there"
    file.unlink()
    assert_old_runs(running)


@pytest.mark.slow
def test_other_peoples_edits_are_not_applied(running: BareHost) -> None:
    """`supervisorctl update` would start the one and restart the other."""
    kept = running.conf_dir / "kept.conf"
    kept.write_text("[program:kept]\ncommand=/bin/sleep 1000\nstartsecs=0\n")
    running.supervisor.call("reloadConfig")
    running.supervisor.call("addProcessGroup", "kept")
    wait_until(lambda: running.supervisor.processes("kept")[0]["pid"] > 0)
    before = running.supervisor.processes("kept")[0]["pid"]
    kept.write_text("[program:kept]\ncommand=/bin/sleep 2000\n")
    (running.conf_dir / "added.conf").write_text("[program:added]\ncommand=/bin/sleep 1000\n")
    assert running.activate(NEW, OLD)["outcome"] == "activated"
    assert running.supervisor.processes("added") == []
    assert running.supervisor.processes("kept")[0]["pid"] == before


def test_somebody_elses_group_of_the_same_name_is_not_touched(host: BareHost) -> None:
    (host.conf_dir / "theirs.conf").write_text("[program:shop]\ncommand=/bin/sleep 1000\n")
    error = host.activate(OLD, None)
    assert error["code"] == "foreign-conf"
    assert not host.conf_file.exists()


def test_a_host_that_has_moved_refuses(running: BareHost) -> None:
    error = running.activate(NEW, None)
    assert error["code"] == "moved"
    assert OLD in error["problem"]
    assert_old_runs(running)


def test_an_older_token_is_fenced_and_the_highest_is_kept(running: BareHost) -> None:
    running.fence = 7
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    running.fence = 6
    error = running.activate(NEW, OLD)
    assert error["code"] == "fenced"
    assert "7" in error["problem"]
    assert running.ask("facts", {})["fence"] == {"live": 7}
    assert_old_runs(running)


TELLS_WHAT_IS_SYNCED = """
import os
synced, fsync, send = set(), os.fsync, Wire.send

def noted(descriptor):
    fsync(descriptor)
    about = os.fstat(descriptor)
    synced.add((about.st_ino, about.st_mtime_ns))

def telling(self, kind, **fields):
    send(self, kind, **fields, **({"synced": sorted(synced)} if kind == "result" else {}))

os.fsync, Wire.send = noted, telling
"""


@pytest.mark.slow
@pytest.mark.parametrize("health", ["healthy", "sick"])
def test_everything_is_on_the_disk_before_it_is_reported(running: BareHost, health: str) -> None:
    running.sources["wire"] += TELLS_WHAT_IS_SYNCED
    running.fence = 7
    answer = running.ask("activate", running.activation(NEW, OLD, health, deadline_s=0.5))
    assert answer["outcome"] == ("activated" if health == "healthy" else "reverted")
    application = running.root / "apps/shop"
    files = [application / "journal.jsonl", application / "releases" / NEW / "release.json", running.conf_file]
    files.append(running.root / "state/fence.json")
    folders = {each.parent for each in files} - {application}  # a journal is there already
    synced = {tuple(each) for each in answer["synced"]}
    if health == "sick":  # the old conf is back by a rename
        files.remove(running.conf_file)
    else:  # at last the saved one is removed, and may come back
        folders.remove(running.conf_file.parent)
    assert [each for each in (*files, *folders) if (each.stat().st_ino, each.stat().st_mtime_ns) not in synced] == []


@contextlib.contextmanager
def holding_the_lock(host: BareHost) -> Iterator[None]:
    with (host.root / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("pid 4711, rollout r9\n")
        lock.flush()
        yield


def test_one_action_at_a_time(running: BareHost) -> None:
    running.hasten(runner, "LOCK_S", 0.1)
    with holding_the_lock(running):
        error = running.activate(NEW, OLD)
        assert running.facts()["current"] == OLD, "facts need no lock"
    assert error["code"] == "locked"
    assert error["where"] == "pid 4711, rollout r9"
    assert running.activate(NEW, OLD)["outcome"] == "activated"


# --- what it says


@pytest.mark.slow
def test_it_beats_while_it_works(running: BareHost) -> None:
    running.hasten(runner, "HEARTBEAT_S", 0.05)
    work = running.start("activate", running.activation(NEW, OLD, "sick", deadline_s=0.5))
    assert work.hear("heartbeat")
    assert work.end()["outcome"] == "reverted"
