"""Deploy: a rollout, and a rollout with nothing to do, on three rootless hosts, against Fabric with uv step by step."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci.bench import children, machine, wheels
from ci.bench.children import Spent, timed
from ci.bench.figures import PINWHEEL, Figure, Table
from ci.bench.index_for_bench import Running, pinwheel_index, token

from pinwheel.demo import toml
from pinwheel.deploy.lab import Lab, LabHost

HOSTS = 3
ROUNDS, QUICK_ROUNDS = 5, 1

FABRIC = "Fabric + uv, step by step"
APPLICATION = "bench-app"
ENVIRONMENT = "bench"

WALL, CPU = "s", "controller's CPU s"
LOGINS, CHANNELS = "connections per host", "channels per host"
COUNTED = {LOGINS: r"Auth granted|\(publickey\) successful", CHANNELS: r"Secsh channel \d+ \(session\) opened"}
"""What paramiko's server says of each, as `ssh_log` lets it."""

APP = """
import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"{version}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Answer).serve_forever()
"""


def table(folder: Path, *, quick: bool) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    versions = [f"1.{number}" for number in range(rounds + 1)]
    made = {version: make_wheel(folder / "packages", version) for version in versions}
    taken: dict[tuple[str, str, str], list[float]] = {}
    with contextlib.ExitStack() as running:
        flags = ("--packages", str(folder / "packages"), "--upstream", "auto", "--anonymous-read")
        index = running.enter_context(pinwheel_index(folder, *flags))
        with logged_ssh():
            lab = running.enter_context(Lab(folder / "lab", [f"bench{number}" for number in range(HOSTS)]))
        env = os.environ | {
            "PINWHEEL_TOKEN": token(index.data, folder / "token.log"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        ports = {name: str(host.free_port()) for name, host in lab.hosts.items()}
        env |= {"PINWHEEL_CONFIG": str(write_configuration(folder, index, lab, ports))}

        def pinwheel(*words: str) -> Spent:
            return timed((machine.program("pinwheel"), *words), folder / "pinwheel.log", env=env)

        peer = Peer(folder, index, lab)
        for version in versions:
            pinwheel("packaging.lock", f"{APPLICATION}=={version}")
        pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        for version in versions:
            for subject in (PINWHEEL, FABRIC):
                for task in ("rollout", "nothing to do"):
                    before = counted(lab)
                    if subject == PINWHEEL:
                        spent = pinwheel("deploy.rollout", f"{APPLICATION}=={version}", "--env", ENVIRONMENT)
                        check_served(ports, version)  # the peer's last step does the same
                    else:
                        spent = peer.deploy(version, made[version])
                    if version == versions[0]:
                        continue  # the first release on bare hosts is another thing, and warms the caches
                    after = counted(lab)
                    each = {what: (after[what] - before[what]) / HOSTS for what in COUNTED}
                    for unit, number in ({WALL: spent.wall_s, CPU: spent.cpu_s} | each).items():
                        taken.setdefault((task, subject, unit), []).append(number)
    figures = tuple(
        Figure(task, subject, unit, tuple(taken[task, subject, unit]))
        for task in ("rollout", "nothing to do")
        for unit in (WALL, CPU, LOGINS, CHANNELS)
        for subject in (PINWHEEL, FABRIC)
    )
    return Table(
        "deploy",
        figures,
        (
            f"{HOSTS} rootless hosts on this machine, in batches of one; one program, no dependencies, hashes required",
            "healthy is: two good answers in a row; supervisor itself takes 1 s to call a program started",
            "time and CPU count the controller from its start to its end; the hosts share these cores",
        ),
    )


class Peer:
    """Fabric with one command for each step, in a process of its own as pinwheel is."""

    def __init__(self, folder: Path, index: Running, lab: Lab) -> None:
        self._wish = folder / "peer.json"
        self._log = folder / "peer.log"
        layout = lab.environment()["layout"]
        self._fixed: dict[str, Any] = {
            "user": getpass.getuser(),
            "identity_file": str(lab.identity_file),
            "index_url": f"{index.url}simple/",
            "python": layout["python"],
            "hosts": [
                {
                    "name": name,
                    "port": host.port,
                    "root": str(host.root),
                    "socket": str(host.socket),
                    "pinwheel_root": layout["root"].replace("{host}", name),
                    "conf_dir": layout["supervisor_conf_dir"].replace("{host}", name),
                    "app_port": host.free_port(),
                }
                for name, host in lab.hosts.items()
            ],
        }

    def deploy(self, version: str, wheel: Path) -> Spent:
        """Bring `version` to every host."""
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        requirements = f"{APPLICATION}=={version} --hash=sha256:{sha256}\n"
        self._wish.write_text(json.dumps(self._fixed | {"version": version, "requirements": requirements}))
        script = Path(__file__).with_name("peer_fabric.py")
        return timed((sys.executable, "-P", str(script), str(self._wish)), self._log)


def make_wheel(folder: Path, version: str) -> Path:
    """The application: a server on one port that answers with its version."""
    folder.mkdir(exist_ok=True)
    module = APP.replace("{version}", version).encode()
    return wheels.write(folder, APPLICATION, version, {"bench_app.py": module}, scripts={APPLICATION: "bench_app:main"})


def check_served(ports: Mapping[str, str], version: str) -> None:
    """Raise unless every host answers with `version`."""
    for name, port in ports.items():
        answer = children.fetch(f"http://127.0.0.1:{port}/")
        if answer != (200, version.encode()):
            raise children.BenchFailed(f"{name} answers {answer} after a rollout of {version}")


def write_configuration(folder: Path, index: Running, lab: Lab, ports: Mapping[str, str]) -> Path:
    """A pinwheel.toml that rolls the application out to the lab."""
    health = {"http": "http://127.0.0.1:{port}/", "passes": 2, "interval_s": 0.1, "min_healthy_s": 0.0}
    web = {"command": ["{release}/bin/bench-app", "--port", "{port}"], "health": health}
    document = {
        "index": {"url": index.url},
        "packaging": {"cache": str(folder / "cache")},
        "applications": {APPLICATION: {"programs": {"web": web}}},
        "environments": {
            ENVIRONMENT: lab.environment(variables={name: {"port": port} for name, port in ports.items()})
        },
    }
    file = folder / "pinwheel.toml"
    file.write_text("".join(toml(document)))
    return file


@contextlib.contextmanager
def logged_ssh() -> Iterator[None]:
    """While this lasts, lab hosts that start log their connections and channels."""
    before = os.environ.get("PYTHONPATH")
    ours = str(Path(__file__).with_name("ssh_log"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, before)))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def counted(lab: Lab) -> dict[str, int]:
    """Logins and channels of all hosts so far."""
    logs = "".join(_log(host) for host in lab.hosts.values())
    return {what: len(re.findall(pattern, logs)) for what, pattern in COUNTED.items()}


def _log(host: LabHost) -> str:
    return (host.root / ".lab" / "server.log").read_text(errors="replace")
