"""The root lab: hosts with a real sshd and a real supervisord, as root, in namespaces of this machine.

A host is a process 1 in network, mount, pid, uts and ipc namespaces of its own, on an overlay over one shared
Debian (`debian_base`). Everything of a host but its disk and its network cable dies with that process, and that
process dies with the one that made the lab; so a lab that was killed leaves little, and the next one sweeps it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.lab import debian_base, pid1
from tests.lab.debian_base import OWN, Recipe

from pinwheel import process

SLOTS = Path("/run/pinwheel-lab")
"""One lock file per running lab; its number makes the lab's names and addresses unlike any other's."""

PROGRAMS = {
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "pivot_root": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
BUILD_PROGRAMS = {"mmdebstrap": "mmdebstrap", "apt-get": "apt", "chroot": "coreutils"}

NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--fork")

START_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 60.0

DROP = """
table inet lab {
  chain incoming { type filter hook input priority 0; policy drop; iif lo accept; }
  chain outgoing { type filter hook output priority 0; policy drop; oif lo accept; }
}
"""
REJECT = """
table inet lab {
  chain incoming {
    type filter hook input priority 0;
    iif lo accept
    meta l4proto tcp reject with tcp reset
    reject
  }
}
"""

SIGNAL_ALL = "import os, sys; os.kill(-1, int(sys.argv[1]))"
"""Run in a pid namespace: a signal for each of its processes but process 1 and itself."""

INSIDE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
"""The environment of a command inside a host: nothing of the machine's."""


class LabFault(Exception):
    """The lab itself does not work; the text holds what the failing command or host said."""


