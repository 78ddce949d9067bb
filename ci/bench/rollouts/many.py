"""Many simulated hosts: how long and how much memory the controller takes to run something on each of them."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ci.bench import children, machine
from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL
from ci.bench.index_for_bench import workers
from ci.bench.rounds import Taken

from pinwheel.demo import toml
from pinwheel.deploy.lab_host import key_in

POOL, GROUP = "paramiko, 64 threads", "Fabric's ThreadingGroup"
ENVIRONMENT = "many"
CONNECTIONS = 64
WALL, CPU, PEAK = "s", "controller's CPU s", "MiB at most"

HERE = Path(__file__).parent


def measure(taken: Taken, folder: Path, count: int, rounds: int) -> tuple[str, ...]:
    """Measure so many hosts, one login and one exec each. Returns notes."""
    folder.mkdir()
    addresses = [f"127.1.{100 + number // 100}.{100 + number % 100}" for number in range(count)]
    key = key_in(folder / "identity")
    (folder / "identity.pub").write_text(f"{key.get_name()} {key.get_base64()}\n")
    host_key = key_in(folder / "host_key")
    known = f"{host_key.get_name()} {host_key.get_base64()}"
    env = dict(os.environ)
    with simulated(folder, 1, "record") as port:
        env |= _configured(folder, addresses[:1], port, known)
        status = (machine.program("pinwheel"), "deploy.status", "--env", ENVIRONMENT, "--json")
        children.timed(status, folder / "status.log", env=env)
    with simulated(folder, workers()) as port:
        env |= _configured(folder, addresses, port, known)
        hosts = folder / "hosts.json"
        hosts.write_text(json.dumps(_wish(folder, addresses, port)))
        commands = {
            PINWHEEL: status,
            POOL: (sys.executable, "-P", str(HERE / "pool_steps.py"), str(hosts)),
            GROUP: (sys.executable, "-P", str(HERE / "group_steps.py"), str(hosts)),
        }
        for _ in range(rounds):
            for subject, argv in commands.items():

                def ask(subject: str = subject, argv: tuple[str, ...] = argv) -> Mapping[str, float]:
                    return _asked(folder, env, argv, None if subject == PINWHEEL else count)

                taken.note_all(f"one exec on each of {count:,} hosts", subject, WALL, ask)
    return (
        f"simulated hosts: {workers()} processes with paramiko's server on these cores, each exec answered at once; "
        "pinwheel runs deploy.status, the pool sends the same bytes, the group a short command (its stdin is slow)",
    )


def _asked(folder: Path, env: Mapping[str, str], argv: Sequence[str], count: int | None) -> Mapping[str, float]:
    """What the command took. It must have had an answer of all hosts: exit code 0 says so, or the number printed."""
    took, log = folder / "took.json", folder / "many.log"
    spent = children.timed((sys.executable, "-I", "-S", str(HERE / "measured.py"), str(took), *argv), log, env=env)
    if count is not None and spent.output.split()[-1:] != [str(count)]:
        raise BenchFailed(f"not all of {count} hosts answered: {spent.output[-200:]}")
    measured = json.loads(took.read_text())
    return {WALL: measured["wall_s"], CPU: measured["cpu_s"], PEAK: measured["peak_mib"]}


@contextlib.contextmanager
def simulated(folder: Path, processes: int, *flags: str) -> Iterator[int]:
    """Run the hosts' servers; gives their port."""
    argv = (sys.executable, "-P", str(HERE / "simulated.py"), str(folder), str(processes), *flags)
    with (folder / "simulated.log").open("ab") as log:
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline())
    finally:
        children.end(child)


def _configured(folder: Path, addresses: Sequence[str], port: int, host_key: str) -> Mapping[str, str]:
    """Write a pinwheel.toml and a known_hosts for these hosts; returns the environment that names them."""
    (folder / "known_hosts").write_text("".join(f"[{address}]:{port} {host_key}\n" for address in addresses))
    environment = {
        **{"user": getpass.getuser(), "port": port, "become": [], "connections": CONNECTIONS},
        **{"identity_file": str(folder / "identity"), "known_hosts": str(folder / "known_hosts")},
        "layout": {"root": str(folder / "root"), "python": sys.executable},
        # names of one length: requests of one length
        "hosts": {f"host{number:05}": {"address": address} for number, address in enumerate(addresses)},
    }
    file = folder / "pinwheel.toml"
    file.write_text("".join(toml({"environments": {ENVIRONMENT: environment}})))
    return {"PINWHEEL_CONFIG": str(file)}


def _wish(folder: Path, addresses: Sequence[str], port: int) -> dict[str, Any]:
    return {
        "addresses": list(addresses),
        "port": port,
        "user": getpass.getuser(),
        "identity_file": str(folder / "identity"),
        "known_hosts": str(folder / "known_hosts"),
        "command": (folder / "command").read_text(),
        "sent": str(folder / "sent"),
    }
