"""Removing from a host what nobody needs: never what runs, ran before, or is used by anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import BareHost, Running, bare_host, wait_until

ZERO, ONE, TWO, THREE = (f"1.{number}.0-{letter * 8}" for number, letter in enumerate("0abc"))


def body(*releases: str, whole: bool = True) -> dict[str, Any]:
    return {"applications": {"shop": list(releases)}, "whole": whole}


def record(host: BareHost, release: str, previous: str | None) -> None:
    """As a commit leaves it."""
    about = {"event": "commit", "at": "2026-01-01T00:00:00Z", "release": release, "previous": previous}
    with (host.root / "apps/shop/journal.jsonl").open("a") as journal:
        journal.write(json.dumps(about) + "\n")


def releases(host: BareHost) -> list[str]:
    return sorted(each.name for each in (host.root / "apps/shop/releases").iterdir())


def test_what_is_named_goes_but_not_what_runs_or_ran_before(host: BareHost) -> None:
    for name in (ZERO, ONE, TWO):
        host.add_release(name)
    record(host, ONE, ZERO)
    record(host, TWO, ONE)
    record(host, TWO, TWO)  # a restart: what ran before is still ONE
    for action in ("weigh", "prune"):
        told = host.do(action, body(ZERO, ONE, TWO))
        assert told["removed"] == [f"apps/shop/releases/{ZERO}"]
        assert told["kept"] == {f"shop {ONE}": "it ran before", f"shop {TWO}": "it runs"}
        assert told["bytes"] >= 4096
        assert (ZERO in releases(host)) == (action == "weigh")
    assert host.do("prune", body(ZERO, ONE, TWO))["removed"] == []


@pytest.mark.parametrize("by", ["argument", "working folder", "mapped file"])
def test_what_a_process_uses_stays(host: BareHost, by: str) -> None:
    folder = host.add_release(ZERO)
    (folder / "library").write_bytes(b"x" * 4096)
    mapped = "f = open('library', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); os.chdir('/')"
    code = f"import mmap, os, time; {mapped if by == 'mapped file' else ''}; print(flush=True); time.sleep(600)"
    argv = [sys.executable, "-c", code.replace("; ;", ";"), *([str(folder / "x")] if by == "argument" else [])]
    cwd = "/" if by == "argument" else folder
    with subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            assert host.do("prune", body(ZERO))["kept"] == {f"shop {ZERO}": f"process {child.pid} uses it"}
        finally:
            child.kill()
    assert host.do("prune", body(ZERO))["removed"] == [f"apps/shop/releases/{ZERO}"]


def test_debris_goes_and_what_is_no_debris_stays(host: BareHost) -> None:
    (host.add_release(ONE) / "COMPLETE").unlink()
    (host.root / "apps/shop/.journal.tmp").touch()
    (host.root / "tmp/requirements.txt").touch()
    (host.root / "apps/other/releases/half").mkdir(parents=True)
    told = host.do("prune", body())
    assert told["removed"] == [f"apps/shop/releases/{ONE}", "apps/shop/.journal.tmp", "tmp/requirements.txt"]
    assert (host.root / "apps/other/releases/half").exists(), "it is another application's"


def test_bytes_count_that_have_no_link_elsewhere(host: BareHost) -> None:
    old, new = host.add_release(ZERO), host.add_release(ONE)
    for name, kept_by in (("shared", new / "shared"), ("cached", host.root / "cache/cached"), ("alone", None)):
        (old / name).write_bytes(b"x" * (1 << 20))
        if kept_by:
            os.link(old / name, kept_by)
    assert 2 << 20 <= host.do("weigh", body(ZERO))["bytes"] < 3 << 20
    assert 1 << 20 <= host.do("weigh", body(ZERO, whole=False))["bytes"] < 2 << 20


def test_the_cache_lets_go_of_what_only_removed_releases_held(host: BareHost) -> None:
    host.add_release(ZERO)
    host.add_release(ONE)
    for name, holds in ((ZERO, ("shop-1.0", "flask-2.0", "six-1.0")), (ONE, ("shop-1.1", "flask-3.0", "six-1.0"))):
        for each in holds:
            (host.root / f"apps/shop/releases/{name}/lib/python3/site-packages/{each}.dist-info").mkdir(parents=True)
    (host.root / "bin/uv").write_text(f'#!/bin/sh\necho "$@" >> {host.root}/said\n')
    (host.root / "bin/uv").chmod(0o755)
    host.do("prune", body(ZERO))
    assert (host.root / "said").read_text() == "cache clean flask shop\ncache prune\n"


def preparing(host: BareHost, *superfluous: str) -> Running:
    """A prepare of a release that is there already."""
    host.add_release(THREE)
    record(host, TWO, ONE)
    about = {"application": "shop", "release": THREE, "secrets": None, "superfluous": list(superfluous)}
    return host.start("prepare", about)


def test_a_prepare_begins_by_removing_what_the_new_release_makes_superfluous(host: BareHost) -> None:
    for name in (ZERO, ONE, TWO):
        host.add_release(name)
    assert preparing(host, ZERO, ONE, TWO).end()["removed"] == [f"apps/shop/releases/{ZERO}"]
    assert releases(host) == [ONE, TWO, THREE], "what runs, what ran before, and what comes"


def test_what_cannot_be_removed_does_not_keep_a_release_away(host: BareHost) -> None:
    host.add_release(ZERO)
    host.sources["prune"] = host.sources["prune"].replace("shutil.rmtree(each)", "raise OSError(1, 'not this')")
    running = preparing(host, ZERO)
    assert running.end()["removed"] == []
    assert any("old releases stay: " in each.get("text", "") for each in running.said)


@pytest.mark.slow
def test_old_logs_of_processes_that_are_no_more_go(tmp_path: Path) -> None:
    with bare_host(tmp_path) as running:
        assert running.do("activate", running.activation(ONE, None))["outcome"] == "activated"
        wait_until(running.log.exists)
        ages = {"shop-web.log.2": 40, "shop-gone.log": 40, "shop-gone.log.1": 40, "shop-young.log": 2}
        for name, days in ages.items():
            running.log.with_name(name).touch()
            os.utime(running.log.with_name(name), (time.time() - days * 86_400,) * 2)
        assert sorted(running.do("prune", body())["removed"]) == [
            "apps/shop/log/shop-gone.log",
            "apps/shop/log/shop-gone.log.1",
        ]
