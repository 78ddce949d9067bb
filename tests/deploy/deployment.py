"""A real index, lab hosts and a pinwheel.toml that joins them, for the tests that go the whole way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forked
from tests.deploy import wheels

from pinwheel.deploy.lab import Lab
from pinwheel.index.client import IndexClient

DEADLINE_S = 60.0

CLI = (sys.executable, "-P", "-m", "pinwheel")


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Site:
    """An index, hosts, and a pinwheel.toml that joins them; `pinwheel` runs the command line on it."""

    def __init__(self, folder: Path, url: str, token: str, lab: Lab, server: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._server = server
        self.lab = lab
        self.client = IndexClient(url, token)
        self.ports = {name: host.free_port() for name, host in lab.hosts.items()}
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PINWHEEL_", "XDG_"))},
            "HOME": str(folder),
            "PINWHEEL_CONFIG": str(folder / "pinwheel.toml"),
            "PINWHEEL_TOKEN": token,
        }
        environment = lab.environment(variables={name: {"port": str(port)} for name, port in self.ports.items()})
        document = {
            "index": {"url": url},
            "applications": {"tiny": {"project": "acme-tiny", "programs": {"web": self.program()}}},
            "environments": {"live": environment},
        }
        (folder / "pinwheel.toml").write_text("".join(_toml(document)))

    @staticmethod
    def program() -> dict[str, Any]:
        health = {"http": "http://127.0.0.1:{port}/health", "interval_s": 0.1, "min_healthy_s": 0.2, "deadline_s": 5.0}
        return {"command": ["{release}/bin/acme-tiny", "{port}"], "health": health}

    def publish(self, version: str, *, healthy: bool = True, says: str = "") -> None:
        """Publish and lock acme-tiny; it `says` its version to visitors, or something else."""
        wheel = wheels.tiny(self.folder, version, healthy=healthy, says=says)
        upload(self.client.url, self.environ["PINWHEEL_TOKEN"], wheel)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        self.client.put_attachment("acme-tiny", version, "pylock.toml", wheels.pylock("acme-tiny", version, sha256))
        requirements = f"acme-tiny=={version} --hash=sha256:{sha256}\n"
        self.client.put_attachment("acme-tiny", version, "requirements.txt", requirements.encode())

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CLI, *words],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pinwheel(self, *words: str) -> Ended:
        done = forked.command(*words, env=self.environ, cwd=self.folder, within_s=DEADLINE_S)
        return Ended(done.returncode, done.stdout, done.stderr)

    def roll_out(self, version: str) -> Ended:
        return self.pinwheel("deploy.rollout", f"tiny=={version}", "--env", "live", "--json")

    def answers(self) -> dict[str, str]:
        """What each host's service says over HTTP; empty when it says nothing."""
        said = {}
        for name, port in self.ports.items():
            said[name] = ""
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                said[name] = reply.read().decode()
        return said

    @contextlib.contextmanager
    def index_away(self) -> Iterator[None]:
        """Nobody answers at the index's address: its processes stand still, and its connections with them."""
        mine = [self._server.pid, *_children(self._server.pid)]
        for pid in mine:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in mine:
                os.kill(pid, signal.SIGCONT)

    def status(self) -> dict[str, dict[str, Any]]:
        """Each host's application, by the host's name."""
        hosts = self.pinwheel("deploy.status", "--env", "live", "--json").document["hosts"]
        return {host["name"]: host["applications"][0] for host in hosts if host["applications"]}


def _children(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    found = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return [each for child in found for each in (child, *_children(child))]


def upload(url: str, token: str, file: Path) -> None:
    """POST a file as twine does, without its checks."""
    import urllib3

    fields: list[tuple[str, str | tuple[str, bytes]]] = [(":action", "file_upload"), ("protocol_version", "1")]
    fields.append(("content", (file.name, file.read_bytes())))
    answer = urllib3.request(
        "POST",
        url,
        fields=tuple(fields),
        headers=urllib3.make_headers(basic_auth=f"__token__:{token}"),
        timeout=DEADLINE_S,
    )
    assert answer.status == 200, answer.data


def _toml(table: dict[str, Any], path: Sequence[str] = ()) -> Iterator[str]:
    if path:
        yield f"[{'.'.join(path)}]\n"
    yield from (f"{key} = {json.dumps(value)}\n" for key, value in table.items() if not isinstance(value, dict))
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml(value, (*path, key))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """An index in `folder` that holds uv and supervisor: its address, a token for everything, and its process."""
    data = str(folder / "index")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PINWHEEL_")}
    made = forked.command("index.token-create", "tests", "--scope", "read,upload,deploy", "--data", data, env=environ)
    assert made.returncode == 0, made.stderr
    server = subprocess.Popen(
        [*CLI, "index.serve", "--data", data, "--port", "0"], env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        yield _address(server), made.stdout.strip(), server
    finally:
        server.terminate()
        with server:
            server.wait(DEADLINE_S)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    deadline, said = time.monotonic() + DEADLINE_S, []
    while select.select([server.stderr], [], [], max(0, deadline - time.monotonic()))[0]:
        line = server.stderr.readline()
        said.append(line)
        if found := re.search(r"^serving .* at (http\S+)", line):
            return found[1]
        if not line:
            break
    raise AssertionError("the index did not start:\n" + "".join(said))


@contextlib.contextmanager
def standing(folder: Path, *names: str) -> Iterator[Site]:
    """Bare hosts and an index with three versions of acme-tiny, of which 1.2.0 is not healthy."""
    with serving(folder) as (url, token, server), Lab(folder / "lab", names) as lab:
        made = Site(folder, url, token, lab, server)
        for name in ("uv", "supervisor"):
            upload(url, token, wheels.installed(folder, name))
        made.publish("1.0.0")
        made.publish("1.1.0")
        made.publish("1.2.0", healthy=False)
        yield made
