"""What an operator does between rollouts, the whole way: the command line, real SSH, real supervisors, a real index."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.deployment import CLI, DEADLINE_S, Site, standing


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two hosts on which 1.0.0 runs."""
    with standing(tmp_path_factory.mktemp("site"), "h1", "h2") as made:
        assert made.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        assert made.roll_out("1.0.0").code == 0
        yield made


def pids(site: Site) -> dict[str, int]:
    return {name: about["processes"][0]["pid"] for name, about in site.status().items()}


def log(site: Site, host: str) -> Path:
    return site.lab.hosts[host].root / "srv/pinwheel/apps/tiny/log/tiny-web.log"


def write(file: Path, line: str) -> None:
    with file.open("a") as out:
        out.write(f"{line}\n")


def heard(child: subprocess.Popen[str], host: str, line: str) -> None:
    """Read on until `host` says `line`."""
    assert child.stdout is not None
    for text in child.stdout:
        if json.loads(text) == {"host": host, "process": "web", "line": line}:
            return
    raise AssertionError(f"{line} did not come")


@pytest.mark.slow
def test_a_restart_gives_new_pids_one_host_after_the_other_and_leaves_the_release(site: Site) -> None:
    before = site.status()
    ended = site.pinwheel("deploy.restart", "tiny", "--env", "live", "--json")
    assert (ended.code, ended.document["act"]) == (0, "restart"), ended.err
    assert [host["outcome"] for host in ended.document["hosts"]] == ["restarted", "restarted"]
    after = site.status()
    for name, about in after.items():
        assert about["processes"][0]["pid"] != before[name]["processes"][0]["pid"]
        assert about["release"] == before[name]["release"]
        assert about["deployed_at"] == before[name]["deployed_at"], "it is no other release"
        assert about["last"]["release"] == about["last"]["previous"] == about["release"]
        assert about["deployed_by"].partition("@")[2] == os.uname().nodename
    ended = site.pinwheel("deploy.restart", "tiny", "--env", "live", "--program", "web", "--host", "h2")
    assert ended.code == 0, ended.err
    last = site.status()
    assert last["h1"] == after["h1"]
    assert last["h2"]["processes"][0]["pid"] != after["h2"]["processes"][0]["pid"]


@pytest.mark.slow
def test_logs_are_followed_through_a_rotation_and_a_cut_and_end_with_ctrl_c(site: Site) -> None:
    for host in ("h1", "h2"):
        write(log(site, host), "before")
    ended = site.pinwheel("deploy.logs", "tiny", "--env", "live", "--lines", "1")
    assert (ended.code, sorted(ended.out.splitlines())) == (0, ["h1 web | before", "h2 web | before"]), ended.err
    with site.start("deploy.logs", "tiny", "--env", "live", "-f", "--lines", "1", "--json") as child:
        heard(child, "h2", "before")
        write(log(site, "h2"), "during")
        heard(child, "h2", "during")
        log(site, "h2").replace(log(site, "h2").with_suffix(".log.1"))
        write(log(site, "h2"), "rotated")
        heard(child, "h2", "rotated")
        site.lab.hosts["h2"].kill_ssh()
        write(log(site, "h2"), "while it was away")
        site.lab.hosts["h2"].start_ssh()
        heard(child, "h2", "while it was away")
        write(log(site, "h1"), "the other one")
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0
    assert err.count("h2: ") == 2, err
    assert "h2: it is back" in err


@pytest.mark.slow
def test_logs_of_which_nobody_reads_more_end(site: Site) -> None:
    write(log(site, "h1"), "one")
    with site.start("deploy.logs", "tiny", "--env", "live", "-f", "--lines", "1") as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.stdout.close()
        deadline = time.monotonic() + DEADLINE_S
        while child.poll() is None:
            write(log(site, "h1"), "more")
            assert time.monotonic() < deadline, "it goes on without a reader"
            time.sleep(0.1)
    assert child.returncode == 1


