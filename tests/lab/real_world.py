"""What a rollout on real hosts needs around it: an index that the hosts reach, an application, a pinwheel.toml."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.bench import wheels
from tests.deploy.deployment import upload
from tests.deploy.wheels import pylock
from tests.lab.rootlab import INSIDE, RootHost, RootLab

from pinwheel import process
from pinwheel.demo import toml
from pinwheel.index.client import IndexClient

APPLICATION = "real-app"
ENVIRONMENT = "real"
PORT = 8000
INDEX_PORT = 8080
TIMEOUT_S = 120.0

ROOT = "/srv/pinwheel"
FOLDER = f"{ROOT}/apps/{APPLICATION}"
JOURNAL = f"{FOLDER}/journal.jsonl"
CONF = f"/etc/supervisor/conf.d/pinwheel-{APPLICATION}.conf"
SICK = "/var/tmp/sick"
"""While a host has this file, every release on it answers 500."""

SERVER = """
import http.server, os, pathlib, sys, threading, time

{on_import}

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if pathlib.Path("{sick}").exists() else {status})
        self.end_headers()
        self.wfile.write(b"{version}")

    def log_message(self, *args):
        pass

def main():
    print("real-app {version} starts", flush=True)
    {on_start}
    http.server.ThreadingHTTPServer(("0.0.0.0", {port}), Answer).serve_forever()
"""
"""The application: it answers everything with its version."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a release does: the status that it answers with, and a statement for when it is imported and started."""

    status: int = 200
    on_import: str = "pass"
    on_start: str = "pass"


HEALTHY = Behaviour()
UNHEALTHY = Behaviour(status=500)
CRASHING = Behaviour(on_start="sys.exit('no database')")
DYING = Behaviour(on_start="threading.Timer(5, os._exit, (1,)).start()")
EVIL = Behaviour(on_start="exit")
"""As healthy as HEALTHY is long: wheels of both have the same size."""
SLOW_TO_TRY = Behaviour(on_import="time.sleep(4 * (sys.argv[0] == '-c'))")
"""Its import takes 4 s when it is tried after the installation, and no time when the program starts."""
SLOW_TO_START = Behaviour(on_start="time.sleep(4)")

QUICK = {"min_healthy_s": 0.2, "deadline_s": 8.0}
"""Health checks for tests that wait for many activations."""

HOOKS = {"drain": ["touch", "{host}.drained"], "undrain": ["rm", "-f", "{host}.drained"]}
"""An environment's hooks, for a load balancer that is a folder: `World.drained` tells who is out of it."""

RELEASES = {"1.0.0": HEALTHY, "1.1.0": HEALTHY, "1.2.0": UNHEALTHY}


class Index:
    """A real index in `folder` at the lab's gateway, that can be killed and started again."""

    def __init__(self, lab: RootLab, folder: Path) -> None:
        self.data = folder / "index"
        # the gateway's address is this lab's alone, and so is every port of it
        self.url = f"http://{lab.gateway}:{INDEX_PORT}/"
        self._serve = ("index.serve", "--host", lab.gateway, "--port", str(INDEX_PORT), "--upstream", "auto")
        self._log = folder / "index.log"
        self._server: subprocess.Popen[bytes] | None = None
        minted = process.run(
            command("index.token-create", "test", "--scope", "read,upload,deploy", "--data", str(self.data)),
            timeout_s=TIMEOUT_S,
        )
        assert minted.exit_code == 0, minted.errors
        self.token = minted.output.strip()

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with self._log.open("ab") as out:
            serve = command(*self._serve, "--data", str(self.data))
            self._server = subprocess.Popen(serve, stdout=out, stderr=out, start_new_session=True)
        server = self._server

        def answers() -> bool:
            assert server.poll() is None, self._log.read_text()
            return bool(body(f"{self.url}-/ready"))

        until(answers, self._log.read_text)

    def kill(self) -> None:
        """Gone at once, as when its machine is: connections are refused afterwards."""
        if self._server is not None:
            process.kill_group(self._server)
        self._server = None

    def wheel(self, version: str, behaviour: Behaviour = HEALTHY, *, requires_python: str = ">=3.10") -> Path:
        """Make the wheel of a release."""
        sources = SERVER.format(
            version=version,
            port=PORT,
            sick=SICK,
            status=behaviour.status,
            on_import=behaviour.on_import,
            on_start=behaviour.on_start,
        )
        folder = self.data.parent / "wheels"
        folder.mkdir(exist_ok=True)
        scripts = {APPLICATION: "real_app:main"}
        modules = {"real_app.py": sources.encode()}
        return wheels.write(folder, APPLICATION, version, modules, scripts=scripts, requires_python=requires_python)

    def publish(self, version: str, behaviour: Behaviour = HEALTHY, *, requires_python: str = ">=3.10") -> str:
        """Bring a release and its lock into the index; the wheel's sha256."""
        return self.offer(version, self.wheel(version, behaviour, requires_python=requires_python))

    def offer(self, version: str, wheel: Path) -> str:
        """The same with a wheel of one's own."""
        upload(self.url, self.token, wheel)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        client = IndexClient(self.url, self.token)
        client.put_attachment(APPLICATION, version, "pylock.toml", pylock(APPLICATION, version, sha256))
        pinned = f"{APPLICATION}=={version} --hash=sha256:{sha256}\n"
        client.put_attachment(APPLICATION, version, "requirements.txt", pinned.encode())
        return sha256


