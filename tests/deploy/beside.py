"""A bare host with an application of which one program is replaced without downtime, and somebody who visits it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.deploy.bare import BareHost

from pinwheel.config import Application, Health, Layout, Program
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning import steps, supervisor_file
from pinwheel.deploy.planning.supervisor_file import Instance
from pinwheel.deploy.planning.wish import Setup

SERVICE = """
import os, signal, socket, sys, threading, time
where, mode = sys.argv[1], sys.argv[2]
if mode == "crash":
    sys.exit("no database")
# nothing is finished: who is still connected then is cut off
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with __import__("contextlib").suppress(FileNotFoundError):
    os.unlink(where)
listener = socket.socket(socket.AF_UNIX)
listener.bind(where)
listener.listen(100)
release = os.path.basename(os.path.dirname(os.path.abspath(__file__)))

def answer(connection):
    with connection:
        asked = connection.recv(4096)
        time.sleep(2 * (b"/slow" in asked))
        status = "500 Oh" if mode == "sick" else "200 OK"
        connection.sendall(f"HTTP/1.0 {status}\\r\\n\\r\\n{mode} {release}".encode())

while True:
    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
"""
"""Listens on the unix socket that it is told, and ends at once when it is told to."""


class BesideHost(BareHost):
    """Its application `shop` has `web`, with zero downtime, and on demand `worker`, without."""

    interpreter = str(Path(sys.executable).resolve())
    worker = ""
    """What the worker does: a script. Without it, there is no worker."""

    worker_check: tuple[str, ...] = ()
    """A command that says whether it is healthy."""

    def add_release(self, name: str) -> Path:
        folder = super().add_release(name)
        (folder / "service.py").write_text(SERVICE)
        return folder

    def application(self, mode: str = "good", **health: Any) -> Application:
        quick = {"passes": 2, "interval_s": 0.03, "min_healthy_s": 0.1, "deadline_s": 10.0, **health}
        web = Program(
            command=(self.interpreter, "-IS", "{release}/service.py", "{socket}", mode),
            zero_downtime=True,
            drain_s=5,
            stop_wait_s=1,
            health=Health(**{"http": "http://shop.test/health", **quick}),
        )
        programs = {"web": web}
        if self.worker:
            quick = {key: value for key, value in quick.items() if key != "http"}
            checked = Health(**quick, command=self.worker_check)
            command = (self.interpreter, "-IS", "-c", self.worker, "{release}")
            programs["worker"] = Program(command=command, stop_wait_s=1, health=checked)
        return Application(programs=programs)

    def setup(self, release: str, mode: str = "good", **health: Any) -> Setup:
        layout = Layout(root=str(self.root), supervisor_conf_dir=str(self.conf_dir))
        target = Target("h1", "127.0.0.1", 22, "", (), layout, {})
        made = supervisor_file.setup(Instance("shop", self.application(mode, **health), target, release, "1"))
        return quickly(made)

    def activation(self, release: str, expected: str | None, mode: str = "good", **health: Any) -> dict[str, Any]:
        if not (self.root / "apps/shop/releases" / release).exists():
            self.add_release(release)
        setup = self.setup(release, mode, **health)
        step = steps.Activate("h1", "shop", release, setup.conf, setup.programs, expected, colours=setup.colours)
        layout = Target("h1", "127.0.0.1", 22, "", (), Layout(), {})
        request = steps.request(step, layout, environment="live", rollout="r1", fence=1)
        body: dict[str, Any] = json.loads(json.dumps(request["body"]))
        return body

    @property
    def front_door(self) -> Path:
        """Where a proxy would ask."""
        return self.root / "apps/shop/run/live/web/sock"

    def ask_front_door(self, path: str = "/") -> str:
        """What a visitor gets. Raises `OSError` when nobody listens, or hangs up without an answer."""
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(20)
            visitor.connect(str(self.front_door))
            visitor.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            said = b"".join(iter(lambda: visitor.recv(4096), b"")).decode()
        if not said:
            raise ConnectionResetError("hung up without an answer")
        return said.partition("\r\n\r\n")[2]

    def pids(self) -> dict[str, int]:
        """By group and name."""
        groups = ("shop", "shop@blue", "shop@green")
        return {f"{each['group']}:{each['name']}": each["pid"] for each in self.supervisor.processes(*groups)}


H = TypeVar("H", bound=BesideHost)


def quickly(setup: Setup) -> Setup:
    """RUNNING from the first moment on, and given up at once."""

    def hasten(conf: str) -> str:
        return conf.replace("startsecs=1\n", "startsecs=0\nstartretries=0\n")

    colours = {key: dataclasses.replace(each, conf=hasten(each.conf)) for key, each in setup.colours.items()}
    return dataclasses.replace(setup, conf=hasten(setup.conf), colours=colours)


@contextlib.contextmanager
def beside_host(kind: Callable[[Path], H]) -> Iterator[H]:
    """Not in pytest's folder: paths of sockets are short."""
    folder = Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))
    folder.chmod(0o755)  # for the proxy's user
    made = kind(folder)
    try:
        made.start_supervisor()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


class Visitors:
    """Threads that ask again and again from `with` on; afterwards `answers` and `failures` are what they got."""

    def __init__(self, ask: Callable[[], str], number: int = 2) -> None:
        self._ask, self._gone = ask, threading.Event()
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(number)]

    def _visit(self) -> None:
        while not self._gone.is_set():
            try:
                self.answers.append(self._ask())
            except OSError as error:
                self.failures.append(f"{time.strftime('%X')} after {len(self.answers)}: {error!r}")
            time.sleep(0.002)

    def __enter__(self) -> Visitors:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gone.set()
        for each in self._threads:
            each.join(30)
