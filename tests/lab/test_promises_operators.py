"""Promises D4 and D6 on real hosts: an operator who dies, one who sleeps, and the one who takes over."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import APPLICATION, ENVIRONMENT, World, ended, pids, until, versions, world

from pinwheel import process

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = ("web-1", "web-2", "web-3", "web-4", "web-5")


@pytest.fixture(scope="module")
def desk(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(start_shared_lab(*NAMES), tmp_path_factory.mktemp("desk")) as made:
        made.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        yield made


def patiently(desk: World, *words: str) -> process.Completed:
    """Run a command again until nobody else holds the environment."""
    # the promise is 60 s
    deadline = time.monotonic() + 3 * 60
    while (done := desk.pinwheel(*words, "--env", ENVIRONMENT, exit_code=None)).exit_code == 3:
        assert time.monotonic() < deadline, done.errors
        time.sleep(2)
    assert done.exit_code == 0, done.output + done.errors
    return done


def test_a_rollout_whose_operator_was_killed_is_seen_exactly_and_finished_without_restarts(
    desk: World, tmp_path: Path
) -> None:
    """D4."""
    desk.rollout("1.0.0")
    before = desk.status()
    desk.configure(min_healthy_s=2.0)
    rollout = desk.begin_rollout("1.1.0", "batch 2 of 5")
    ended(rollout, signal.SIGKILL)

    other = desk.colleague(tmp_path / "elsewhere")
    held = json.loads(other.pinwheel("deploy.unlock", "--env", ENVIRONMENT, "--json", exit_code=3).output)["holder"]
    assert (held["life"], held["expires_in_s"] < 60) == ("gone", True), held
    until(lambda: not any(each["in_doubt"] for each in other.status().values()), other.status)
    split = other.status()
    assert versions(split) == desk.answers()
    assert versions(split)["web-1"] == "1.1.0"
    assert all(each["healthy"] for each in split.values())
    untouched = NAMES[2:]
    assert {name: split[name] for name in untouched} == {name: before[name] for name in untouched}

    other.configure()
    patiently(other, "deploy.resume")
    assert desk.served() == ["1.1.0"] * 5
    finished = [name for name, version in versions(split).items() if version == "1.1.0"]
    assert pids(other.status(), finished) == pids(split, finished), "a finished host was restarted"


def test_an_operator_who_slept_past_the_lease_changes_nothing_after_another_took_over(
    desk: World, tmp_path: Path
) -> None:
    """D6, and the rollback half of D4: the second goes back from where the first stopped."""
    desk.rollout("1.0.0")
    desk.configure(min_healthy_s=2.0)
    first = desk.begin_rollout("1.1.0", "batch 2 of 5")
    first.send_signal(signal.SIGSTOP)
    try:
        tokens = desk.tokens()
        second = desk.colleague(tmp_path / "elsewhere")
        second.configure()
        asked_at = time.monotonic()
        refused = second.pinwheel("deploy.rollback", APPLICATION, "--env", ENVIRONMENT, exit_code=3)
        # the promise is 2 s; Python itself takes one to start on a busy machine
        assert time.monotonic() - asked_at < 3 * 2 + 4
        assert f"pid {first.pid}" in refused.errors
        assert re.search(r"\d{8}T\d{6}-\w+ by .* for \d+ s", refused.errors), refused.errors

        patiently(second, "deploy.rollback", APPLICATION)
        assert desk.served() == ["1.0.0"] * 5
        after = second.status()
        assert versions(after) == desk.answers()
        # and a host that has seen a higher one than it is asked with refuses (`test_contract`)
        assert all(token > tokens[name] for name, token in second.tokens().items())
    finally:
        first.send_signal(signal.SIGCONT)
    said = ended(first)
    assert first.returncode == 3, said
    # what it heard of before it slept may be shown; whatever it asked for afterwards was refused
    assert second.status() == after
    assert desk.served() == ["1.0.0"] * 5
