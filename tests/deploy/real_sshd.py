"""OpenSSH's own server on loopback, as the user who runs the tests: a bastion that forwards, and counts."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.deploy.bare import wait_until
from tests.ports import free_port

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@dataclass
class Sshd:
    """A server that listens. `key_line` is what stands for its key in known_hosts, after the name."""

    port: int
    key_line: str
    log: Path
    user: str

    @property
    def known(self) -> str:
        """Its line for known_hosts."""
        return f"[127.0.0.1]:{self.port} {self.key_line}\n"

    @property
    def connections(self) -> int:
        """How many there were, of those that logged in."""
        return self.log.read_text().count("Accepted publickey for")


@contextlib.contextmanager
def sshd(folder: Path, authorized: Path) -> Iterator[Sshd]:
    """Start one that lets in the keys of the file `authorized`. Skips where there is no OpenSSH."""
    if SSHD is None:
        pytest.skip("there is no sshd (openssh-server)")
    folder.mkdir()
    key, log, port = folder / "host_key", folder / "log", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    allowed = folder / "authorized_keys"
    allowed.write_text(authorized.read_text())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it separates its privileges
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": key,
        "AuthorizedKeysFile": allowed,
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "LogLevel": "VERBOSE",
    }
    conf = folder / "sshd_config"
    conf.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    child = subprocess.Popen([SSHD, "-D", "-f", str(conf), "-E", str(log)], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), "sshd")
        yield Sshd(port, " ".join(key.with_suffix(".pub").read_text().split()[:2]), log, getpass.getuser())
    finally:
        child.terminate()
        child.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        return connection.recv(4) == b"SSH-"
    return False
