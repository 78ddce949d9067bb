"""Deploy on rootless hosts: a rollout, and one with nothing to do, against Fabric with uv step by step."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ci.bench import children
from ci.bench.children import Spent, timed
from ci.bench.figures import PINWHEEL
from ci.bench.rollouts import work
from ci.bench.rollouts.desk import Desk, Program, desk
from ci.bench.rollouts.subjects import FABRIC_UV, Command, fabric_uv
from ci.bench.rollouts.work import Place, Work
from ci.bench.rounds import Taken

from pinwheel.deploy.lab import Lab, LabHost

HOSTS = 3
ENVIRONMENT = "bench"

WALL, CPU = "s", "controller's CPU s"
LOGINS, CHANNELS = "connections per host", "channels per host"
COUNTED = {LOGINS: r"Auth granted|\(publickey\) successful", CHANNELS: r"Secsh channel \d+ \(session\) opened"}
"""What paramiko's server says of each, as `ssh_log` lets it."""

STANDARD_LIBRARY = Program(
    source="""
import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"{version}"
        self.send_response({status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Answer).serve_forever()
""",
    requires=(),
    scripts={work.APPLICATION: f"{work.MODULE}:main"},
    command="{release}/bin/bench-app --port {port}",
)


def measure(taken: Taken, folder: Path, rounds: int) -> tuple[str, ...]:
    """Measure so many rounds after the first release, which is another thing, and warms the caches. Returns notes."""
    versions = [f"1.{number}" for number in range(rounds + 1)]
    folder.mkdir()
    for version in versions:
        STANDARD_LIBRARY.write(folder / "packages", version)
    with contextlib.ExitStack() as running:
        with logged_ssh():
            lab = running.enter_context(Lab(folder / "lab", [f"bench{number}" for number in range(HOSTS)]))
        ports = {
            subject: {name: host.free_port() for name, host in lab.hosts.items()} for subject in (PINWHEEL, FABRIC_UV)
        }
        variables = {name: {"port": str(port)} for name, port in ports[PINWHEEL].items()}
        environments = {ENVIRONMENT: lab.environment(variables=variables)}
        around = running.enter_context(desk(folder, STANDARD_LIBRARY, versions, environments))
        _run(around, around.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT))
        for version in versions:
            commands = {
                PINWHEEL: around.rollout(version, ENVIRONMENT),
                FABRIC_UV: fabric_uv(_work(lab, around, version, ports[FABRIC_UV]), folder),
            }
            for subject, command in commands.items():
                for task in ("rollout", "nothing to do"):
                    before = counted(lab)
                    spent = _run(around, command)
                    check_served(ports[subject], version)
                    if version == versions[0]:
                        continue
                    after = counted(lab)
                    each = {what: (after[what] - before[what]) / HOSTS for what in COUNTED}
                    for unit, number in ({WALL: spent.wall_s, CPU: spent.cpu_s} | each).items():
                        taken.note(task, subject, unit, lambda number=number: number)  # type: ignore[misc]
    return (
        f"{HOSTS} rootless hosts on this machine, in batches of one; one program, no dependencies, hashes required",
        "healthy is: two good answers in a row; supervisor itself takes 1 s to call a program started",
        "time and CPU count the controller from its start to its end; the hosts share these cores",
    )


def _run(around: Desk, command: Command) -> Spent:
    return timed(command.argv, around.folder / "command.log", env=os.environ | command.env)


def _work(lab: Lab, around: Desk, version: str, ports: dict[str, int]) -> Work:
    layout = lab.environment()["layout"]

    def place(host: LabHost) -> Place:
        root = layout["root"].replace("{host}", host.name)
        return Place(
            name=host.name,
            address=host.address,
            port=host.port,
            root=f"{host.root}/peer",
            conf_dir=layout["supervisor_conf_dir"].replace("{host}", host.name),
            python=layout["python"],
            uv=f"{root}/bin/uv",
            supervisorctl=(f"{root}/supervisor/bin/supervisorctl", "-s", f"unix://{host.socket}"),
            app_port=ports[host.name],
        )

    return Work(
        subject="fabric-uv",
        version=version,
        requirements=around.requirements[version],
        index_url=around.index_url,
        places=tuple(map(place, lab.hosts.values())),
        batch=1,
        user=getpass.getuser(),
        identity_file=str(lab.identity_file),
        known_hosts=str(lab.known_hosts),
        become=(),
        run_as="",
        command=STANDARD_LIBRARY.command,
    )


def check_served(ports: dict[str, int], version: str) -> None:
    """Raise unless every host answers with `version`."""
    for name, port in ports.items():
        answer = children.fetch(f"http://127.0.0.1:{port}/")
        if answer != (200, version.encode()):
            raise children.BenchFailed(f"{name} answers {answer} after a rollout of {version}")


@contextlib.contextmanager
def logged_ssh() -> Iterator[None]:
    """While this lasts, lab hosts that start log their connections and channels."""
    before = os.environ.get("PYTHONPATH")
    ours = str(Path(__file__).parents[1] / "ssh_log")
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
