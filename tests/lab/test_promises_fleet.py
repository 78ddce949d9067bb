"""Promise D3 on ten real hosts: silent ones are noticed in the middle of a batch, and correct ones never restarted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import HOOKS, World, ended, pids, until, versions, world

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = tuple(f"web-{number}" for number in range(10))
LOST = NAMES[3:6]
POLICY = {"rollout": {"batch": "40%", "max_unavailable": 4}, "hooks": HOOKS}
"""The canary, two hosts, four, and three."""


@pytest.fixture
def desk(start_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(start_lab(*NAMES), tmp_path_factory.mktemp("desk"), POLICY) as made:
        made.pinwheel("deploy.bootstrap", "--env", "real")
        made.rollout("1.0.0")
        yield made


def test_hosts_that_fall_silent_in_a_batch_stop_the_rollout_and_are_brought_along_later(desk: World) -> None:
    before = desk.status()
    desk.configure(POLICY, min_healthy_s=2.0)
    rollout = desk.begin_rollout("1.1.0", "batch 3 of 4")
    for name in LOST:
        desk.lab.hosts[name].drop()
    dropped_at = time.monotonic()
    said = ended(rollout)
    # the promise is 15 s, and the gates of the others may take as long as they may
    assert time.monotonic() - dropped_at < 3 * 15 + 8
    assert rollout.returncode == 1, said
    for name in LOST:
        assert f"{name}: unknown" in said or f"{name}: unreachable" in said
    assert "failed" not in said.replace("failure budget", "")
    assert "web-6: activated" in said, "it is in the batch of those that were lost, and was not waited for"

    assert desk.drained() == set(LOST), "nobody knows of them, and all others are healthy"

    away = desk.status(exit_code=1)
    reached = {name: each for name, each in away.items() if name not in LOST}
    assert versions(reached) == {name: "1.1.0" if name in NAMES[:7] else "1.0.0" for name in reached}
    assert {name: away[name] for name in NAMES[7:]} == {name: before[name] for name in NAMES[7:]}

    for name in LOST:
        desk.lab.hosts[name].undrop()
    until(lambda: not any(each["in_doubt"] for each in desk.status().values()), desk.status)
    healed = desk.status()
    assert versions(healed) == desk.answers()
    assert all(each["healthy"] for each in healed.values())
    correct = [name for name, version in versions(healed).items() if version == "1.1.0"]
    desk.configure(POLICY)
    desk.pinwheel("deploy.resume", "--env", "real")
    assert desk.served() == ["1.1.0"] * len(NAMES)
    assert desk.drained() == set()
    assert pids(desk.status(), correct) == pids(healed, correct), "a correct host was restarted"
