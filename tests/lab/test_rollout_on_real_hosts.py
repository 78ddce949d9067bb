"""The plan and the runner that the rootless lab tries are the ones that work on real hosts: sshd, sudo, supervisord."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lab.conftest import StartLab
from tests.lab.debian_base import OWN, RUST, Recipe
from tests.lab.real_world import APPLICATION, ENVIRONMENT, world

pytestmark = pytest.mark.root


@pytest.mark.parametrize("recipe", [OWN, RUST], ids=["own suite", "sudo-rs and uutils"])
def test_a_release_is_rolled_out_kept_reverted_and_rolled_back(
    start_lab: StartLab, tmp_path: Path, recipe: Recipe
) -> None:
    lab = start_lab("web-1", "web-2", recipe=recipe)
    with world(lab, tmp_path) as desk:
        desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        assert "nothing to do" in desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT).output

        desk.rollout("1.0.0")
        assert desk.served() == ["1.0.0", "1.0.0"]
        desk.rollout("1.1.0")
        assert desk.served() == ["1.1.0", "1.1.0"]

        before = desk.status()
        assert "nothing to do" in desk.rollout("1.1.0")
        assert desk.status() == before, "a rollout with nothing to do touched a program"

        confs = desk.confs()
        said = desk.rollout("1.2.0", exit_code=1)
        assert "500" in said, "the reason is what the probe saw"
        assert desk.served() == ["1.1.0", "1.1.0"]
        assert desk.status()["web-2"] == before["web-2"], "a host other than the canary was touched"
        assert desk.confs() == confs

        desk.pinwheel("deploy.rollback", APPLICATION, "--env", ENVIRONMENT)
        assert desk.served() == ["1.0.0", "1.0.0"]
