"""Starting a release again, whole or one program of it: journalled and gated as every activation is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import BareHost, bare_host

from pinwheel.deploy.host.supervisord import Refusal

ONE = "1.0.0-aaaaaaaa"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[BareHost]:
    """A host on which ONE runs, with a web and a worker."""
    with bare_host(tmp_path) as host:
        body = host.activation(ONE, None)
        web, worker = "shop-web", "shop-worker"
        section = host.conf(ONE).partition(f"[program:{web}]")[2].replace(str(host.port), "0")
        body["conf"] = host.conf(ONE).replace(f"programs={web}", f"programs={web},{worker}")
        body["conf"] += f"\n[program:{worker}]{section}".replace("shop-web.log", "shop-worker.log")
        body["programs"] += [{"name": worker, "processes": [worker], "health": {"passes": 1, "min_healthy_s": 0}}]
        assert host.do("activate", body)["outcome"] == "activated"
        yield host


def again(host: BareHost, program: str = "") -> dict[str, Any]:
    about = {"application": "shop", "release": ONE, "expected_current": ONE}
    return host.do("activate", {**about, "conf": None, "programs": None, "restart": program})


def pids(host: BareHost) -> dict[str, int]:
    return {each["name"]: int(each["pid"]) for each in host.supervisor.processes("shop")}


def test_a_restart_gives_every_process_a_new_pid_and_is_in_the_journal(running: BareHost) -> None:
    before = pids(running)
    assert again(running)["outcome"] == "activated"
    assert not set(before.values()) & set(pids(running).values())
    assert running.journal() == ["begin", "commit"] * 2
    last = json.loads((running.root / "apps/shop/journal.jsonl").read_text().splitlines()[-1])
    assert (last["release"], last["previous"], last["by"]) == (ONE, ONE, "ann@desk")


def test_one_program_starts_again_and_the_other_goes_on(running: BareHost) -> None:
    before = pids(running)
    assert again(running, "shop-web")["outcome"] == "activated"
    after = pids(running)
    assert after["shop-worker"] == before["shop-worker"]
    assert after["shop-web"] != before["shop-web"]


def test_a_program_that_is_not_there_is_refused_and_nothing_stops(running: BareHost) -> None:
    before = pids(running)
    with pytest.raises(Refusal, match="no program shop-mailer") as refused:
        again(running, "shop-mailer")
    assert refused.value.code == "no-program"
    assert "shop-web, shop-worker" in refused.value.remedy
    assert pids(running) == before


@pytest.mark.slow
def test_a_restart_after_which_it_is_not_healthy_says_so(running: BareHost) -> None:
    """What it needs has gone since it was started: nothing older can be brought back, so the host is worse off."""
    folder = running.root / "apps/shop/releases" / ONE
    (folder / "service.py").write_text("raise SystemExit('no database')")
    about = json.loads((folder / "release.json").read_text())
    about["programs"][0]["health"]["deadline_s"] = 1.0  # nothing to wait for
    (folder / "release.json").write_text(json.dumps(about))
    result = again(running)
    assert result["outcome"] == "revert-unhealthy"
    assert "no database" in result["log_tail"]
    assert running.facts()["current"] == ONE
    assert next(each for each in running.facts()["releases"])["verdict"] == "good", "it is not to blame"
