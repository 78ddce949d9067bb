"""A host for the runner's tests: a folder, a real supervisord of its own, and the runner over pipes as over SSH."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from tests.ports import free_port

from pinwheel.deploy.host import bootstrap, bundle, command, gate, logs, look, prepare, prune, runner, supervisord
from pinwheel.deploy.host.wire import Wire
from pinwheel.deploy.lab_host import MARK, end_marked
from pinwheel.deploy.reaching.wire import framed

DEADLINE_S = 60.0

SERVICE = """
import os, socket, sys, time
port, mode = int(sys.argv[1]), sys.argv[2]
print("service", mode, "starts", flush=True)
if mode == "crash":
    sys.exit("no database")
listener = socket.create_server(("127.0.0.1", port))
born = time.monotonic()
while True:
    listener.settimeout(0.05)
    if mode == "shortlived" and time.monotonic() > born + 0.6:
        sys.exit("out of memory")
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    connection.settimeout(2)
    connection.recv(4096)
    status = "500 Oh" if mode == "sick" else "200 OK"
    connection.sendall(f"HTTP/1.0 {status}\\r\\n\\r\\n{mode} at {os.getcwd()}".encode())
    connection.close()
"""


def wait_until(condition: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_S:g} s"
        time.sleep(0.01)


class Running:
    """One runner at work."""

    def __init__(self, sent: bytes, request: bytes, python: str) -> None:
        self._child = subprocess.Popen(
            (python, "-I", "-c", bundle.LOADER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._child.stdin
        self._child.stdin.write(framed(sent) + framed(request))
        self._child.stdin.flush()
        self.said: list[dict[str, Any]] = []
        self.pid = self._child.pid

    def hear(self, kind: str) -> dict[str, Any]:
        """The next answer of this kind."""
        assert self._child.stdout
        for line in self._child.stdout:
            self.said.append(json.loads(line))
            if self.said[-1]["type"] == kind:
                return self.said[-1]
        raise AssertionError(f"no {kind} among {self.said}; stderr: {self._stderr()}")

    def end(self) -> dict[str, Any]:
        """Its result or error, once it has ended; there is exactly one, and stderr is empty."""
        assert self._child.stdout
        with self._child:
            self.said += [json.loads(line) for line in self._child.stdout]
            assert self._stderr() == ""
        final = [each for each in self.said if each["type"] in ("result", "error")]
        assert len(final) == 1, self.said
        assert self.said[0]["type"] == "hello"
        return final[0]

    def send(self, data: bytes) -> None:
        """More on its stdin, after the request."""
        assert self._child.stdin
        self._child.stdin.write(data)
        self._child.stdin.flush()

    def close_stdin(self) -> None:
        assert self._child.stdin
        self._child.stdin.close()

    def hang_up(self) -> None:
        """The connection is gone: all pipes at once."""
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            assert pipe
            pipe.close()

    def kill(self) -> None:
        """As by a power loss, for the runner at least."""
        self._child.kill()
        self._child.wait()
        self.hang_up()

    def wait(self) -> int:
        return self._child.wait(DEADLINE_S)

    def _stderr(self) -> str:
        assert self._child.stderr
        return self._child.stderr.read().decode()


class BareHost:
    """Its folders are there as after a bootstrap; supervisor is the host's own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "srv"
        self.conf_dir = folder / "conf.d"
        self._short = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))  # paths of sockets are short
        self.socket = self._short / "s.sock"
        self.port = free_port()
        self.log = self.root / "apps/shop/log/shop-web.log"
        self.conf_file = self.conf_dir / "pinwheel-shop.conf"
        self.fence = 1
        self.python = sys.executable  # which runs the runner
        self.sources = {
            name: Path(runner.__file__).with_name(f"{name}.py").read_text()
            for name in {*bundle.TRANSACTION, *itertools.chain(*bundle.ERRANDS.values())}
        }
        self._started: list[Running] = []
        for each in ("state", "tmp", "bin", "cache", "apps/shop/log"):
            (self.root / each).mkdir(parents=True)
        self.conf_dir.mkdir()
        self._supervisord: subprocess.Popen[bytes] | None = None

    def start_supervisor(self, supervisord: Path | None = None) -> None:
        about = runner.Job(self.request("facts", {}), Wire(-1), threading.Event())
        conf = self._short / "supervisord.conf"
        conf.write_text(bootstrap.supervisor_conf(about))
        supervisord = supervisord or Path(sys.executable).with_name("supervisord")
        self._supervisord = subprocess.Popen(
            (supervisord, "-n", "-s", "-c", conf),
            stdin=subprocess.DEVNULL,
            env={**os.environ, MARK: str(self.root)},
            start_new_session=True,
        )
        wait_until(lambda: self.supervisor.state() is not None, "supervisor")

    def stop_supervisor(self) -> None:
        """It and what it runs, without ceremony."""
        end_marked(MARK, self.root)
        if self._supervisord is not None:
            self._supervisord.wait(DEADLINE_S)
            self._supervisord = None

    def close(self) -> None:
        for each in self._started:
            with contextlib.suppress(ProcessLookupError):
                each._child.kill()
        self.stop_supervisor()
        shutil.rmtree(self._short)

    @property
    def supervisor(self) -> supervisord.Supervisor:
        return supervisord.Supervisor(str(self.socket))

    def request(self, action: str, body: dict[str, Any], supervisor_from: str = "host") -> dict[str, Any]:
        layout = {
            "root": str(self.root),
            "python": str(Path(self.python).resolve()),
            "supervisor_conf_dir": str(self.conf_dir),
            "supervisor_socket": str(self.socket),
            "supervisor_from": supervisor_from,
        }
        about = {
            "protocol": 1,
            "action": action,
            "host": "h1",
            "environment": "live",
            "rollout": "r1",
            "by": "ann@desk",
        }
        if action in ("prepare", "task", "run"):
            body = {"launcher": bundle.launcher(), **body}
        return {**about, "fence": self.fence, "layout": layout, "body": body}

    def hasten(self, module: ModuleType, constant: str, value: float) -> None:
        """Send `module` with another number of seconds."""
        before, after = (f"\n{constant} = {number}\n" for number in (getattr(module, constant), value))
        name = module.__name__.rpartition(".")[2]
        assert before in self.sources[name]
        self.sources[name] = self.sources[name].replace(before, after)

    def start(self, action: str, body: dict[str, Any], **more: Any) -> Running:
        document = json.dumps(self.request(action, body, **more)).encode()
        sent = {name: self.sources[name] for name in (*bundle.TRANSACTION, *bundle.ERRANDS.get(action, ()))}
        self._started.append(Running(bundle.packed(sent), document, self.python))
        return self._started[-1]

    def ask(self, action: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.start(action, body, **more).end()

    def do(self, action: str, body: dict[str, Any], aborted: threading.Event | None = None) -> dict[str, Any]:
        """In this process, which is quicker. Raises `supervisord.Refusal`."""
        job = runner.Job(self.request(action, body), Wire(-1), aborted or threading.Event())
        reading = {**look.ACTIONS, **logs.ACTIONS, **command.ACTIONS}
        return runner.perform(job, {**reading, **prepare.ACTIONS, **prune.ACTIONS, **bootstrap.ACTIONS})

    def job(self, action: str) -> runner.Job:
        return runner.Job(self.request(action, {}), Wire(-1), threading.Event())

    def facts(self) -> dict[str, Any]:
        """About the application."""
        return cast(dict[str, Any], self.do("facts", {})["applications"].get("shop", {}))

    def add_release(self, name: str) -> Path:
        """A release as `prepare` leaves it, but without a virtualenv."""
        folder = self.root / "apps/shop/releases" / name
        folder.mkdir(parents=True)
        (folder / "service.py").write_text(SERVICE)
        about = {"application": "shop", "version": name.split("-")[0], "release": name, "lock_sha256": "0" * 64}
        more = {"commit": "c0ffee", "verdict": "prepared", "conf": None, "programs": None}
        (folder / "release.json").write_text(json.dumps({**about, **more}))
        (folder / "COMPLETE").touch()
        return folder

    def conf(self, release: str, mode: str = "good", *, start_s: int = 0) -> str:
        """As the controller renders it; 0: RUNNING from the first moment on."""
        service = self.root / "apps/shop/releases" / release / "service.py"
        return f"""[group:shop]
programs=shop-web

[program:shop-web]
command={Path(sys.executable).resolve()} -IS {service} {self.port} {mode}
directory={self.root}/apps/shop
autorestart=true
startsecs={start_s}
startretries=0
stopwaitsecs=1
redirect_stderr=true
stdout_logfile={self.log}
"""

    def programs(self, **health: Any) -> list[dict[str, Any]]:
        usual = {"http": f"http://127.0.0.1:{self.port}/health", "passes": 2, "interval_s": 0.03, "timeout_s": 1.0}
        quick = {"min_healthy_s": 0.1, "deadline_s": 10.0}
        return [{"name": "shop-web", "processes": ["shop-web"], "health": {**usual, **quick, **health}}]

    def activation(
        self, release: str, expected: str | None, mode: str = "good", *, start_s: int = 0, **health: Any
    ) -> dict[str, Any]:
        """The body of an activation; the release is made when it is not there."""
        if not (self.root / "apps/shop/releases" / release).exists():
            self.add_release(release)
        conf = self.conf(release, mode, start_s=start_s)
        about = {"application": "shop", "release": release, "expected_current": expected}
        return {**about, "conf": conf, "programs": self.programs(**health)}

    def activate(self, release: str, expected: str | None, mode: str = "good", **more: Any) -> dict[str, Any]:
        return self.ask("activate", self.activation(release, expected, mode, **more))

    def back(self, release: str, expected: str | None) -> dict[str, Any]:
        about = {"application": "shop", "release": release, "expected_current": expected}
        return self.ask("activate", {**about, "conf": None, "programs": None})

    def journal(self) -> list[str]:
        lines = (self.root / "apps/shop/journal.jsonl").read_text().splitlines()
        return [json.loads(line)["event"] for line in lines]

    def pid(self) -> int:
        (process,) = self.supervisor.processes("shop")
        return int(process["pid"])

    def answer(self) -> str:
        """What the service says to a visitor."""
        return gate.probe_http(f"http://127.0.0.1:{self.port}/", 2.0)[1]


@contextlib.contextmanager
def bare_host(folder: Path, supervisord: Path | None = None) -> Iterator[BareHost]:
    made = BareHost(folder)
    try:
        made.start_supervisor(supervisord)
        yield made
    finally:
        made.close()
