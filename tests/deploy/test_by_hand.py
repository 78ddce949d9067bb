"""What docs/on-the-host.md tells who has no pinwheel at hand, done by the very commands of the page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy.bare import wait_until
from tests.deploy.beside import BesideHost, beside_host
from tests.deploy.deployment import standing

PAGE = Path(__file__).parents[2] / "docs" / "on-the-host.md"
OLD, NEW = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


def commands(heading: str, number: int = 0) -> str:
    """A block of shell commands below a heading of the page, without what stands for the reader's own values."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    block = str(re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[number])
    return re.sub(r"^(OLD=.*|cp .* /root/.*)\n", "", block, flags=re.MULTILINE)


def shell(script: str, **variables: object) -> str:
    """What the commands print. `variables` are set before, as the page's first block does it."""
    given = "".join(f'{name}="{value}"\n' for name, value in variables.items())
    argv = ["bash", "-euo", "pipefail", "-c", given + script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_host_goes_back_by_hand_and_pinwheel_makes_it_official(tmp_path: Path) -> None:
    with standing(tmp_path, "h1") as site:
        assert site.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        for version in ("1.0.0", "1.1.0"):
            assert site.roll_out(version).code == 0
        root = site.lab.hosts["h1"].root / "srv/pinwheel"
        (old,) = root.glob("apps/tiny/releases/1.0.0-*")
        supervisorctl = f"{root}/supervisor/bin/supervisorctl -c {root}/etc/supervisord.conf"
        page = {"APP": "tiny", "ROOT": root, "CONF": root / "etc/conf.d", "SUPERVISOR": supervisorctl, "OLD": old}

        story = shell(commands("The journal"), **page)
        assert [line.split()[1] for line in story.splitlines()] == ["begin", "commit", "begin", "commit"]
        assert "updated process group" in shell(commands("Going back by hand"), **page)
        wait_until(lambda: site.answers() == {"h1": "1.0.0"}, "the old release answers")
        assert site.status()["h1"]["drift"]

        pid = site.status()["h1"]["processes"][0]["pid"]
        ended = site.pinwheel("deploy.rollback", "tiny", "--env", "live", "--to", "1.0.0")
        assert ended.code == 0, ended.err
        official = site.status()["h1"]
        assert (official["version"], official["drift"]) == ("1.0.0", False)
        assert official["processes"][0]["pid"] == pid, "it ran so already"


@pytest.mark.slow
def test_visitors_are_led_back_by_hand_where_releases_stand_side_by_side() -> None:
    with beside_host(BesideHost) as host:
        host.do("activate", host.activation(OLD, None))
        host.do("activate", host.activation(NEW, OLD))
        assert host.ask_front_door() == f"good {NEW}"
        supervisorctl = f"{sys.executable} -P -m supervisor.supervisorctl -s unix://{host.socket}"
        page = {"APP": "shop", "ROOT": host.root, "CONF": host.conf_dir, "SUPERVISOR": supervisorctl}
        beside, over = commands("Going back by hand", 1).split("ln -sfn")
        shell(beside, **page, OLD=host.root / "apps/shop/releases" / OLD)
        wait_until((host.root / "apps/shop/run/blue/web/sock").exists, "the old release listens")
        assert host.ask_front_door() == f"good {NEW}", "nobody is led there yet"
        shell(f"ln -sfn{over}", **page, NEXT="blue")
        assert host.ask_front_door() == f"good {OLD}"

        assert host.do("activate", host.activation(OLD, NEW))["outcome"] == "activated"
        assert host.ask_front_door() == f"good {OLD}"
        assert len(host.pids()) == 1
