"""Promises D1 and D8 on real hosts: connections that die and hosts that lose power leave one release, and say which."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import (
    CONF,
    FOLDER,
    JOURNAL,
    ROOT,
    SLOW_TO_START,
    SLOW_TO_TRY,
    Watch,
    World,
    ended,
    pids,
    trap,
    until,
    versions,
    world,
)

pytestmark = [pytest.mark.root, pytest.mark.slow]

KILL_SSHD = ("pkill", "-KILL", "^sshd")
UV_INSTALLS = r"any(b'uv\0pip' in each.read_bytes() for each in pathlib.Path('/proc').glob('[0-9]*/cmdline'))"
RELEASE_IS_TRIED = UV_INSTALLS.replace(r"uv\0pip", "import real_app")


@pytest.fixture(scope="module")
def desk(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    lab = start_shared_lab("web-1", "web-2")
    with world(lab, tmp_path_factory.mktemp("desk")) as made:
        made.pinwheel("deploy.bootstrap", "--env", "real")
        made.rollout("1.0.0")
        yield made


def lying(desk: World, name: str) -> set[str]:
    """What lies on a host, but for uv's cache and the insides of complete releases."""
    found = desk.lab.hosts[name].exec("find", ROOT, "-path", f"{ROOT}/cache", "-prune", "-o", "-print").output.split()
    complete = [each.removesuffix("COMPLETE") for each in found if each.endswith("/COMPLETE")]
    return {each for each in found if not each.startswith(tuple(complete))}


@pytest.mark.parametrize(
    ("moment", "version"), [(UV_INSTALLS, "2.0.1"), (RELEASE_IS_TRIED, "2.0.2")], ids=["installing", "trying"]
)
def test_sshd_killed_in_the_middle_of_an_installation_touches_nothing_and_the_retry_cleans_up(
    desk: World, moment: str, version: str
) -> None:
    """D1 (a)."""
    host = desk.lab.hosts["web-2"]
    desk.rollout("1.0.0")
    desk.index.publish(version, SLOW_TO_TRY)
    before, confs, lay = desk.status(), desk.confs(), lying(desk, "web-2")
    with Watch(desk.lab) as watch:
        with trap(host, moment, *KILL_SSHD):
            outcomes = desk.outcomes(version, exit_code=1)
        until(lambda: "-I -c" not in host.exec("pgrep", "-af", "python3", check=False).output, lambda: "still at work")
        host.start_sshd()
        assert outcomes["web-2"] in ("unreachable", "unknown")
        assert "activated" not in outcomes.values()
        assert desk.status() == before
        assert desk.confs() == confs
        assert [
            each for each in lying(desk, "web-2") - lay if not each.startswith(f"{FOLDER}/releases/{version}-")
        ] == []
    assert watch.failed() == {}
    desk.rollout(version)
    assert desk.served() == [version] * 2
    assert lying(desk, "web-2") - lay == {f"{FOLDER}/releases/{desk.status()['web-2']['release']}"}


def test_sshd_killed_just_after_the_conf_was_written_leaves_one_release_and_the_journal_says_which(desk: World) -> None:
    """D1 (b)."""
    host = desk.lab.hosts["web-1"]
    desk.rollout("1.0.0")
    with trap(host, f"'real-app/releases/1.1.0-' in pathlib.Path('{CONF}').read_text()", *KILL_SSHD):
        outcomes = desk.outcomes("1.1.0", exit_code=1)
    assert outcomes == {"web-1": "unknown", "web-2": "skipped"}
    # nobody reaches the host, and it comes to an end by itself
    until(lambda: '"event": "begin"' not in host.exec("tail", "-n", "1", JOURNAL).output, lambda: "still in doubt")
    until(lambda: desk.answers()["web-1"] in ("1.0.0", "1.1.0"), desk.answers)
    host.start_sshd()
    status = desk.status()
    assert versions(status) == desk.answers()
    assert all(each["healthy"] and not each["in_doubt"] for each in status.values())
    desk.rollout("1.1.0")
    assert desk.served() == ["1.1.0"] * 2


def test_power_lost_in_the_middle_of_an_activation_leaves_one_release_after_the_next_contact(desk: World) -> None:
    """D8."""
    host = desk.lab.hosts["web-1"]
    desk.rollout("1.0.0")
    desk.configure(min_healthy_s=5.0, deadline_s=20.0)
    commits = host.exec("cat", JOURNAL).output
    rollout = desk.begin_rollout("1.1.0")
    # the new program answers and is not old enough to be called healthy: activated and not committed
    until(lambda: desk.answers()["web-1"] == "1.1.0", lambda: host.exec("cat", JOURNAL).output)
    host.power_off()
    said = ended(rollout)
    assert rollout.returncode == 1, said
    host.power_on()
    assert host.exec("cat", JOURNAL).output.startswith(commits)
    assert desk.status()["web-1"]["in_doubt"]

    desk.configure()
    desk.rollout("1.1.0")
    assert desk.served() == ["1.1.0"] * 2
    after = desk.status()["web-1"]
    assert after["healthy"]
    assert not after["in_doubt"]
    assert len(after["processes"]) == 1


def test_a_host_that_freezes_in_the_middle_of_an_activation_is_given_up_and_goes_on_when_it_is_thawed(
    desk: World,
) -> None:
    """As D3, with a kernel that acknowledges every byte: no timeout of TCP ever comes."""
    host = desk.lab.hosts["web-1"]
    desk.rollout("1.0.0")
    desk.configure(min_healthy_s=4.0, deadline_s=20.0)
    rollout = desk.begin_rollout("1.1.0")
    until(lambda: desk.answers()["web-1"] == "1.1.0", desk.answers)
    host.freeze()
    frozen_at = time.monotonic()
    said = ended(rollout)
    assert rollout.returncode == 1, said
    assert "web-1: unknown" in said
    # the promise is 15 s
    assert time.monotonic() - frozen_at < 3 * 15
    others = desk.status(exit_code=1)
    assert versions(others) == {"web-1": "", "web-2": "1.0.0"}
    host.thaw()
    until(lambda: '"event": "begin"' not in host.exec("tail", "-n", "1", JOURNAL).output, lambda: "still in doubt")
    status = desk.status()
    assert versions(status) == desk.answers()
    assert status["web-1"]["healthy"]
    desk.configure()
    correct = [name for name, each in versions(status).items() if each == "1.1.0"]
    desk.rollout("1.1.0")
    assert desk.served() == ["1.1.0"] * 2
    assert pids(desk.status(), correct) == pids(status, correct), "a correct host was restarted"


def test_a_host_that_is_lost_while_it_starts_counts_among_those_that_may_be_down(desk: World) -> None:
    """Whoever allows one host to be down has one down, also when the budget lets the rollout go on."""
    host = desk.lab.hosts["web-1"]
    desk.index.publish("3.0.0", SLOW_TO_START)
    desk.index.publish("3.1.0", SLOW_TO_START)
    desk.configure()
    desk.rollout("3.0.0")
    policy = {"rollout": {"canary": 0, "max_unavailable": 1, "failure_budget": 1}}
    desk.configure(policy)
    with Watch(desk.lab) as watch:
        with trap(host, f"'real-app/releases/3.1.0-' in pathlib.Path('{CONF}').read_text()", *KILL_SSHD):
            desk.rollout("3.1.0", exit_code=1)
        until(lambda: "" not in desk.served(), desk.served)
    host.start_sshd()
    assert watch.most_down() == 1
    desk.configure()
    desk.rollout("3.1.0")
    assert desk.served() == ["3.1.0"] * 2