class World:
    """An operator's desk beside the lab: everything goes through the command line, as an operator's would."""

    def __init__(self, lab: RootLab, folder: Path, index: Index, health: Mapping[str, float]) -> None:
        self.lab = lab
        self.folder = folder
        self.index = index
        self._file = folder / "pinwheel.toml"
        self.configure(None, **health)
        self._env = process.scrubbed(
            os.environ, HOME=str(folder), PINWHEEL_CONFIG=str(self._file), PINWHEEL_TOKEN=index.token, TERM="dumb"
        )

    def configure(self, environment: Mapping[str, Any] | None = None, /, **health: float) -> None:
        """Write pinwheel.toml anew, with entries of the environment's table and of the program's health."""
        web = {
            "command": ["{release}/bin/real-app"],
            "user": "www-data",
            "health": {"http": f"http://127.0.0.1:{PORT}/", **QUICK, **health},
        }
        document = {
            "index": {"url": self.index.url},
            "packaging": {"cache": str(self.folder / "cache")},
            "applications": {APPLICATION: {"programs": {"web": web}}},
            "environments": {ENVIRONMENT: self.lab.environment(**(environment or {}))},
        }
        self._file.write_text("".join(toml(document)))

    def colleague(self, folder: Path) -> World:
        """Somebody else with the same pinwheel.toml, who has nothing of what this one keeps in his home."""
        folder.mkdir()
        made = World(self.lab, folder, self.index, {})
        made._file.write_text(self._file.read_text())
        return made

    def pinwheel(self, *words: str, exit_code: int | None = 0) -> process.Completed:
        """Run one command to its end, which must be `exit_code`; None: whichever."""
        done = process.run(command(*words), env=self._env, timeout_s=TIMEOUT_S)
        wrong = exit_code is not None and done.exit_code != exit_code
        assert not wrong, f"{words} ended with {done.exit_code}:\n{done.output}{done.errors}"
        return done

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start one command; the caller waits for it."""
        return subprocess.Popen(
            command(*words), env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def begin_rollout(self, version: str, until_said: str = "") -> subprocess.Popen[str]:
        """Start a rollout, and come back once it has said a line with `until_said`."""
        child = self.begin("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT)
        said: list[str] = []
        while until_said and (not said or until_said not in said[-1]):
            assert child.stdout is not None
            said.append(child.stdout.readline())
            assert said[-1], f"it ended and never said {until_said!r}:\n{''.join(said)}"
        return child

    def rollout(self, version: str, exit_code: int | None = 0) -> str:
        """Roll a version out; returns everything that was said."""
        done = self.pinwheel("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT, exit_code=exit_code)
        return done.output + done.errors

    def outcomes(self, version: str, exit_code: int | None = 0) -> dict[str, str]:
        """Roll a version out; how each host ended."""
        words = ("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT, "--json")
        told = json.loads(self.pinwheel(*words, exit_code=exit_code).output)
        return {host["name"]: host["outcome"] for host in told["hosts"]}

    def plan(self, version: str, exit_code: int = 4) -> str:
        """What a rollout would do; returns everything that was said."""
        done = self.pinwheel("deploy.plan", f"{APPLICATION}=={version}", "--env", ENVIRONMENT, exit_code=exit_code)
        return done.output + done.errors

    def drained(self) -> set[str]:
        """The hosts that `HOOKS` took out of service and did not put back."""
        return {file.stem for file in self.folder.glob("*.drained")}

    def tokens(self) -> dict[str, int]:
        """The highest fencing token that each host has seen."""
        told = json.loads(self.pinwheel("deploy.status", "--env", ENVIRONMENT, "--json").output)
        return {host["name"]: int(host["fence"]) for host in told["hosts"]}

    def status(self, exit_code: int = 0) -> dict[str, dict[str, Any]]:
        """What each host says of the application; {} where it has none or is not reached."""
        told = json.loads(self.pinwheel("deploy.status", "--env", ENVIRONMENT, "--json", exit_code=exit_code).output)
        return {host["name"]: next(iter(host["applications"]), {}) for host in told["hosts"]}

    def served(self) -> list[str]:
        """The version that each host serves, asked from outside; empty when it does not answer."""
        return list(self.answers().values())

    def answers(self) -> dict[str, str]:
        """The same by host."""
        return {name: body(f"http://{host.address}:{PORT}/") for name, host in self.lab.hosts.items()}

    def confs(self) -> dict[str, str]:
        """The file for supervisor on each host."""
        return {name: host.exec("cat", CONF).output for name, host in self.lab.hosts.items()}


@contextlib.contextmanager
def world(lab: RootLab, folder: Path, environment: Mapping[str, Any] | None = None, **health: float) -> Iterator[World]:
    """Serve an index with the application's releases at the lab's gateway."""
    index = Index(lab, folder)
    try:
        index.start()
        for version, behaviour in RELEASES.items():
            index.publish(version, behaviour)
        made = World(lab, folder, index, {})
        made.configure(environment, **health)
        yield made
    finally:
        index.kill()


@dataclass(frozen=True, slots=True)
class Sample:
    """One question to a host's service, and what it answered; empty when it did not, or not with 200."""

    began: float
    ended: float
    answer: str


