"""Rollouts under random faults: what must hold holds, whatever happens when.

Each seed is a story of two rollouts, each with a fault at some moment on some host, and a resume. A failing one is told
again with `PINWHEEL_FAULT_SEEDS=17`; more of them: `PINWHEEL_FAULT_SEEDS=100-199`.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import ENVIRONMENT, SICK, Watch, World, ended, until, versions, world
from tests.lab.rootlab import RootHost

pytestmark = [pytest.mark.root, pytest.mark.slow]

SEEDS_VARIABLE = "PINWHEEL_FAULT_SEEDS"
NAMES = ("web-1", "web-2", "web-3", "web-4")
MAX_UNAVAILABLE = 1
POLICY = {"rollout": {"max_unavailable": MAX_UNAVAILABLE, "failure_budget": 1}}
GOOD = ("1.0.0", "1.1.0")
BAD = "1.2.0"
FAULT_WITHIN_S = 8.0
"""About as long as a rollout takes, so that every part of it is hit."""
FAULT_LASTS_S = 4.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What can happen to a host, and how it is mended. `blind`: nobody outside can say how the service is meanwhile."""

    name: str
    inject: Callable[[RootHost], object]
    heal: Callable[[RootHost], object]
    blind: bool


FAULTS = (
    Fault("its sshd is killed", RootHost.kill_sshd, RootHost.start_sshd, blind=False),
    Fault("its cable is pulled", RootHost.cut, RootHost.heal, blind=True),
    Fault("its packets are dropped", RootHost.drop, RootHost.undrop, blind=True),
    Fault("its packets are rejected", RootHost.reject, RootHost.unreject, blind=True),
    Fault("its power is lost", RootHost.power_off, RootHost.power_on, blind=True),
    Fault("it freezes", RootHost.freeze, RootHost.thaw, blind=True),
    Fault(
        "its programs fall ill", lambda host: host.exec("touch", SICK), lambda host: host.exec("rm", SICK), blind=True
    ),
)


def seeds() -> list[int]:
    """Those to try: `3`, `3,5` or `3-9`, by the environment."""
    found: list[int] = []
    for part in os.environ.get(SEEDS_VARIABLE, "1-3").split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.fixture(scope="module")
def desk(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(start_shared_lab(*NAMES), tmp_path_factory.mktemp("desk"), POLICY, deadline_s=4.0) as made:
        made.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        made.rollout("1.0.0")
        yield made


@pytest.mark.parametrize("seed", seeds())
def test_whatever_happens_hosts_are_old_or_new_and_healthy_and_status_says_which(desk: World, seed: int) -> None:
    chance = random.Random(seed)
    with Watch(desk.lab) as watch:
        for version in (chance.choice((*GOOD, BAD)), wished := chance.choice(GOOD)):
            fault, host = chance.choice(FAULTS), desk.lab.hosts[chance.choice(NAMES)]
            after_s = chance.uniform(0, FAULT_WITHIN_S)
            story = f"seed {seed}: {version}, and after {after_s:.1f} s on {host.name}: {fault.name}"
            print(story)  # noqa: T201 - pytest shows it when the test fails
            child = desk.begin_rollout(version)
            said = suffer(watch, child, host, fault, after_s)
            assert child.returncode in (0, 1), said
            settled(desk)
            watch.excused.discard(host.name)
        desk.pinwheel("deploy.resume", "--env", ENVIRONMENT)
        assert desk.served() == [wished] * len(NAMES), "it does not converge"
    assert watch.most_down() <= MAX_UNAVAILABLE


def suffer(watch: Watch, child: subprocess.Popen[str], host: RootHost, fault: Fault, after_s: float) -> str:
    """Let the fault happen after a while, even if the rollout has ended before, and mend it after a while."""
    time.sleep(after_s)
    if fault.blind:
        watch.excused.add(host.name)
    fault.inject(host)
    try:
        time.sleep(FAULT_LASTS_S)
    finally:
        fault.heal(host)
    return ended(child)


def settled(desk: World) -> None:
    """Every host comes to an end by itself, or by the next contact, and `deploy.status` says what it serves."""
    try:
        until(lambda: "" not in desk.served(), desk.served, timeout_s=30.0)
    except AssertionError:
        # a power loss: the next action on the host brings it to an end
        assert any(each["in_doubt"] for each in desk.status().values()), desk.status()
    status = desk.status()
    for name, said in status.items():
        if not said["in_doubt"]:
            assert said["version"] in (*GOOD, BAD)
            assert said["healthy"], (name, said)
    sure = {name: version for name, version in versions(status).items() if not status[name]["in_doubt"]}
    assert sure == {name: answer for name, answer in desk.answers().items() if name in sure}
    assert BAD not in sure.values()
