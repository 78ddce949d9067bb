"""What a rollout on real hosts needs around it: an index that the hosts reach, an application, a pinwheel.toml."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci.bench import wheels
from tests.lab.rootlab import RootLab

from pinwheel import process
from pinwheel.demo import toml

APPLICATION = "real-app"
ENVIRONMENT = "real"
PORT = 8000
TIMEOUT_S = 120.0

SERVER = """
import http.server

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(b"{version}")

def main():
    http.server.ThreadingHTTPServer(("0.0.0.0", {port}), Answer).serve_forever()
"""
"""The application: it answers everything with its version, and with 500 when it is to be found unhealthy."""

HEALTHY, UNHEALTHY = 200, 500

RELEASES = {"1.0.0": HEALTHY, "1.1.0": HEALTHY, "1.2.0": UNHEALTHY}


class World:
    """An operator's desk beside the lab: everything goes through the command line, as an operator's would."""

    def __init__(self, lab: RootLab, folder: Path, url: str, token: str, health: Mapping[str, float]) -> None:
        self.lab = lab
        self.folder = folder
        web = {
            "command": ["{release}/bin/real-app"],
            "user": "www-data",
            "health": {"http": f"http://127.0.0.1:{PORT}/", **health},
        }
        document = {
            "index": {"url": url},
            "packaging": {"cache": str(folder / "cache")},
            "applications": {APPLICATION: {"programs": {"web": web}}},
            "environments": {ENVIRONMENT: lab.environment()},
        }
        file = folder / "pinwheel.toml"
        file.write_text("".join(toml(document)))
        self._env = process.scrubbed(
            os.environ, HOME=str(folder), PINWHEEL_CONFIG=str(file), PINWHEEL_TOKEN=token, TERM="dumb"
        )

    def pinwheel(self, *words: str, exit_code: int = 0) -> process.Completed:
        """Run one command to its end, which must be `exit_code`."""
        done = process.run(command(*words), env=self._env, timeout_s=TIMEOUT_S)
        assert done.exit_code == exit_code, f"{words} ended with {done.exit_code}:\n{done.output}{done.errors}"
        return done

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start one command; the caller waits for it."""
        return subprocess.Popen(
            command(*words), env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def rollout(self, version: str, exit_code: int = 0) -> str:
        """Roll a version out; returns everything that was said."""
        done = self.pinwheel("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT, exit_code=exit_code)
        return done.output + done.errors

    def status(self) -> dict[str, dict[str, Any]]:
        """What each host says of the application; {} where it has none."""
        told = json.loads(self.pinwheel("deploy.status", "--env", ENVIRONMENT, "--json").output)
        return {host["name"]: next(iter(host["applications"]), {}) for host in told["hosts"]}

    def served(self) -> list[str]:
        """The version that each host serves, asked from outside; empty when it does not answer."""
        return [_body(f"http://{host.address}:{PORT}/") for host in self.lab.hosts.values()]


@contextlib.contextmanager
def world(lab: RootLab, folder: Path, **health: float) -> Iterator[World]:
    """Serve an index with the application's releases at the lab's gateway, and lock them."""
    packages = folder / "packages"
    packages.mkdir()
    for version, status in RELEASES.items():
        source = SERVER.format(version=version, status=status, port=PORT).encode()
        scripts = {APPLICATION: "real_app:main"}
        wheels.write(packages, APPLICATION, version, {"real_app.py": source}, scripts=scripts)
    data = folder / "index"
    # the gateway's address is this lab's alone, and so is every port of it
    url = f"http://{lab.gateway}:8080/"
    served = ("--host", lab.gateway, "--port", "8080", "--packages", str(packages), "--upstream", "auto")
    log = folder / "index.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command("index.serve", "--data", str(data), *served), stdout=out, stderr=out) as server,
    ):
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not _body(f"{url}-/ready"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            minted = process.run(
                command("index.token-create", "test", "--scope", "read,upload,deploy", "--data", str(data)),
                timeout_s=TIMEOUT_S,
            )
            assert minted.exit_code == 0, minted.errors
            made = World(lab, folder, url, minted.output.strip(), health)
            for version in RELEASES:
                made.pinwheel("packaging.lock", f"{APPLICATION}=={version}")
            yield made
        finally:
            server.terminate()


def command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "pinwheel", *words)


def _body(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body.decode()
    except OSError:
        return ""
