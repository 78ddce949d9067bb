"""As many hosts as addresses of loopback: an SSH server that answers each exec at once, as a host once did.

python -P simulated.py FOLDER PROCESSES [record]: FOLDER has `identity.pub` and `host_key`; the port is printed. With
`record` commands run for real, and the last one's input and output are kept as `sent` and `answered`. Without it an
exec is answered with `answered` as soon as as much was sent, or when its input ends.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

NEVER_MIND = 64
"""The requests to two hosts differ by so few bytes at most; all of them are in one packet."""


class Host(paramiko.ServerInterface):
    """One connection."""

    def __init__(self, folder: Path, authorized: str, record: bool) -> None:
        self._folder = folder
        self._authorized = authorized
        self._record = record

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key.get_base64() == self._authorized else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        work = self._run if self._record else self._replay
        threading.Thread(target=work, args=(channel, command), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        """The command for real, beside its own input and output in files."""
        child = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S602
        assert child.stdin is not None
        assert child.stdout is not None
        sent, stdin = bytearray(), child.stdin

        def feed() -> None:
            while chunk := channel.recv(65536):
                sent.extend(chunk)
                stdin.write(chunk)
                stdin.flush()

        threading.Thread(target=feed, daemon=True).start()
        answered = child.stdout.read()
        (self._folder / "sent").write_bytes(sent)
        (self._folder / "command").write_bytes(command)
        (self._folder / "answered").write_bytes(answered)
        _answer(channel, answered, child.wait())

    def _replay(self, channel: paramiko.Channel, command: bytes) -> None:
        missing = (self._folder / "sent").stat().st_size - NEVER_MIND
        while missing > 0 and (chunk := channel.recv(65536)):
            missing -= len(chunk)
        _answer(channel, (self._folder / "answered").read_bytes(), 0)


def _answer(channel: paramiko.Channel, answered: bytes, status: int) -> None:
    channel.sendall(answered)
    channel.send_exit_status(status)
    channel.close()


def serve(listening: socket.socket, folder: Path, record: bool) -> None:
    """Take connections until the process ends."""
    key = paramiko.PKey.from_path(folder / "host_key")
    authorized = (folder / "identity.pub").read_text().split()[1]
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_speak, args=(connection, key, Host(folder, authorized, record)), daemon=True).start()


def _speak(connection: socket.socket, key: paramiko.PKey, host: Host) -> None:
    transport = paramiko.Transport(connection)
    transport.add_server_key(key)
    try:
        transport.start_server(server=host)
    except (paramiko.SSHException, OSError, EOFError):  # the client has thought better of it
        transport.close()


def main(folder: Path, processes: int, record: bool) -> None:
    """Listen on all addresses of loopback, in so many processes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # "" and not 127.0.0.1: every address of 127.0.0.0/8 is a host
    listening = socket.create_server(("", 0), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    for _ in range(processes - 1):
        if os.fork() == 0:
            break
    serve(listening, folder, record)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["record"])