class Watch:
    """Asks the service of every host again and again from outside, in a thread for each.

    A host that the test itself makes unreachable is `excused` meanwhile: what is not heard of it does not count.
    """

    def __init__(self, lab: RootLab) -> None:
        self.samples: dict[str, list[Sample]] = {name: [] for name in lab.hosts}
        self.excused: set[str] = set()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(host,)) for host in lab.hosts.values()]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def failed(self, *names: str) -> dict[str, int]:
        """How many questions to those hosts (default: to all) were not answered, where there are any."""
        counts = {name: sum(not one.answer for one in self.samples[name]) for name in names or self.samples}
        return {name: count for name, count in counts.items() if count}

    def most_down(self) -> int:
        """The most hosts that were down at the same moment, as far as it can be said for sure."""
        changes: list[tuple[float, int]] = []
        for samples in self.samples.values():
            # from the first question without an answer to the last: in between nobody was seen to be up
            for down, run in itertools.groupby(samples, lambda one: not one.answer):
                if down:
                    during = list(run)
                    changes += [(during[0].began, 1), (during[-1].ended, -1)]
        most = now = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most

    def _ask(self, host: RootHost) -> None:
        while not self._ended.wait(0.05):
            excused, began = host.name in self.excused, time.monotonic()
            answer = body(f"http://{host.address}:{PORT}/", healthy=True)
            if not (excused or host.name in self.excused):
                self.samples[host.name].append(Sample(began, time.monotonic(), answer))


TRAP = """
import contextlib, pathlib, subprocess, sys, time
deadline = time.monotonic() + {timeout_s}
while True:
    with contextlib.suppress(OSError):
        if {condition}:
            break
    if time.monotonic() > deadline:
        sys.exit("it never came")
    time.sleep(0.002)
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


@contextlib.contextmanager
def trap(host: RootHost, condition: str, *argv: str) -> Iterator[None]:
    """Inside the host, run `argv` the moment the Python expression `condition` holds, which must be in this block."""
    code = TRAP.format(condition=condition, timeout_s=TIMEOUT_S)
    inside = ("nsenter", "--target", str(host.pid), "--all", "--", "python3", "-I", "-c", code, *argv)
    with subprocess.Popen(inside, env=INSIDE, stdin=subprocess.DEVNULL) as waiting:
        try:
            yield
            assert waiting.wait(TIMEOUT_S) == 0
        finally:
            waiting.kill()


def until(true: Callable[[], object], why: Callable[[], object] = str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for `true`; `why` is shown when it never comes."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


def ended(child: subprocess.Popen[str], send: signal.Signals | None = None) -> str:
    """Wait for a command that was begun, after sending it a signal; what it said since it was read last."""
    if send is not None:
        child.send_signal(send)
    with child:
        said, _ = child.communicate(timeout=TIMEOUT_S)
    return said


def command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "pinwheel", *words)


def versions(status: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(each.get("version", "")) for name, each in status.items()}


def pids(status: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[int]]:
    """The processes of those hosts."""
    return {name: [one["pid"] for one in status[name]["processes"]] for name in names}


def body(url: str, *, healthy: bool = False) -> str:
    """What is answered, with whatever status, or with `healthy` only with 200; empty when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return "" if healthy else error.read().decode()
    except OSError:
        return ""
