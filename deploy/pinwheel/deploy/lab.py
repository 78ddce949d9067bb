"""A lab of rootless hosts on loopback, for the demo and the quick tests; `lab_host` says what a host is.

python -P -m pinwheel.deploy.lab host --root DIR --name N --authorized-key FILE [--port P] [--parent PID]
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import random
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pinwheel.deploy.lab_host import (
    END_DEADLINE_S,
    MARK,
    SERVER_MARK,
    LabFailed,
    end_host,
    end_marked,
    key_in,
    marked,
    serve_host,
)

START_DEADLINE_S = 30.0

SOCKETS = "pw-"
"""How the names of folders of sockets begin."""

SOCKET_PATH_BYTES = 107
"""What Linux allows for the path of an AF_UNIX socket (`sun_path` less its NUL)."""

_LOG = ".lab/server.log"


@dataclass(slots=True)
class LabHost:
    """One host. `socket` is where its supervisor is to listen; `port` is its SSH server's, once it was started."""

    name: str
    root: Path
    socket: Path
    port: int = 0
    host_key: str = ""
    address: str = "127.0.0.1"
    _authorized_key: Path = field(default=Path(), repr=False)
    _parent: int | None = field(default=None, repr=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _given: set[int] = field(default_factory=set, repr=False)

    @property
    def pid(self) -> int | None:
        """The pid of its SSH server; None while that is down."""
        return next(iter(marked(SERVER_MARK, self.root)), None)

    def processes(self) -> tuple[int, ...]:
        """The pids of everything that runs on the host: commands, supervisor, programs; not its SSH server."""
        return marked(MARK, self.root)

    def start_ssh(self) -> None:
        """Start its SSH server, on the same port as before. Raises `LabFailed`."""
        self.launch()
        self.await_listening()

    def kill_ssh(self) -> None:
        """Kill its SSH server with all connections; commands go on without their pipes, as under sshd."""
        end_marked(SERVER_MARK, self.root)
        self._reap()

    def power_off(self) -> None:
        """Kill everything at once, as a power loss does; the folder stays. `start_ssh` powers it on again."""
        self.kill_ssh()
        end_marked(MARK, self.root)

    def stop(self) -> None:
        """End the host by SIGTERM, as its own process would end it; what is left after that is killed."""
        if self._child is not None:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(END_DEADLINE_S)
        end_host(self.root)
        self._reap()

    def launch(self) -> None:
        """Start the server's process; `await_listening` waits for it."""
        (self.root / _LOG).parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-P", "-m", "pinwheel.deploy.lab", "host", "--root", str(self.root)]
        argv += ["--name", self.name, "--authorized-key", str(self._authorized_key), "--port", str(self.port)]
        if self._parent is not None:
            argv += ["--parent", str(self._parent)]
        with (self.root / _LOG).open("ab") as log:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, SERVER_MARK: str(self.root)},
                start_new_session=True,  # Ctrl-C at the terminal is for the lab's owner, who then stops the hosts
            )

    def await_listening(self) -> None:
        """Read the line that the server prints once it listens. Raises `LabFailed`."""
        child = self._child
        assert child is not None  # noqa: S101 (for the type checker: launch() came before)
        assert child.stdout is not None  # noqa: S101 (likewise: it is a pipe)
        ready, _, _ = select.select([child.stdout], [], [], START_DEADLINE_S)
        line = child.stdout.readline() if ready else b""
        if not line:
            child.kill()
            self._reap()
            log = self.root / _LOG
            words = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise LabFailed(f"the lab host {self.name} did not start: {words}", where=str(log), remedy="read the log")
        hello = json.loads(line)
        self.port, self.host_key = hello["port"], hello["host_key"]

    def free_port(self) -> int:
        """A loopback port for a program, below the range from which the kernel takes ports for others."""
        while True:
            port = random.randint(20000, 32000)  # noqa: S311 (not a secret)
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
                if port not in self._given:
                    self._given.add(port)
                    return port

    def _reap(self) -> None:
        if self._child is not None:
            with self._child:  # closes its stdout and waits
                self._child = None


