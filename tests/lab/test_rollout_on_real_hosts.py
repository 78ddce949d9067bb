"""The plan and the runner that the rootless lab tries are the ones that work on real hosts: sshd, sudo, supervisord."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import APPLICATION, ENVIRONMENT, TIMEOUT_S, world

pytestmark = pytest.mark.root

JOURNAL = f"/srv/pinwheel/apps/{APPLICATION}/journal.jsonl"
CONF = f"/etc/supervisor/conf.d/pinwheel-{APPLICATION}.conf"


def test_a_release_is_rolled_out_kept_reverted_and_rolled_back(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab("web-1", "web-2")
    with world(lab, tmp_path, deadline_s=6.0) as desk:
        desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        assert "nothing to do" in desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT).output

        desk.rollout("1.0.0")
        assert desk.served() == ["1.0.0", "1.0.0"]
        desk.rollout("1.1.0")
        assert desk.served() == ["1.1.0", "1.1.0"]

        before = desk.status()
        assert "nothing to do" in desk.rollout("1.1.0")
        assert desk.status() == before, "a rollout with nothing to do touched a program"

        confs = [host.exec("cat", CONF).output for host in lab.hosts.values()]
        said = desk.rollout("1.2.0", exit_code=1)
        assert "500" in said, "the reason is what the probe saw"
        assert desk.served() == ["1.1.0", "1.1.0"]
        assert desk.status()["web-2"] == before["web-2"], "a host other than the canary was touched"
        assert [host.exec("cat", CONF).output for host in lab.hosts.values()] == confs

        desk.pinwheel("deploy.rollback", APPLICATION, "--env", ENVIRONMENT)
        assert desk.served() == ["1.0.0", "1.0.0"]


def test_power_lost_in_the_middle_of_an_activation_leaves_one_release_after_the_next_contact(
    start_lab: StartLab, tmp_path: Path
) -> None:
    lab = start_lab("web-1")
    host = lab.hosts["web-1"]
    with world(lab, tmp_path, min_healthy_s=5.0) as desk:
        desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        desk.rollout("1.0.0")
        commits = host.exec("cat", JOURNAL).output

        rollout = desk.begin("deploy.rollout", f"{APPLICATION}==1.1.0", "--env", ENVIRONMENT)
        with rollout:
            deadline = time.monotonic() + TIMEOUT_S
            # the new program answers and is not old enough to be called healthy: activated and not committed
            while desk.served() != ["1.1.0"]:
                assert rollout.poll() is None, rollout.stdout and rollout.stdout.read()
                assert time.monotonic() < deadline, host.exec("cat", JOURNAL).output
                time.sleep(0.05)
            host.power_off()
            said, _ = rollout.communicate(timeout=TIMEOUT_S)
        assert rollout.returncode == 1, said
        host.power_on()
        assert host.exec("cat", JOURNAL).output.startswith(commits)
        assert desk.status()["web-1"]["in_doubt"]

        desk.rollout("1.1.0")
        assert desk.served() == ["1.1.0"]
        after = desk.status()["web-1"]
        assert not after["in_doubt"]
        assert after["healthy"]
        assert len(after["processes"]) == 1
