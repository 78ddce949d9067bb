"""Everything that an application can have, together: zero downtime, secrets, limits, a worker, a task, over SSH."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest
from ci.bench import wheels
from tests.lab.conftest import StartLab
from tests.lab.real_world import APPLICATION, ENVIRONMENT, FOLDER, World, world
from tests.lab.rootlab import RootHost

from pinwheel.demo import toml

pytestmark = pytest.mark.root

OLD, NEW = "2.0.0", "2.1.0"
PASSWORD, KEY = "correct horse battery staple", "-----BEGIN the key of keys-----"

SERVICE = """
import http.server, os, socketserver, sys, time

class Answer(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return "somebody"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{version}")

    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 128
    daemon_threads = True

def web():
    print("the password is", os.environ["PASSWORD"], flush=True)
    Server(sys.argv[1], Answer).serve_forever()

def work():
    assert "KEY" not in os.environ
    time.sleep(10_000)

def migrate():
    with open("/var/tmp/migrated", "a") as file:
        file.write("{version} as %s\\n" % os.getuid())
    print("connected with", os.environ["PASSWORD"], "and", open(os.environ["KEY"]).read())
"""


class Visitors:
    """Ask the host's web, where its proxy would, again and again in a thread, with a new connection each time."""

    def __init__(self, host: RootHost) -> None:
        self.heard = Counter[str]()
        self._path = f"/proc/{host.pid}/root{FOLDER}/run/live/web/sock"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ended.wait(0.005):
            connection = http.client.HTTPConnection("shop.test")
            try:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(20)
                connection.sock.connect(self._path)
                connection.request("GET", "/")
                self.heard[connection.getresponse().read().decode()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.heard[repr(error)] += 1
            finally:
                connection.close()


def describe(desk: World, folder: Path) -> None:
    """Write pinwheel.toml anew: an application with everything."""
    (folder / "password").write_text(PASSWORD)
    (folder / "key").write_text(KEY)
    (folder / "key").chmod(0o600)
    health = {"http": "http://shop.test/", "min_healthy_s": 0.2}
    web = {
        "command": ["{release}/bin/web", "{socket}"],
        "user": "www-data",
        "zero_downtime": True,
        "limits": {"nofile": 777, "core": 0},
        "health": health,
    }
    worker = {
        "command": ["{release}/bin/work"],
        "user": "www-data",
        "processes": 2,
        "secrets": ["PASSWORD"],
        "health": {"min_healthy_s": 0.2},
    }
    application = {
        "secrets": {"PASSWORD": {"command": ["cat", "password"]}, "KEY": {"file": "key", "as_file": True}},
        "programs": {"web": web, "worker": worker},
        "tasks": {"migrate": {"command": ["migrate"]}},
    }
    document = {
        "index": {"url": desk.index.url},
        "applications": {APPLICATION: application},
        "environments": {ENVIRONMENT: desk.lab.environment()},
    }
    (folder / "pinwheel.toml").write_text("".join(toml(document)))


def offer(desk: World, version: str) -> None:
    scripts = {name: f"real_app:{name}" for name in ("web", "work", "migrate")}
    source = SERVICE.format(version=version).encode()
    folder = desk.folder / "own"
    folder.mkdir(exist_ok=True)
    desk.index.offer(version, wheels.write(folder, APPLICATION, version, {"real_app.py": source}, scripts=scripts))


def test_zero_downtime_goes_together_with_all_that_an_application_can_have(start_lab: StartLab, tmp_path: Path) -> None:
    """Nobody who asks hears an error, what was asked for is in force, and no secret is where it should not be."""
    lab = start_lab("web-1")
    host = lab.hosts["web-1"]
    with world(lab, tmp_path) as desk:
        describe(desk, tmp_path)
        for version in (OLD, NEW):
            offer(desk, version)
        desk.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        said = desk.rollout(OLD)
        with Visitors(host) as visitors:
            said += desk.rollout(NEW)
        assert visitors.heard.keys() == {OLD, NEW}

        processes = {each["program"]: each["pid"] for each in desk.status()["web-1"]["processes"]}
        assert len(processes) == 3
        web = next(pid for name, pid in processes.items() if "worker" not in name)
        limits = host.exec("grep", "-E", "open files|core", f"/proc/{web}/limits").output.split()
        assert (limits.count("777"), limits.count("0")) == (2, 2), "soft and hard"
        assert host.exec("stat", "-c", "%U", f"/proc/{web}").output == "www-data\n"
        uid = host.exec("id", "-u", "www-data").output.strip()
        migrated = host.exec("cat", "/var/tmp/migrated").output
        assert migrated == "".join(f"{version} as {uid}\n" for version in (OLD, NEW))

        said += desk.pinwheel("deploy.logs", APPLICATION, "--env", ENVIRONMENT).output
        said += desk.pinwheel("deploy.history", "--env", ENVIRONMENT, "--json").output
        said += desk.plan(OLD)
        assert "the password is ***" in said
        assert "connected with ***" in said
        assert not any(secret in said for secret in (PASSWORD, KEY))
        found = host.exec("grep", "-rlE", f"{PASSWORD}|{KEY}", "/srv", "/etc", "/var", "/tmp", "/run").output
        kept, own = f"{FOLDER}/secrets/", f"{FOLDER}/log/{APPLICATION}-web"
        assert all(file.startswith((kept, own)) for file in found.splitlines()), found
