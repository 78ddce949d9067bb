"""Deploy on the root lab: pinwheel, its peers and the limit bring an application to real sshd and supervisord."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.bench import children, peer_venvs
from ci.bench.children import BenchFailed, Spent
from ci.bench.figures import PINWHEEL
from ci.bench.rollouts import fleet, work
from ci.bench.rollouts.desk import Desk, Program, desk
from ci.bench.rollouts.fleet import Fleet
from ci.bench.rollouts.subjects import Command, Peer
from ci.bench.rollouts.witness import EVERY_S, watching
from ci.bench.rollouts.work import Place, Work
from ci.bench.rounds import Taken
from tests.lab.rootlab import RootHost

FIRST_PORT = 8100
"""pinwheel's; the peers' follow."""

WALL, CONTROLLER, HOSTS = "s", "controller's CPU s", "hosts' CPU s"
LOGINS, CHANNELS, SILENT = "connections per host", "channels per host", "s without answer per host"
LEFT, SAFE = "hosts left broken", "s until safe"

FLASK = Program(
    source=(
        "from flask import Flask\n\napp = Flask(__name__)\n\n\n"
        '@app.get("/")\ndef answer():\n    return "{version}", {status}\n'
    ),
    requires=("flask", "gunicorn", "requests", "sqlalchemy", "pyyaml", "python-dateutil", "python-dotenv"),
    scripts={},
    command="{release}/bin/gunicorn --bind 0.0.0.0:{port} bench_app:app",
    run_as="www-data",
)
"""Flask and gunicorn, and what many have beside them."""

BROKEN = "1000.0"

IDLE_S = 3.0

WATCHED = 4
"""Up to so many hosts have a witness, whose requests take their CPU too."""


@dataclass(slots=True)
class Turn:
    """One subject at work: the command that brings a version to so many hosts, and what its hosts serve now."""

    name: str
    port: int
    slow: bool
    bring: Callable[[str, int], Command]
    serves: dict[str, str] = field(default_factory=dict)


def measure(taken: Taken, folder: Path, sizes: Sequence[int], peers: Sequence[Peer], rounds: int) -> tuple[str, ...]:
    """Measure pinwheel and these peers on fleets of these sizes; who is slow has one round. Returns notes."""
    names = [f"host-{number:02}" for number in range(max(sizes))]
    versions = ["1.0", *(_version(size, turn) for size in sizes for turn in range(rounds)), BROKEN]
    folder.mkdir()
    for version in versions:
        FLASK.write(folder / "packages", version, 500 if version == BROKEN else 200)
    with contextlib.ExitStack() as running:
        hosts = running.enter_context(fleet.fleet(folder / "lab", names))
        environments = {_environment(size): _rolled(hosts, size) for size in sizes}
        around = running.enter_context(desk(folder, FLASK, versions, environments, host=hosts.lab.gateway))
        station = Station(taken, hosts, around, names)
        turns = list(station.turns(peers))
        turns = [turn for turn in turns if station.warm(turn, "1.0", max(sizes))]
        idle = station.idle()
        for size in sizes:
            for number in range(rounds):
                for turn in turns:
                    if number == 0 or not turn.slow:
                        station.change(turn, _version(size, number), size)
        for turn in turns:
            station.fail(turn, min(sizes))
        count = len(around.requirements["1.0"])
    known = peer_venvs.versions(*(peer.key for peer in peers if peer.key in peer_venvs.PEERS))
    pinned = "".join(f"{peer} {version}; " for peer, version in known.items())
    return (
        f"root lab: sshd, sudo, supervisord; {count} wheels, of which one changes; batches of a quarter; caches warm",
        f"{pinned}who is slow has one round",
        f"gate: {work.HEALTH['passes']} good answers in a row within {work.GATE_DEADLINE_S:.0f} s, which are part of "
        "«until safe»; who leaves a host broken is run again with the old version at once",
        "CPU by control groups: of the command with all that it starts, and of all processes of the hosts, where all "
        f"subjects' programs run: idle, {len(names)} hosts take {idle:.2f} s each second",
        "connections and channels as sshd logs them",
        f"without answer: of up to {WATCHED} hosts, which a client asks every {EVERY_S * 1000:.0f} ms",
    )


class Station:
    """The hosts and what stands around them, and what was taken so far."""

    def __init__(self, taken: Taken, hosts: Fleet, around: Desk, names: Sequence[str]) -> None:
        self._taken = taken
        self._hosts = hosts
        self._around = around
        self._names = tuple(names)

    def turns(self, peers: Sequence[Peer]) -> Iterator[Turn]:
        """pinwheel and the peers."""
        yield Turn(PINWHEEL, FIRST_PORT, False, lambda version, size: self._around.rollout(version, _environment(size)))
        for port, peer in enumerate(peers, FIRST_PORT + 1):
            yield Turn(peer.name, port, peer.slow, self._peer(peer, port))

    def warm(self, turn: Turn, version: str, size: int) -> bool:
        """Bring the first version, which fills the caches. False when the subject cannot: the table says why."""
        _say(f"{turn.name} for the first time")

        def first() -> dict[str, float]:
            if turn.name == PINWHEEL:
                self._run(self._around.pinwheel("deploy.bootstrap", "--env", _environment(size)))
            self._bring(turn, version, size)
            return {}

        return self._taken.note_all("first release", turn.name, WALL, first)

    def idle(self) -> float:
        """CPU that all hosts take each second when nothing is done on them."""
        before = self._hosts.counted(self._names)
        time.sleep(IDLE_S)
        return (self._hosts.counted(self._names) - before).cpu_s / IDLE_S

    def change(self, turn: Turn, version: str, size: int) -> None:
        """One wheel is another, and then nothing is."""
        for task in ("one wheel changed", "nothing changed"):
            _say(f"{turn.name}: {task}, {size} hosts")
            work = functools.partial(self._counted, turn, version, size)
            self._taken.note_all(f"{task}, {size} hosts", turn.name, WALL, work)

    def fail(self, turn: Turn, size: int) -> None:
        """A release that answers 500: who notices, and what is left."""
        task = f"broken release, {size} hosts"
        _say(f"{turn.name}: {task}")
        names = self._names[:size]

        def broken() -> dict[str, float]:
            with watching(self._urls(turn, size)) as witness:
                spent = self._run(turn.bring(BROKEN, size), well=False)
                left = sum(not self._serves(turn, name) for name in names)
                if left:
                    self._run(turn.bring(turn.serves[names[0]], size))
                good_again = all(self._serves(turn, name) for name in names)
            if not good_again:
                raise BenchFailed("a host is broken and stays so when the old version is deployed again")
            return {WALL: spent.wall_s, LEFT: left, SAFE: witness.unsafe_s()}

        self._taken.note_all(task, turn.name, WALL, broken)

    def _counted(self, turn: Turn, version: str, size: int) -> dict[str, float]:
        names = self._names[:size]
        before = self._hosts.counted(names)
        # asking takes the hosts' CPU too: only where they are few
        watched = size <= WATCHED
        with watching(self._urls(turn, size) if watched else {}) as witness:
            spent = self._bring(turn, version, size)
        done = self._hosts.counted(names) - before
        taken = {WALL: spent.wall_s, CONTROLLER: spent.cpu_s, HOSTS: done.cpu_s}
        taken |= {LOGINS: done.logins / size, CHANNELS: done.channels / size}
        return taken | ({SILENT: witness.without_answer_s()} if watched else {})

    def _bring(self, turn: Turn, version: str, size: int) -> Spent:
        spent = self._run(turn.bring(version, size))
        for name in self._names[:size]:
            turn.serves[name] = version
            if not self._serves(turn, name):
                raise BenchFailed(f"{name} does not answer with {version} after it was deployed")
        return spent

    def _run(self, command: Command, *, well: bool = True) -> Spent:
        """The command to its end, with the CPU of all that it started."""
        group = self._hosts.controller
        before_s = group.cpu_s()
        spent = children.timed(
            group.entering(command.argv),
            self._around.folder / "command.log",
            env=os.environ | command.env,
            accept=lambda code, _: (code == 0) == well,
        )
        cpu_s = group.cpu_s() - before_s
        group.kill()
        return Spent(spent.wall_s, cpu_s, spent.output)

    def _serves(self, turn: Turn, name: str) -> bool:
        return children.fetch(self._urls(turn)[name]) == (200, turn.serves[name].encode())

    def _urls(self, turn: Turn, size: int | None = None) -> dict[str, str]:
        return {name: f"http://{self._hosts.hosts[name].address}:{turn.port}/" for name in self._names[:size]}

    def _peer(self, peer: Peer, port: int) -> Callable[[str, int], Command]:
        lab = self._hosts.lab

        def bring(version: str, size: int) -> Command:
            wanted = Work(
                subject=peer.key,
                version=version,
                requirements=self._around.requirements[version],
                index_url=self._around.index_url,
                places=tuple(self._place(peer, self._hosts.hosts[name], port) for name in self._names[:size]),
                batch=work.batch_size(size),
                user=lab.user,
                identity_file=str(lab.identity_file),
                known_hosts=str(lab.known_hosts),
                become=("sudo", "-n"),
                run_as=FLASK.run_as,
                command=FLASK.command,
            )
            return peer.command(wanted, self._around.folder)

        return bring

    @staticmethod
    def _place(peer: Peer, host: RootHost, port: int) -> Place:
        return Place(
            name=host.name,
            address=host.address,
            port=host.port,
            root=f"/srv/{peer.key}",
            conf_dir="/etc/supervisor/conf.d",
            python="/usr/bin/python3",
            uv="/srv/pinwheel/bin/uv",  # which pinwheel's bootstrap brought
            supervisorctl=("/usr/bin/supervisorctl",),
            app_port=port,
        )


def _rolled(hosts: Fleet, size: int) -> dict[str, Any]:
    """The environment of the first hosts, rolled out to in the peers' batches."""
    environment = hosts.lab.environment()
    chosen = list(environment["hosts"].items())[:size]
    batch = work.batch_size(size)
    return environment | {
        "hosts": {name: about | {"variables": {"port": str(FIRST_PORT)}} for name, about in chosen},
        "rollout": {"canary": batch, "batch": str(batch), "max_unavailable": batch},
    }


def _environment(size: int) -> str:
    return f"hosts-{size}"


def _version(size: int, number: int) -> str:
    return f"{size}.{number + 1}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
