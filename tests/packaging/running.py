"""A real index in a process of its own, and the command `pinwheel` as a user runs it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forked

PINWHEEL = (sys.executable, "-P", "-m", "pinwheel")
START_S = 60.0
STOP_S = 30.0
PATIENCE_S = 60.0
RUN_S = 900.0


class RunningIndex:
    """`pinwheel index.serve` with a data folder below `folder`, in front of `upstream` (empty for none); `private` is
    kept from it."""

    def __init__(self, folder: Path, upstream: str = "auto", private: str = "acme-*") -> None:
        self._serving: tuple[str, ...] = (
            "--port",
            "0",
            *(("--upstream", upstream) if upstream else ()),
            "--private",
            private,
        )
        self._folder = folder
        self._data = folder / "data"
        self._server: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.token = ""

    def start(self) -> None:
        self.token = self.token or self.mint("ci", "read,upload")
        log = self._folder / "server.log"
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                (*PINWHEEL, "index.serve", "--data", str(self._data), *self._serving),
                cwd=self._folder,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"^serving .* at (http://\S+)", log.read_text(), re.MULTILINE)):
            assert self._server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        self.url = found.group(1)

    def open_to_all(self) -> None:
        """Start so that everybody may read."""
        self._serving += ("--anonymous-read",)
        self.start()

    def leave_upstream(self) -> None:
        """Serve the same folder again, at another address, with nothing behind it."""
        self.stop()
        self._serving = ("--port", "0")
        self.start()

    def stop(self) -> None:
        if self._server:
            self._server.terminate()
            try:
                self._server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()

    def mint(self, name: str, scope: str) -> str:
        done = forked.command("index.token-create", name, "--scope", scope, "--data", str(self._data), cwd=self._folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def environ(self, home: Path, token: str = "") -> dict[str, str]:
        """The variables of a user whose caches and state are below `home`."""
        home.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PINWHEEL_", "UV_"))}
        return kept | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
            "PINWHEEL_INDEX_URL": self.url,
            "PINWHEEL_TOKEN": token or self.token,
        }

    def spawn(self, home: Path, *words: str, token: str = "", **env: str) -> subprocess.Popen[str]:
        """Start `pinwheel WORDS` in the folder `home`."""
        environ = self.environ(home, token) | env
        return subprocess.Popen(
            (*PINWHEEL, *words),
            cwd=home,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, home: Path, *words: str, token: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run `pinwheel WORDS` to its end."""
        return forked.command(*words, env=self.environ(home, token) | env, cwd=home, within_s=RUN_S)

    def document(self, home: Path, *words: str) -> Any:
        """The JSON document that `pinwheel WORDS --json` prints; it must succeed."""
        done = self.run(home, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def eventually(true: Callable[[], object]) -> None:
    """Wait until `true` is."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid: str) -> bool:
    """Whether there is such a process, and not only what is left of one that nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid: int, program: str) -> list[str]:
    """The children of `pid` that run `program`, by id, and all below them."""
    below: dict[str, list[tuple[str, str]]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            head, _, rest = (process / "stat").read_text().rpartition(")")
            below.setdefault(rest.split()[1], []).append((process.name, head.partition("(")[2]))
    found = [child for child, name in below.get(str(pid), []) if name == program]
    for each in found:
        found += [child for child, _name in below.get(each, [])]
    return found


@dataclass(frozen=True, slots=True)
class Silent:
    """A server at `url` that takes connections and never says a word; `heard` is set by the first request."""

    url: str
    heard: threading.Event


@contextlib.contextmanager
def silent() -> Iterator[Silent]:
    """Listen on loopback and never answer."""
    heard, taken = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with contextlib.suppress(OSError):  # the server was closed
                while True:
                    connection, _address = server.accept()
                    taken.append(connection)
                    if connection.recv(1):
                        heard.set()

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield Silent(f"http://127.0.0.1:{server.getsockname()[1]}/", heard)
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in taken:
                with contextlib.suppress(OSError):  # the other end was faster
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            thread.join()