@pytest.mark.slow
def test_the_environment_of_a_stopped_operator_is_taken_and_he_is_fenced(site: Site) -> None:
    """Promise D6, without waiting for the lease to run out."""
    site.pinwheel("deploy.rollback", "tiny", "--env", "live", "--to", "1.0.0")

    def holder() -> dict[str, Any] | None:
        found: dict[str, Any] | None = site.pinwheel("deploy.unlock", "--env", "live", "--json").document["holder"]
        return found

    assert holder() is None
    with site.start("deploy.rollout", "tiny==1.1.0", "--env", "live", "--json") as first:
        deadline = time.monotonic() + DEADLINE_S
        while site.client.lease_holder("live") is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        first.send_signal(signal.SIGSTOP)
        ended = site.pinwheel("deploy.unlock", "--env", "live")
        assert ended.code == 3
        assert f"pid {first.pid}" in ended.out
        assert site.pinwheel("deploy.unlock", "--env", "live", "--force").code == 0
        taken = site.roll_out("1.0.0")
        assert taken.code in (0, 1), taken.err
        restarted = site.pinwheel("deploy.restart", "tiny", "--env", "live")
        assert restarted.code == 0, restarted.err
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=DEADLINE_S)
    assert first.returncode in (1, 3), "fenced, or after so long without a connection to its hosts"
    assert set(site.answers().values()) == {"1.0.0"}, "nothing of what it had begun was done after that"
    told = site.pinwheel("deploy.history", "--env", "live", "--json").document["rollouts"]
    assert "unlock" in [each["act"] for each in told]


@pytest.mark.slow
def test_a_token_for_other_projects_or_environments_touches_nothing(site: Site) -> None:
    before = pids(site)
    for scope in (("--projects", "other-*"), ("--environments", "staging")):
        made = [*CLI, "index.token-create", scope[1].strip("-*"), "--scope", "read,deploy", *scope]
        token = subprocess.run(
            [*made, "--data", str(site.folder / "index")], check=True, capture_output=True, text=True
        ).stdout.strip()
        environ = site.environ
        site.environ = {**environ, "PINWHEEL_TOKEN": token}
        try:
            ended = site.pinwheel("deploy.restart", "tiny", "--env", "live")
        finally:
            site.environ = environ
        assert ended.code == 1
        assert "this token may not do that" in ended.err
    assert pids(site) == before


@pytest.mark.slow
def test_old_releases_are_removed_by_a_rollout_and_by_hand(site: Site) -> None:
    def releases() -> list[set[str]]:
        roots = (host.root / "srv/pinwheel/apps/tiny/releases" for host in site.lab.hosts.values())
        return [{each.name.partition("-")[0] for each in root.iterdir()} for root in roots]

    for version in ("1.3.0", "1.4.0"):
        site.publish(version)
        assert site.roll_out(version).code == 0
    assert {"1.0.0", "1.3.0", "1.4.0"} <= releases()[0]
    config = site.folder / "pinwheel.toml"
    config.write_text(config.read_text().replace("[environments.live]\n", "[environments.live]\nkeep = 2\n"))
    site.publish("1.5.0")
    assert site.roll_out("1.5.0").code == 0
    assert releases() == [{"1.3.0", "1.4.0", "1.5.0"}] * 2, "until it ran, the way back was needed"
    words = ("deploy.prune", "tiny", "--env", "live", "--keep", "1", "--json")
    planned = site.pinwheel(*words, "--check")
    assert planned.code == 4, planned.err
    done = site.pinwheel(*words)
    assert (done.code, done.document["hosts"]) == (0, planned.document["hosts"]), done.err
    assert done.document["bytes"] > 0
    assert releases() == [{"1.4.0", "1.5.0"}] * 2
    assert site.pinwheel(*words, "--check").code == 0
    assert set(site.answers().values()) == {"1.5.0"}