class Lab:
    """Hosts below `folder`, with the key that opens them and the known_hosts file that names them.

    Without `keep` the hosts end themselves when this process is gone, however it ended. With it they stay until
    `stop()`, here or in another process by `Lab.open(folder).stop()`.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, keep: bool = False) -> None:
        self._folder = folder.absolute()
        self._parent = None if keep else os.getpid()
        self._sockets = Path()
        self.identity_file = self._folder / "id_lab"
        self.known_hosts = self._folder / "known_hosts"
        self._hosts = {name: self._host(name) for name in names}

    @classmethod
    def open(cls, folder: Path) -> Lab:
        """The lab that another process started in `folder`, as far as it got. Raises `LabFailed`."""
        try:
            state = json.loads((folder / "lab.json").read_text())
        except (OSError, ValueError) as error:
            raise LabFailed("there is no lab here", where=str(folder), remedy="name the folder of a lab") from error
        lab = cls(folder, tuple(state["hosts"]), keep=True)
        sockets = Path(state["sockets"])
        # it will be removed: so it must be one that a lab of ours has made, whatever the file says
        if not sockets.name.startswith(SOCKETS) or sockets.parent != _short_folder() or not _ours(sockets):
            sockets = Path()
        lab._place_sockets(sockets)
        for name, port in state["hosts"].items():
            lab._hosts[name].port = port
        return lab

    @property
    def hosts(self) -> Mapping[str, LabHost]:
        return self._hosts

    def start(self) -> None:
        """Make the keys and start all hosts. Raises `LabFailed`, with nothing left running."""
        self._folder.mkdir(parents=True, exist_ok=True)
        # paths of sockets stop at 107 bytes, and a home folder can be deep
        self._place_sockets(Path(tempfile.mkdtemp(prefix=SOCKETS, dir=_short_folder())))
        identity = key_in(self.identity_file)
        public = self.identity_file.with_suffix(".pub")
        public.write_text(f"{identity.get_name()} {identity.get_base64()} lab\n")
        self._save()  # before the first process: whoever cleans up after us must find it
        try:
            for host in self._hosts.values():
                host.launch()
            for host in self._hosts.values():
                host.await_listening()
        except BaseException:
            self.stop()
            raise
        self.known_hosts.write_text("".join(f"[{h.address}]:{h.port} {h.host_key}\n" for h in self._hosts.values()))
        self._save()

    def stop(self) -> None:
        """End every process of every host, and remove the folder of sockets; idempotent. Raises `LabFailed`."""
        for host in self._hosts.values():
            host.stop()
        if self._sockets != Path():
            shutil.rmtree(self._sockets, ignore_errors=True)

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(
        self, *, variables: Mapping[str, Mapping[str, str]] | None = None, index_url: str = ""
    ) -> dict[str, Any]:
        """The table `[environments.NAME]` of a pinwheel.toml that deploys to these hosts.

        `variables` are each host's own. `{host}` in the layout stands for the host's name: rootless hosts have
        different roots.
        """
        root = f"{self._folder / 'hosts'}/{{host}}/srv/pinwheel"
        return {
            "user": getpass.getuser(),
            "identity_file": str(self.identity_file),
            "known_hosts": str(self.known_hosts),
            "become": [],
            **({"index_url": index_url} if index_url else {}),
            "layout": {
                "root": root,
                # not "python3": what PATH has on this machine may be a shim, or too old
                "python": str(Path(sys.executable).resolve()),
                "supervisor_conf_dir": f"{root}/etc/conf.d",
                "supervisor_socket": f"{self._sockets}/{{host}}.sock",
                "supervisor_from": "index",
            },
            "hosts": {
                host.name: {
                    "address": host.address,
                    "port": host.port,
                    "variables": dict((variables or {}).get(host.name, {})),
                }
                for host in self._hosts.values()
            },
        }

    def _host(self, name: str) -> LabHost:
        public = self.identity_file.with_suffix(".pub")
        return LabHost(name, self._folder / "hosts" / name, Path(), _authorized_key=public, _parent=self._parent)

    def _place_sockets(self, folder: Path) -> None:
        self._sockets = folder
        for host in self._hosts.values():
            host.socket = folder / f"{host.name}.sock"

    def _save(self) -> None:
        state = {"sockets": str(self._sockets), "hosts": {host.name: host.port for host in self._hosts.values()}}
        (self._folder / "lab.json").write_text(json.dumps(state))


def _ours(folder: Path) -> bool:
    """Is `folder` a folder, no link, and this user's?"""
    with contextlib.suppress(OSError):
        about = folder.lstat()
        return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    return False


def _short_folder() -> Path:
    """The machine's folder for temporary files, or /tmp where that is too deep for a socket in it."""
    usual = Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) < SOCKET_PATH_BYTES - 64 else Path("/tmp")  # noqa: S108


def main(argv: Sequence[str] | None = None) -> None:
    """`python -P -m pinwheel.deploy.lab host …`."""
    parser = argparse.ArgumentParser(prog="pinwheel.deploy.lab")
    host = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("host", help="be one host of a lab")
    host.add_argument("--root", type=Path, required=True, help="the host's folder")
    host.add_argument("--name", required=True)
    host.add_argument("--authorized-key", type=Path, required=True, help="public keys that may log in")
    host.add_argument("--port", type=int, default=0, help="0: any free one")
    host.add_argument("--parent", type=int, help="end with this process")
    given = parser.parse_args(argv)
    serve_host(given.root.absolute(), given.name, given.authorized_key, given.port, given.parent)


if __name__ == "__main__":
    main()
