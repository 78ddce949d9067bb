"""Promises D5, D10 and D11 on real hosts: unhealthy releases, changed wheels, an index that is away."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import (
    APPLICATION,
    CRASHING,
    DYING,
    ENVIRONMENT,
    EVIL,
    HOOKS,
    SICK,
    UNHEALTHY,
    Behaviour,
    World,
    ended,
    world,
)

pytestmark = [pytest.mark.root, pytest.mark.slow]

NAMES = ("web-1", "web-2", "web-3")


@pytest.fixture(scope="module")
def desk(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(start_shared_lab(*NAMES), tmp_path_factory.mktemp("desk")) as made:
        made.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        yield made


# --- D5


@pytest.mark.parametrize(
    ("version", "behaviour", "health", "shown"),
    [
        ("5.0.1", CRASHING, {}, "no database"),
        ("5.0.2", UNHEALTHY, {"deadline_s": 3.0}, "500"),
        ("5.0.3", DYING, {"min_healthy_s": 6.0, "deadline_s": 14.0}, "real-app 5.0.3 starts"),
    ],
    ids=["crash loop", "500", "dies after 5 s"],
)
def test_a_release_that_is_not_healthy_reaches_the_canary_only_and_the_old_one_is_back_there(
    desk: World, version: str, behaviour: Behaviour, health: dict[str, float], shown: str
) -> None:
    """D5 (a) to (c)."""
    desk.configure()
    desk.rollout("1.0.0")
    before, confs = desk.status(), desk.confs()
    desk.index.publish(version, behaviour)
    desk.configure(None, **health)
    said = desk.rollout(version, exit_code=1)
    assert shown in said
    assert "web-1: reverted" in said
    after = desk.status()
    assert {name: after[name] for name in NAMES[1:]} == {name: before[name] for name in NAMES[1:]}
    assert desk.confs() == confs
    assert after["web-1"]["healthy"]
    assert desk.served() == ["1.0.0"] * 3
    assert "it failed its gate here before" in desk.plan(version)


def test_when_the_old_release_is_not_healthy_either_the_rollout_stops_and_says_so(desk: World) -> None:
    """D5 (d)."""
    desk.configure({"hooks": HOOKS}, deadline_s=3.0)
    desk.rollout("1.0.0")
    before = desk.status()
    desk.index.publish("5.0.4")
    desk.lab.hosts["web-1"].exec("touch", SICK)
    try:
        said = desk.rollout("5.0.4", exit_code=1)
        assert "web-1: revert-unhealthy" in said
        assert "deploy.status" in said
        assert desk.drained() == {"web-1"}
        after = desk.status()
        assert {name: after[name] for name in NAMES[1:]} == {name: before[name] for name in NAMES[1:]}
        assert after["web-1"]["version"] == "1.0.0"
        kinds = [(event["kind"], event["outcome"], event["host"]) for event in events(desk)[-2:]]
        assert kinds == [("reverted", "revert-unhealthy", "web-1"), ("rollout-finished", "halted", "")]
    finally:
        desk.lab.hosts["web-1"].exec("rm", SICK)
    assert desk.served() == ["1.0.0"] * 3
    desk.pinwheel("deploy.resume", "--env", ENVIRONMENT)
    assert desk.drained() == set()


def events(desk: World) -> list[dict[str, str]]:
    """Of the last rollout."""
    history = ("deploy.history", "--env", ENVIRONMENT, "--json")
    last = json.loads(desk.pinwheel(*history).output)["rollouts"][-1]["rollout"]
    return list(json.loads(desk.pinwheel(*history, "--rollout", last).output)["events"])


# --- D11


def test_a_wheel_that_was_changed_in_the_store_is_refused_on_every_host(desk: World) -> None:
    """D11."""
    desk.configure()
    desk.rollout("1.0.0")
    before = desk.status()
    sha256 = desk.index.publish("11.0.1")
    # what the server keeps in memory would be served unchanged
    desk.index.kill()
    (blob,) = (
        file for file in desk.index.data.rglob(f"*{sha256[4:]}*") if file.is_file() and file.stat().st_size > 900
    )
    blob.chmod(0o644)
    blob.write_bytes(desk.index.wheel("11.0.1", EVIL).read_bytes())
    desk.index.start()
    refused_everywhere(desk, "11.0.1")
    assert desk.status() == before


def test_a_wheel_that_is_changed_on_the_way_is_refused_on_every_host(desk: World) -> None:
    """D11."""
    desk.configure()
    desk.rollout("1.0.0")
    before = desk.status()
    desk.index.publish("11.0.2")
    with meddler(desk, desk.index.wheel("11.0.2", EVIL).read_bytes()) as url:
        desk.configure({"index_url": url})
        refused_everywhere(desk, "11.0.2")
    desk.configure()
    assert desk.status() == before
    # and it is the way that was bad, not the release
    desk.rollout("11.0.2")
    assert desk.served() == ["11.0.2"] * 3


def refused_everywhere(desk: World, version: str) -> None:
    done = desk.pinwheel("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT, "--json", exit_code=1)
    told = json.loads(done.output)["hosts"]
    assert [host["outcome"] for host in told] == ["failed"] * 3
    assert all("hash" in host["reason"].lower() for host in told), done.output
    for host in desk.lab.hosts.values():
        assert version not in host.exec("ls", f"/srv/pinwheel/apps/{APPLICATION}/releases").output


@contextlib.contextmanager
def meddler(desk: World, wheel: bytes) -> Iterator[str]:
    """Somebody between the hosts and the index who gives out `wheel` for ours; their address."""

    class Between(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            passed = {key: value for key, value in self.headers.items() if key in ("Authorization", "Accept")}
            asked = urllib.request.Request(desk.index.url + self.path.lstrip("/"), headers=passed)
            try:
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    status, kind, sent = answer.status, answer.headers["Content-Type"], answer.read()
            except urllib.error.HTTPError as error:
                status, kind, sent = error.code, "text/plain", error.read()
            if status == 200 and self.path.endswith(".whl"):
                assert len(sent) == len(wheel)
                sent = wheel
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((desk.lab.gateway, 0), Between)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{desk.lab.gateway}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- D10


def test_without_the_index_a_rollout_says_so_and_touches_nothing(desk: World) -> None:
    """D10 (a)."""
    desk.configure()
    desk.rollout("1.0.0")
    before = desk.status()
    desk.index.kill()
    try:
        said = desk.rollout("1.1.0", exit_code=1)
        assert desk.index.url.rstrip("/") in said
        assert "Traceback" not in said
        # to look at the hosts needs no index
        assert desk.status() == before
    finally:
        desk.index.start()
    assert desk.served() == ["1.0.0"] * 3


def test_an_index_that_goes_away_after_prepare_is_told_later_and_once(desk: World) -> None:
    """D10 (b)."""
    desk.configure()
    desk.rollout("1.0.0")
    last = int(events(desk)[-1]["serial"])
    rollout = desk.begin_rollout("1.1.0", "batch 1 of 3")
    desk.index.kill()
    said = ended(rollout)
    assert rollout.returncode == 0, said
    assert desk.served() == ["1.1.0"] * 3
    desk.index.start()
    # whatever is told next takes along what waits; its own lease, which it could not give back, still runs
    desk.pinwheel("packaging.lock", f"{APPLICATION}==1.2.0")
    told = [
        (event["kind"], event["host"])
        for event in events(desk)
        if int(event["serial"]) > last and event["version"] == "1.1.0" and event["kind"] != "prepared"
    ]
    activated = [("activated", name) for name in NAMES]
    assert told == [("rollout-started", ""), *activated, ("rollout-finished", "")]
