"""What docs/on-the-host.md tells who has no pinwheel at hand, done by the very commands of the page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.deploy.deployment import Site, standing

PAGE = Path(__file__).parents[2] / "docs" / "on-the-host.md"


def commands(heading: str, number: int = 0) -> str:
    """A block of shell commands below a heading of the page."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[number]


def shell(site: Site, script: str) -> str:
    """Run commands of the page on the host h1; its layout stands in the place of the default one."""
    root = site.lab.hosts["h1"].root / "srv/pinwheel"
    layout = f"""APP=tiny ROOT={root} CONF={root}/etc/conf.d
SUPERVISOR="$ROOT/supervisor/bin/supervisorctl -c $ROOT/etc/supervisord.conf"
OLD=$(ls -d $ROOT/apps/$APP/releases/1.0.0-*)
"""
    script = re.sub(r"^(OLD=.*|cp .*/root/.*)$", "", script, flags=re.MULTILINE)
    argv = ["bash", "-euo", "pipefail", "-c", layout + script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_host_goes_back_by_hand_and_pinwheel_makes_it_official(tmp_path: Path) -> None:
    with standing(tmp_path, "h1") as site:
        assert site.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        for version in ("1.0.0", "1.1.0"):
            assert site.roll_out(version).code == 0
        story = shell(site, commands("The journal"))
        assert [line.split()[1] for line in story.splitlines()] == ["begin", "commit", "begin", "commit"]

        assert "updated process group" in shell(site, commands("Going back by hand"))
        assert site.status()["h1"]["drift"]
        assert "drift" in site.pinwheel("deploy.status", "--env", "live").out

        ended = site.pinwheel("deploy.rollback", "tiny", "--env", "live", "--to", "1.0.0")
        assert ended.code == 0, ended.err
        assert site.answers() == {"h1": "1.0.0"}
        assert not site.status()["h1"]["drift"]
