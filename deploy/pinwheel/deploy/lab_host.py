"""One host of the lab: an SSH server on loopback whose commands run as real children, and the mark they all carry.

A lab host is a folder and a process. The folder is its root and its users' HOME; nothing is chrooted, so every path
that is used on it must come from the layout. Each command has a session of its own, exactly as under sshd: when the
connection or the server dies, it loses its pipes and nothing else.

Every process of a host carries `PINWHEEL_LAB_HOST=<root>` in its environment, also after it has daemonised itself.
That mark, not a list of pids, is how a host's processes are found and ended, so none can be forgotten.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_SUCCEEDED,
)

from pinwheel.errors import PinwheelError

MARK = "PINWHEEL_LAB_HOST"
"""Carried by every process that was started on a host; its value is the host's root."""

SERVER_MARK = "PINWHEEL_LAB_SERVER"
"""Carried by the host's SSH server, which is the machine's and not one of the host's processes."""

HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
END_DEADLINE_S = 10.0

_HOST_KEY = ".lab/host_key"

DEMO_MARK = "PINWHEEL_DEMO"
"""The mark by which a demo finds everything that it started; hosts pass it on."""


class LabFailed(PinwheelError):
    """A host of the lab did not start, or did not end."""


def marked(variable: str, root: Path) -> tuple[int, ...]:
    """The pids of this user's processes that carry `variable=root` in their environment."""
    wanted = f"{variable}={root}".encode()
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, wanted))


def _has(process: Path, wanted: bytes) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        return wanted in (process / "environ").read_bytes().split(b"\0")
    return False


def end_marked(variable: str, root: Path) -> None:
    """Kill every process that carries the mark, and those they start meanwhile. Raises `LabFailed`."""
    deadline = time.monotonic() + END_DEADLINE_S
    while pids := marked(variable, root):
        if time.monotonic() > deadline:
            raise LabFailed("processes of a lab host do not end", where=f"{root}: pids {pids}", remedy="look at them")
        for pid in pids:
            _kill(pid, variable, root)
        time.sleep(0.01)


def _kill(pid: int, variable: str, root: Path) -> None:
    """Kill `pid` if it still carries the mark; the descriptor keeps a reused pid from being hit."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has(Path("/proc", str(pid)), f"{variable}={root}".encode()):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def end_host(root: Path) -> None:
    """End the SSH server and every process of the host in `root`, whoever started them. Raises `LabFailed`."""
    end_marked(SERVER_MARK, root)
    end_marked(MARK, root)


class Door(paramiko.ServerInterface):
    """What one connection may do: log in with the one authorised key, and execute commands."""

    def __init__(self, root: Path, authorized: frozenset[str]) -> None:
        self._root = root
        self._authorized = authorized

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key.get_base64() in self._authorized else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        _in_background(execute, channel, command.decode(), self._root)
        return True


def execute(channel: paramiko.Channel, command: str, root: Path) -> None:
    """Run `command` by the shell, as sshd does, and close `channel` once it and its pipes have ended.

    A descendant that keeps stdout or stderr open keeps the channel open: who daemonises must let go of them. A
    command that a signal ended has no exit status, which a client sees as -1.
    """
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    try:
        child = subprocess.Popen(
            ("/bin/sh", "-c", command),
            stdin=stdin[0],
            stdout=stdout[1],
            stderr=stderr[1],
            cwd=root,
            env=host_environment(root),
            start_new_session=True,
        )
    finally:
        for descriptor in (stdin[0], stdout[1], stderr[1]):
            os.close(descriptor)
    _in_background(_feed, channel, stdin[1])
    outputs = [
        _in_background(_drain, stdout[0], channel.sendall),
        _in_background(_drain, stderr[0], channel.sendall_stderr),
    ]
    exit_code = child.wait()
    for output in outputs:
        output.join()
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):  # the client has gone
        if exit_code >= 0:
            channel.send_exit_status(exit_code)
        channel.shutdown_write()
        channel.close()


def host_environment(root: Path) -> dict[str, str]:
    """The environment of a login on the host: nothing of the machine's leaks into it."""
    user = getpass.getuser()
    demo = {DEMO_MARK: os.environ[DEMO_MARK]} if DEMO_MARK in os.environ else {}
    return demo | {
        "HOME": str(root),
        "LANG": "C.UTF-8",
        "LOGNAME": user,
        "PATH": HOST_PATH,
        "SHELL": "/bin/sh",
        "USER": user,
        MARK: str(root),
    }


def _feed(channel: paramiko.Channel, stdin: int) -> None:
    with open(stdin, "wb", buffering=0) as pipe, contextlib.suppress(OSError):
        # OSError: the command no longer reads; the rest is dropped, as by sshd
        while data := channel.recv(65536):
            pipe.write(data)


def _drain(output: int, send: Callable[[bytes], None]) -> None:
    # closing our end when the client has gone lets the command notice it (SIGPIPE, EPIPE), as under sshd
    with open(output, "rb", buffering=0) as pipe, contextlib.suppress(OSError):
        while data := pipe.read(65536):
            send(data)


def _in_background(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def _accept(listener: socket.socket, key: paramiko.PKey, door: Door) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        _in_background(_serve, connection, key, door)


def _serve(connection: socket.socket, key: paramiko.PKey, door: Door) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    try:
        transport.start_server(server=door)
        transport.join()
    except (OSError, EOFError, paramiko.SSHException):
        logging.getLogger(__name__).info("a client left before it had logged in")
    finally:
        transport.close()


def serve_host(root: Path, name: str, authorized_key: Path, port: int = 0, parent: int | None = None) -> None:
    """Be a host until SIGTERM or SIGINT, or until the process `parent` is gone; then end all its processes.

    Prints one line of JSON once it listens: name, port, pid, host_key.
    """
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    root.mkdir(parents=True, exist_ok=True)
    key = key_in(root / _HOST_KEY)
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    if parent is not None:
        _in_background(_watch, parent, over)
    door = Door(root, frozenset(line.split()[1] for line in authorized_key.read_text().splitlines() if line.strip()))
    _in_background(_accept, listener, key, door)
    hello = {
        "name": name,
        "port": listener.getsockname()[1],
        "pid": os.getpid(),
        "host_key": f"{key.get_name()} {key.get_base64()}",
    }
    print(json.dumps(hello), flush=True)  # noqa: T201
    over.wait()
    listener.close()
    end_marked(MARK, root)


def _watch(pid: int, over: threading.Event) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])  # readable once the process has ended
        os.close(descriptor)
    over.set()


def key_in(file: Path) -> paramiko.ECDSAKey:
    """The private key in `file`, made (mode 0600) if it is not there. paramiko cannot generate ed25519."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        paramiko.ECDSAKey.generate().write_private_key_file(str(file))
    return paramiko.ECDSAKey.from_private_key_file(str(file))
