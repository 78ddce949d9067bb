"""A bare host becomes a ready one: its key is introduced, and the user that its programs run as is made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import ENVIRONMENT, world

pytestmark = pytest.mark.root

BOOTSTRAP = ("deploy.bootstrap", "--env", ENVIRONMENT)
SCAN = (*BOOTSTRAP, "--scan-host-keys")


def test_a_bare_host_is_introduced_surveyed_and_made_ready(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab("web-1")
    host = lab.hosts["web-1"]
    with world(lab, tmp_path) as desk:
        file = tmp_path / "pinwheel.toml"
        known = tmp_path / "known"
        text = file.read_text().replace("www-data", "acme")
        file.write_text(text.replace(str(lab.environment()["known_hosts"]), str(known)))
        assert "--scan-host-keys" in desk.pinwheel(*BOOTSTRAP, "--check", exit_code=1).output

        said = desk.pinwheel(*SCAN, exit_code=4).errors
        keys = tmp_path / "known of the lab"
        keys.write_text(Path(lab.environment()["known_hosts"]).read_text())
        own = subprocess.run(["ssh-keygen", "-lf", str(keys)], capture_output=True, text=True, check=True).stdout
        fingerprint = own.split()[1]
        assert f"{own.strip().splitlines()[0]}\n  for web-1" in said, "as ssh-keygen shows it"
        assert not known.exists()
        assert fingerprint in desk.pinwheel(*SCAN, "--accept", fingerprint).output
        found = subprocess.run(["ssh-keygen", "-F", host.address, "-f", str(known)], capture_output=True, text=True)
        assert found.returncode == 0, "OpenSSH reads what was written"
        assert "every key is known" in desk.pinwheel(*SCAN).output

        plan = desk.pinwheel(*BOOTSTRAP, "--check", exit_code=4).output
        assert "add the system user acme (programs run as it)" in plan
        assert host.exec("id", "acme", check=False).exit_code != 0, "--check changed something"
        assert "web-1: ready" in desk.pinwheel(*BOOTSTRAP).output
        assert desk.pinwheel(*BOOTSTRAP).output == "web-1: nothing to do\n"
        assert host.exec("getent", "passwd", "acme").output.strip().endswith(":/usr/sbin/nologin")

        desk.rollout("1.0.0")
        assert desk.served() == ["1.0.0"]
        pid = desk.status()["web-1"]["processes"][0]["pid"]
        assert host.exec("stat", "-c", "%U", f"/proc/{pid}").output.strip() == "acme"
