"""Policies, hooks, resuming, plans in files and tampered wheels, on real hosts behind a real command line."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy import wheels
from tests.deploy.deployment import Ended, Site, standing

BALANCER = f"""#!{sys.executable}
import sys
with open("balancer", "a") as out:
    out.write(" ".join(sys.argv[1:]) + chr(10))
"""

TABLES = """
[environments.live.rollout]
policy = "revert-all"
failure_budget = {budget}
max_unavailable = 2
batch = "1"
[environments.live.hooks]
drain = ["./balancer.py", "off", "{{host}}"]
undrain = ["./balancer.py", "on", "{{host}}"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two hosts that run 1.0.0. On h1, 1.2.0 is healthy; on h2 it is not."""
    with standing(tmp_path_factory.mktemp("site"), "h1", "h2") as made:
        file = made.folder / "pinwheel.toml"
        text = file.read_text().replace("/health", "/{check}")
        for name, port in made.ports.items():
            text = text.replace(f'port = "{port}"', f'port = "{port}"\ncheck = "{"" if name == "h1" else "health"}"')
        file.write_text(text + TABLES.format(budget=0))
        balancer = made.folder / "balancer.py"
        balancer.write_text(BALANCER)
        balancer.chmod(0o755)
        assert made.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        yield made


def start(site: Site, budget: int = 0) -> None:
    """Everything runs 1.0.0 and in service; so many hosts may fail."""
    file = site.folder / "pinwheel.toml"
    file.write_text(file.read_text().partition("\n[environments.live.rollout]")[0] + TABLES.format(budget=budget))
    assert site.roll_out("1.0.0").code == 0
    (site.folder / "balancer").unlink(missing_ok=True)


def asked(site: Site) -> list[str]:
    return (site.folder / "balancer").read_text().splitlines()


def outcomes(ended: Ended) -> list[str]:
    return [host["outcome"] for host in ended.document["hosts"]]


@pytest.mark.slow
def test_a_release_that_fails_on_the_second_host_leaves_the_fleet_as_it_was(site: Site) -> None:
    start(site)
    ended = site.roll_out("1.2.0")
    assert (ended.code, outcomes(ended)) == (1, ["taken-back", "reverted"]), ended.err
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}
    assert asked(site) == ["off h1", "on h1", "off h2", "on h2", "off h1", "on h1"]
    again = site.pinwheel("deploy.resume", "--env", "live")
    assert (again.code, again.out) == (0, "nothing to do: tiny 1.0.0 runs on every host\n"), again.err


@pytest.mark.slow
def test_a_host_that_was_away_is_resumed_and_the_other_goes_on(site: Site) -> None:
    """Promise D3, but for the packets: the host's SSH server is gone, its service is not."""
    start(site, budget=1)
    site.lab.hosts["h2"].kill_ssh()
    try:
        ended = site.roll_out("1.1.0")
        assert (ended.code, outcomes(ended)) == (1, ["activated", "unreachable"]), ended.err
    finally:
        site.lab.hosts["h2"].start_ssh()
    pids = site.status()["h1"]["processes"]
    resumed = site.pinwheel("deploy.resume", "--env", "live", "--json")
    assert resumed.code == 0, resumed.err
    assert [host["outcome"] for host in resumed.document["applications"][0]["hosts"]] == ["unchanged", "activated"]
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}
    assert site.status()["h1"]["processes"] == pids


@pytest.mark.slow
def test_exactly_the_plan_is_done_or_nothing(site: Site) -> None:
    start(site)
    words = ("tiny==1.1.0", "--env", "live")
    assert site.pinwheel("deploy.plan", *words, "--out", "tiny.plan").code == 4
    conf = next(Path(site.folder).glob("lab/hosts/h2/srv/pinwheel/etc/conf.d/pinwheel-tiny.conf"))
    kept = conf.read_bytes()
    conf.write_bytes(kept + b"; edited by hand\n")
    refused = site.pinwheel("deploy.rollout", *words, "--plan", "tiny.plan")
    assert refused.code == 1
    assert "h2: its conf on the host is another one" in refused.err
    conf.write_bytes(kept)
    done = site.pinwheel("deploy.rollout", *words, "--plan", "tiny.plan", "--json-lines")
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    assert (told[-1]["event"], told[-1]["outcome"]) == ("finished", "done")
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}


def tampered(wheel: bytes) -> bytes:
    """A wheel of the same length that is another one."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info).replace(b"no database", b"evil things"))
    assert len(made.getvalue()) == len(wheel)
    return made.getvalue()


@pytest.mark.slow
def test_a_wheel_that_was_tampered_with_in_the_store_is_refused_on_every_host(site: Site) -> None:
    """Promise D11."""
    start(site, budget=2)
    site.publish("1.3.0")
    wheel = wheels.tiny(site.folder, "1.3.0")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (stored,) = [each for each in (site.folder / "index").rglob(f"*{sha256[2:]}*") if each.is_file()]
    stored.chmod(0o600)
    stored.write_bytes(tampered(stored.read_bytes()))
    before = site.status()
    ended = site.roll_out("1.3.0")
    assert (ended.code, outcomes(ended)) == (1, ["failed", "failed"]), ended.err
    assert all("ash mismatch" in host["reason"] for host in ended.document["hosts"]), ended.err
    assert site.status() == before
    assert not (site.folder / "balancer").exists(), "nobody was activated"
