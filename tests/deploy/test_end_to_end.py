"""From the command line to healthy services: a real index, real SSH, the real runner and real supervisors."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.deployment import DEADLINE_S, Site, standing


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("site"), "h1", "h2") as made:
        yield made


@pytest.mark.slow
def test_from_bare_hosts_to_healthy_services(site: Site) -> None:
    first = site.pinwheel("deploy.bootstrap", "--env", "live", "--json")
    assert first.code == 0, first.err
    assert all(host["changes"] for host in first.document["hosts"])
    ended = site.roll_out("1.0.0")
    assert (ended.code, ended.document["outcome"]) == (0, "done"), ended.err
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}


@pytest.mark.slow
def test_bare_hosts_say_what_to_do_and_ready_ones_that_there_is_nothing(tmp_path: Path) -> None:
    with standing(tmp_path, "h1") as site:
        ended = site.roll_out("1.0.0")
        assert ended.code == 1
        assert "deploy.bootstrap" in ended.err
        site.pinwheel("deploy.bootstrap", "--env", "live")
        assert site.pinwheel("deploy.bootstrap", "--env", "live").out == "h1: nothing to do\n"


@pytest.mark.slow
def test_hosts_that_do_not_reach_the_index_become_ready_and_get_releases_over_ssh(tmp_path: Path) -> None:
    with standing(tmp_path, "h1") as site:
        config = tmp_path / "pinwheel.toml"
        nowhere = 'deliver = "push"\nindex_url = "http://127.0.0.1:9/"\n'
        config.write_text(config.read_text().replace("[environments.live]\n", f"[environments.live]\n{nowhere}"))
        ready = site.pinwheel("deploy.bootstrap", "--env", "live")
        assert ready.code == 0, ready.err
        planned = site.pinwheel("deploy.plan", "tiny==1.0.0", "--env", "live")
        assert "uv, 1 KiB pushed" in planned.out
        ended = site.roll_out("1.0.0")
        assert (ended.code, ended.document["outcome"]) == (0, "done"), ended.err
        assert site.answers() == {"h1": "1.0.0"}


@pytest.mark.slow
def test_a_canary_that_is_not_healthy_goes_back_and_the_others_are_not_touched(site: Site) -> None:
    site.pinwheel("deploy.bootstrap", "--env", "live")
    assert site.roll_out("1.0.0").code == 0
    before = site.status()
    ended = site.roll_out("1.2.0")
    assert (ended.code, ended.document["outcome"]) == (1, "halted")
    assert [host["outcome"] for host in ended.document["hosts"]] == ["reverted", "skipped"]
    assert "no database" in ended.err
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}
    after = site.status()
    assert after["h2"] == before["h2"]
    assert after["h1"]["healthy"]


@pytest.mark.slow
def test_an_upgrade_its_rollback_and_the_story_of_both(site: Site) -> None:
    site.pinwheel("deploy.bootstrap", "--env", "live")
    assert site.roll_out("1.0.0").code == 0
    planned = site.pinwheel("deploy.plan", "tiny==1.1.0", "--env", "live", "--json")
    assert planned.code == 4, planned.err
    assert "1.1.0" in planned.document["hosts"][0]["conf_diff"]
    assert site.roll_out("1.1.0").code == 0
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}
    assert site.pinwheel("deploy.plan", "tiny==1.1.0", "--env", "live").code == 0

    before = site.status()
    ended = site.roll_out("1.1.0")
    assert [host["outcome"] for host in ended.document["hosts"]] == ["unchanged", "unchanged"]
    assert site.status() == before

    ended = site.pinwheel("deploy.rollback", "tiny", "--env", "live", "--json")
    assert (ended.code, ended.document["version"]) == (0, "1.0.0"), ended.err
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}
    assert all(host["version"] == "1.0.0" and host["healthy"] for host in site.status().values())

    told = site.pinwheel("deploy.history", "--env", "live", "--json").document["rollouts"]
    assert [(each["act"], each["version"], each["outcome"]) for each in told[-2:]] == [
        ("rollout", "1.1.0", "done"),
        ("rollback", "1.0.0", "done"),
    ]
    ended = site.pinwheel("deploy.history", "--env", "live", "--rollout", told[-1]["rollout"], "--json")
    events = ended.document["events"]
    story = [(event["kind"], event["version"], event["host"]) for event in events]
    assert story[-3:] == [("activated", "1.0.0", "h1"), ("activated", "1.0.0", "h2"), ("rollout-finished", "1.0.0", "")]
    assert site.environ["PINWHEEL_TOKEN"] not in json.dumps(events)


@pytest.mark.slow
def test_an_index_that_goes_away_after_prepare_gets_every_event_later(site: Site) -> None:
    """Promise D10 (b): the activation goes on; events wait in the spool and are delivered once."""
    site.pinwheel("deploy.bootstrap", "--env", "live")
    assert site.roll_out("1.0.0").code == 0
    child = site.start("deploy.rollout", "tiny==1.1.0", "--env", "live", "--json")
    assert child.stderr is not None
    with child:
        for line in child.stderr:
            if "activate h1" in line:
                break
        with site.index_away():
            out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    rollout = json.loads(out)["rollout"]
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}
    site.pinwheel("deploy.rollback", "tiny", "--env", "live")
    events = site.pinwheel("deploy.history", "--env", "live", "--rollout", rollout, "--json").document["events"]
    told = sorted((event["kind"], event["host"]) for event in events)
    assert told.count(("activated", "h1")) == told.count(("activated", "h2")) == 1
    assert told.count(("rollout-finished", "")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "code"), [("stderr", 0), ("stdout", 1)])
def test_a_rollout_goes_on_when_its_reader_goes_away(site: Site, stream: str, code: int) -> None:
    """As with `2>&1 | head -2`. Only a result that cannot be told is a failure; the hosts are done either way."""
    site.pinwheel("deploy.bootstrap", "--env", "live")
    assert site.roll_out("1.0.0").code == 0
    child = site.start("deploy.rollout", "tiny==1.1.0", "--env", "live", "--json")
    assert child.stdout is not None
    assert child.stderr is not None
    with child:
        for _ in range(2):
            child.stderr.readline()
        (child.stderr if stream == "stderr" else child.stdout).close()
        (child.stdout if stream == "stderr" else child.stderr).read()
        assert child.wait(DEADLINE_S) == code
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}


@pytest.mark.slow
def test_an_environment_that_is_held_is_refused_at_once_with_its_holder(site: Site) -> None:
    lease = site.client.acquire_lease("live", "anna@desk", "r9", 30)
    try:
        ended = site.roll_out("1.0.0")
    finally:
        site.client.release_lease(lease)
    assert ended.code == 3
    assert "anna@desk" in ended.err


@pytest.mark.slow
def test_ctrl_c_in_the_middle_takes_the_host_back(site: Site) -> None:
    site.pinwheel("deploy.bootstrap", "--env", "live")
    assert site.roll_out("1.0.0").code == 0
    before = site.status()
    child = site.start("deploy.rollout", "tiny==1.2.0", "--env", "live")
    assert child.stderr is not None
    with child:
        for line in child.stderr:
            if "activate h1" in line:
                break
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 130, err
    assert "interrupted" in err
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}
    assert site.status()["h2"] == before["h2"]
    site.client.release_lease(site.client.acquire_lease("live", "tests", "free again", 5))
