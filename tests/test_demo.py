"""The demo as its users see it: what it prints is what happened, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pinwheel import demo

PINWHEEL = [sys.executable, "-P", "-m", "pinwheel"]
DEADLINE_S = 600  # of a whole demo, on a machine that has much else to do
INTERRUPTED_WITHIN_S, MOMENTS = 30.0, 12


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty HOME and a temporary folder of the test's own; the test fails when a process is left in it."""
    folder = tmp_path_factory.mktemp("d")
    (folder / "home").mkdir()
    (folder / "t").mkdir()
    yield folder
    left = processes(folder / "t")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left behind"


def environment(place: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PINWHEEL_", "XDG_"))}
    return kept | {"HOME": str(place / "home"), "TMPDIR": str(place / "t")}


def start(place: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PINWHEEL, "demo", *flags],
        cwd=place,
        env=environment(place) | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(folder: Path) -> list[int]:
    """Every process that names a demo's folder below `folder` at all: more than the demo's own sweep looks for."""
    mark = os.fsencode(folder) + b"/pinwheel-demo"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                known = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in known:
                found.append(int(entry.name))
    return found


def check(document: dict[str, Any], hosts: int) -> None:
    assert set(document) == {"releases", "hosts", "steps"}
    assert [(one["name"], one["version"]) for one in document["releases"]] == [
        ("acme-greet", "1.0.0"),
        ("acme-shop", "1.0.0"),
        ("acme-shop", "1.1.0"),
        ("acme-shop", "1.2.0"),
    ]
    assert all(len(one["sha256"]) == 64 and len(one["commit"]) == 40 for one in document["releases"])
    assert len({one["sha256"] for one in document["releases"]}) == 4
    assert [(one["version"], one["healthy"]) for one in document["hosts"]] == [("1.0.0", True)] * hosts
    failed = [one["command"] for one in document["steps"] if one["exit"]]
    assert failed == ["pinwheel deploy.rollout acme-shop==1.2.0 --env demo"]


@pytest.mark.slow
def test_the_demo_tells_the_whole_story(place: Path) -> None:
    child = start(place, "--json")
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    check(json.loads(out), 3)
    for step in json.loads(out)["steps"]:
        assert f"$ {step['command']}" in err, "every command is printed before it runs"
    assert not list((place / "t").iterdir())
    assert not [path for path in (place / "home").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_two_demos_at_once_do_not_disturb_each_other(place: Path) -> None:
    both = [start(place, "--json", "--hosts", "1"), start(place, "--json", "--hosts", "2")]
    said = [child.communicate(timeout=DEADLINE_S) for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    check(json.loads(said[0][0]), 1)
    check(json.loads(said[1][0]), 2)


@pytest.mark.slow
def test_a_kept_demo_can_be_looked_at_and_is_ended_by_demo_stop(place: Path) -> None:
    child = start(place, "--keep", "--hosts", "1", "--json")
    _, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    folder = next((place / "t").glob("pinwheel-demo-*"))
    looked = subprocess.run(
        [*PINWHEEL, "deploy.status", "--env", "demo", "--json"],
        cwd=folder,
        env=environment(place),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(looked.stdout)["hosts"][0]["applications"][0]["healthy"]
    ended = subprocess.run([*PINWHEEL, "demo-stop"], cwd=place, env=environment(place), check=False)
    assert ended.returncode == 0
    assert not list((place / "t").iterdir())
    assert not processes(place / "t")


@pytest.mark.slow
def test_what_a_kill_leaves_is_cleaned_up_by_the_next_run(place: Path) -> None:
    child = start(place, "--hosts", "1")
    assert child.stderr is not None
    for line in child.stderr:
        if "deploy.rollout" in line:
            break
    child.kill()
    child.communicate()
    assert list((place / "t").iterdir())
    following = start(place, "--hosts", "1", "--json")
    out, err = following.communicate(timeout=DEADLINE_S)
    assert following.returncode == 0, err
    check(json.loads(out), 1)
    assert not list((place / "t").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(MOMENTS))  # one test each: every process of the run has its share
def test_ctrl_c_at_any_moment_leaves_no_process(place: Path, moment: int) -> None:
    delay_s = INTERRUPTED_WITHIN_S * (moment + random.random()) / MOMENTS
    child = start(place, "--hosts", "2")
    while not list((place / "t").iterdir()):  # until then there is nothing to leave, and it may be Python that ends
        assert child.poll() is None
        time.sleep(0.01)
    try:
        child.wait(delay_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = child.communicate(timeout=DEADLINE_S)
    told = f"after {delay_s:.2f} s, gone in {time.monotonic() - began:.1f} s\n{err}"
    assert child.returncode in {0, 130}, told
    assert "Traceback" not in err, told
    assert not processes(place / "t"), told
    assert not list((place / "t").iterdir()), told


def test_a_demo_without_hosts_is_refused(place: Path) -> None:
    child = start(place, "--hosts", "0", "--json")
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 2
    assert "at least one host" in err
    assert "at least one host" in json.loads(out)["error"]["problem"]


def test_a_demo_that_fails_is_one_error_and_leaves_nothing(place: Path) -> None:
    child = start(place, "--json", PATH="/nonexistent")
    out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 1
    assert json.loads(out)["error"]["problem"] == "cp is not installed"
    assert "remedy: sudo apt-get install" in err
    assert "Traceback" not in err
    assert not list((place / "t").iterdir())


def test_waiting_for_the_registry_is_counted_once_where_requests_overlap(tmp_path: Path) -> None:
    log = tmp_path / "index.log"
    spans = [(10.0, 2.0), (11.0, 3.0), (20.0, 1.0), (20.2, 0.1)]
    lines = [json.dumps({"log": "upstream", "url": "u", "started": at, "seconds": s, "status": 200}) for at, s in spans]
    log.write_text("\n".join(["serving x at http://127.0.0.1:1/", *lines, "{torn"]))
    assert demo.waited_for_registry(log) == pytest.approx(5.0)


def test_the_configuration_is_toml() -> None:
    import tomllib

    table = {"a": {"x": 1, "b-c": {"y": ['quote " and \\', "é"], "z": {"t": True}}}}
    assert tomllib.loads("".join(demo.toml(table))) == table