def requirements(recipe: Recipe = OWN) -> tuple[str, ...]:
    """What this machine lacks for the root lab, one line each; empty when a lab can be started."""
    if os.geteuid() != 0:
        return ("root",)
    wanted = dict(PROGRAMS)
    try:
        wanted |= {} if debian_base.cached(recipe) else BUILD_PROGRAMS
    except debian_base.NoBase as error:
        return (str(error),)
    missing = tuple(f"{name} (package {package})" for name, package in wanted.items() if not shutil.which(name))
    if missing:
        return missing
    probe = process.run(("unshare", *NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"), timeout_s=COMMAND_TIMEOUT_S)
    return () if probe.exit_code == 0 else (f"permission to make namespaces: {probe.errors.strip()}",)


class RootLab:
    """Hosts on one bridge, reached from the machine by address; a context manager that leaves nothing.

    `folder` holds the hosts' disks, the throw-away key `identity_file`, and `known_hosts` with the hosts' keys.
    With `disk_mb` each host's disk is that small and can be filled; without, it is a folder of `folder`'s file
    system. Serve what the hosts need (the index) at `gateway`: there is no route to anywhere else.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, disk_mb: int | None = None, recipe: Recipe = OWN) -> None:
        self.folder = folder
        self.identity_file = folder / "identity"
        self.known_hosts = folder / "known_hosts"
        self.user = debian_base.DEPLOY_USER
        self.hosts: Mapping[str, RootHost] = {}
        self._names = tuple(names)
        self._disk_mb = disk_mb
        self._recipe = recipe
        self._slot: int | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def prefix(self) -> str:
        """What the names of all devices of this lab begin with."""
        return _prefix(self._taken())

    @property
    def gateway(self) -> str:
        """The machine's own address on the hosts' network."""
        return f"10.77.{self._taken()}.1"

    def start(self) -> None:
        """Start every host and wait until sshd and supervisord answer on each. Raises `LabFault`, `NoBase`."""
        base = debian_base.ready(self._recipe)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._slot, self._lock = _take_slot()
        try:
            _command("ip", "link", "add", self.prefix, "type", "bridge")
            _command("ip", "address", "add", f"{self.gateway}/24", "dev", self.prefix)
            _command("ip", "link", "set", self.prefix, "up")
            authorized = _write_identity(self.identity_file)
            self.hosts = {
                name: RootHost(
                    name=name,
                    number=number,
                    slot=self._slot,
                    base=base,
                    disk=self.folder / name,
                    disk_mb=self._disk_mb,
                    authorized=authorized,
                    neighbours={other: _address(self._slot, n) for n, other in enumerate(self._names)},
                )
                for number, name in enumerate(self._names)
            }
            self.known_hosts.write_text("".join(f"{host.address} {host.host_key}\n" for host in self.hosts.values()))
            # all are told to start before any is waited for
            for host in self.hosts.values():
                host.begin()
            for host in self.hosts.values():
                host.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Power everything off and remove disks, devices and mounts. Does nothing the second time."""
        if self._slot is None or self._lock is None:
            return
        with contextlib.ExitStack() as every:  # each of them, whatever the others raise
            every.callback(self._lock.close)
            every.callback(_sweep, self._slot)
            for host in self.hosts.values():
                every.callback(host.remove)
            self._slot = self._lock = None

    def environment(self, **other: Any) -> dict[str, Any]:
        """The `[environments.X]` table of a pinwheel.toml that deploys to these hosts, as plain data."""
        return {
            "user": self.user,
            "identity_file": str(self.identity_file),
            "known_hosts": str(self.known_hosts),
            "become": ["sudo", "-n"],
            "layout": {"root": "/srv/pinwheel", "supervisor_from": "host"},
            "hosts": {name: {"address": host.address} for name, host in self.hosts.items()},
        } | other

    def _taken(self) -> int:
        if self._slot is None:
            raise LabFault("the lab is not started")
        return self._slot


class RootHost:
    """One host. `address` is reachable from the machine while the host is on and its cable is in."""

    def __init__(
        self,
        *,
        name: str,
        number: int,
        slot: int,
        base: Path,
        disk: Path,
        disk_mb: int | None,
        authorized: str,
        neighbours: Mapping[str, str],
    ) -> None:
        self.name = name
        self.address = _address(slot, number)
        self.port = 22
        self.disk = disk
        self.pid: int | None = None
        self._bridge = _prefix(slot)
        self._cable = f"{_prefix(slot)}h{number}"
        # one address for life: neighbours must not send to the card of before a power loss
        self._mac = f"02:70:77:{slot:02x}:00:{number:02x}"
        self._disk_mb = disk_mb
        self._starter: subprocess.Popen[str] | None = None
        private, self.host_key = _key_pair()
        names = "".join(f"{address} {other}\n" for other, address in neighbours.items())
        self._spec = {
            "name": name,
            "address": f"{self.address}/24",
            "base": str(base),
            "disk": str(disk),
            "files": {
                "/etc/hostname": {"text": f"{name}\n", "mode": 0o644, "uid": 0},
                "/etc/hosts": {"text": f"127.0.0.1 localhost\n{names}", "mode": 0o644, "uid": 0},
                "/etc/ssh/ssh_host_ed25519_key": {"text": private, "mode": 0o600, "uid": 0},
                f"/home/{debian_base.DEPLOY_USER}/.ssh/authorized_keys": {
                    "text": authorized,
                    "mode": 0o600,
                    "uid": debian_base.DEPLOY_UID,
                },
            },
        }

    # -- power

    def power_on(self) -> None:
        """Start the host on the disk that it had, and wait until its daemons answer."""
        self.begin()
        self.wait_ready()

    def power_off(self) -> None:
        """Cut the power: every process gone at once, no goodbye on the network.

        What was written but not synced survives, unlike at a real power loss: the page cache is the machine's.
        """
        if self._starter is None:
            return
        # the cable first: the dying kernel would close every connection politely
        _delete_device(self._cable)
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        else:
            self._starter.kill()
        self._starter.wait()
        for stream in (self._starter.stdin, self._starter.stdout):
            if stream:
                stream.close()
        self._starter = self.pid = None

    # -- faults

    def kill_sshd(self) -> None:
        """End sshd and every session of it; what the sessions started goes on."""
        self.exec("pkill", "-KILL", "^sshd")

    def start_sshd(self) -> None:
        """Start sshd again after `kill_sshd`, and wait until it listens."""
        self.exec(*pid1.SSHD)
        pid1.until_answered(socket.AF_INET, (self.address, self.port), time.monotonic() + START_TIMEOUT_S)

    def cut(self) -> None:
        """Pull the network cable."""
        _command("ip", "link", "set", self._cable, "down")

    def heal(self) -> None:
        """Put the network cable back."""
        _command("ip", "link", "set", self._cable, "up")

    def drop(self) -> None:
        """A firewall that swallows every packet, in and out, without an answer; the host still hears itself."""
        self._nft("-f", "-", stdin=DROP)

    def undrop(self) -> None:
        """Take the firewall of `drop` away."""
        self._nft("delete", "table", "inet", "lab")

    def reject(self) -> None:
        """A firewall that answers every packet with a reset: connections break at once, new ones are refused."""
        self._nft("-f", "-", stdin=REJECT)

    def unreject(self) -> None:
        """Take the firewall of `reject` away."""
        self._nft("delete", "table", "inet", "lab")

    def freeze(self) -> None:
        """Stop every process where it is. The kernel goes on: it accepts connections and acknowledges bytes."""
        self._signal(signal.SIGSTOP)
        os.kill(self._on(), signal.SIGSTOP)

    def thaw(self) -> None:
        """Let every process go on."""
        os.kill(self._on(), signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def fill_disk(self) -> None:
        """Use up the disk to the last block. Only where the lab has `disk_mb`."""
        if self._disk_mb is None:
            raise LabFault("this lab's disks are the machine's; make it with disk_mb to fill one")
        self.exec("dd", "if=/dev/zero", "of=/var/tmp/.fill", "bs=64K", check=False)

    def free_disk(self) -> None:
        """Give back what `fill_disk` took."""
        self.exec("rm", "-f", "/var/tmp/.fill")

    # -- looking inside

    def exec(
        self, *argv: str, stdin: str = "", check: bool = True, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> process.Completed:
        """Run a command as root inside the host, past sshd. With `check`, a non-zero exit raises `LabFault`."""
        inside = ("nsenter", "--target", str(self._on()), "--all", "--", *argv)
        done = process.run(inside, stdin=stdin, env=INSIDE, timeout_s=timeout_s)
        if check and done.exit_code != 0:
            raise LabFault(f"{self.name}: {' '.join(argv)} ended with {done.exit_code}: {done.output}{done.errors}")
        return done

    def console(self) -> str:
        """What process 1 said on its way up."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    # -- how it is made

    def begin(self) -> None:
        """Start process 1 and connect the cable; `wait_ready` has the rest."""
        if self._starter is not None:
            raise LabFault(f"{self.name} is on already")
        self.disk.mkdir(exist_ok=True)
        if self._disk_mb is not None and not self.disk.is_mount():
            options = f"size={self._disk_mb}m,mode=755"
            _command("mount", "-t", "tmpfs", "-o", options, self._cable, str(self.disk))
        argv = (
            # who makes the lab and dies takes its hosts along
            *("setpriv", "--pdeathsig", "KILL"),
            *("unshare", *NAMESPACES, "--kill-child"),
            *(sys.executable, "-I", pid1.__file__, "enter"),
        )
        with self._console.open("w") as console:
            self._starter = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                env=INSIDE,
                start_new_session=True,
            )
        self.pid = int(self._hear()["pid"])
        _command(
            *("ip", "link", "add", self._cable, "type", "veth"),
            *("peer", "name", "eth0", "address", self._mac, "netns", str(self.pid)),
        )
        _command("ip", "link", "set", self._cable, "master", self._bridge, "up")
        if self._starter.stdin:
            # not on the command line: it holds the host's private key
            self._starter.stdin.write(f"{json.dumps(self._spec)}\n")
            self._starter.stdin.close()

    def wait_ready(self) -> None:
        """Wait until sshd and supervisord answer. Raises `LabFault` with the console."""
        self._hear()

    def remove(self) -> None:
        """Power off and take the disk away."""
        self.power_off()
        if self.disk.is_mount():
            _command("umount", str(self.disk))
        shutil.rmtree(self.disk, ignore_errors=True)
        self._console.unlink(missing_ok=True)

    @property
    def _console(self) -> Path:
        return self.disk.with_name(f"{self.name}.console")

    def _nft(self, *words: str, stdin: str = "") -> None:
        _command("nsenter", f"--net=/proc/{self._on()}/ns/net", "nft", *words, stdin=stdin)

    def _signal(self, number: signal.Signals) -> None:
        inside = ("nsenter", f"--pid=/proc/{self._on()}/ns/pid")
        _command(*inside, sys.executable, "-I", "-c", SIGNAL_ALL, str(int(number)))

    def _on(self) -> int:
        if self.pid is None:
            raise LabFault(f"{self.name} is off")
        return self.pid

    def _hear(self) -> dict[str, Any]:
        """The next line of process 1."""
        stream = self._starter.stdout if self._starter else None
        if stream is None:
            raise LabFault(f"{self.name} is off")
        line = stream.readline() if select.select([stream], [], [], START_TIMEOUT_S)[0] else ""
        if not line:
            raise LabFault(f"{self.name} did not come up:\n{self.console()}")
        heard: dict[str, Any] = json.loads(line)
        return heard


def _prefix(slot: int) -> str:
    return f"pwlab{slot}"


def _address(slot: int, number: int) -> str:
    return f"10.77.{slot}.{10 + number}"


def _take_slot() -> tuple[int, IO[str]]:
    """A number that no running lab has, and the open lock that keeps it; debris of its last owner is gone."""
    SLOTS.mkdir(exist_ok=True)
    for slot in range(250):
        lock = (SLOTS / str(slot)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _sweep(slot)
        return slot, lock
    raise LabFault("250 labs are running on this machine")


def _sweep(slot: int) -> None:
    """Remove the devices and mounts that bear the name of `slot`; its lock is held, so nobody uses them."""
    prefix = _prefix(slot)
    for device in tuple(Path("/sys/class/net").iterdir()):
        if device.name == prefix or device.name.startswith(f"{prefix}h"):
            _delete_device(device.name)
    for mounted in mounts(f"{prefix}h"):
        _command("umount", mounted)


def _delete_device(name: str) -> None:
    """Delete a network device. The kernel does it too, in its own time, when the namespace of a cable's end dies."""
    device = Path("/sys/class/net", name)
    try:
        if device.exists():
            _command("ip", "link", "delete", name)
    except LabFault:
        if device.exists():
            raise


def mounts(source_prefix: str) -> Iterator[str]:
    """Mount points of this machine whose source begins with `source_prefix`."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[1].startswith(source_prefix):
            yield before.split()[4].encode().decode("unicode_escape")


def _command(*argv: str, stdin: str = "") -> str:
    done = process.run(argv, stdin=stdin, timeout_s=COMMAND_TIMEOUT_S)
    if done.exit_code != 0:
        raise LabFault(f"{' '.join(argv)} ended with {done.exit_code}: {done.errors.strip()}")
    return done.output


def _write_identity(file: Path) -> str:
    """Write a throw-away private key to `file`; returns the line for authorized_keys."""
    private, public = _key_pair()
    file.touch(mode=0o600)
    file.write_text(private)
    return f"{public}\n"


def _key_pair() -> tuple[str, str]:
    """A new Ed25519 key as OpenSSH writes it: private file, public line."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()
