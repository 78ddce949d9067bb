"""Process 1 of a host of the root lab: `enter` makes the host's root file system, `serve` runs its daemons.

Stdlib only and Python >= 3.10: `enter` runs on the machine's Python, `serve` on the host's own. Stdout speaks to
the lab, one JSON line each: {"pid": N} once the namespaces are there, {"ready": true} once the daemons answer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

INSIDE = "/usr/local/sbin/lab-pid1"
SSHD = ("/usr/sbin/sshd", "-E", "/var/log/sshd.log")
SUPERVISORD = ("/usr/bin/supervisord", "-c", "/etc/supervisor/supervisord.conf")
SUPERVISOR_SOCKET = "/run/supervisor.sock"
READY_TIMEOUT_S = 20.0

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def enter() -> None:
    """Become the host: overlay, devices, pivot; then go on as `serve` with the host's own Python.

    Reads one line of JSON from stdin, sent once eth0 is in this network namespace: {"name", "address" (CIDR),
    "base", "disk" (folder for upper, work and root), "files" {path: {"text", "mode", "uid"}}}.
    """
    # /proc is still the machine's: there our own pid is the one that the lab must know
    report({"pid": int(Path("/proc/self").readlink().name)})
    spec = json.loads(sys.stdin.readline())

    disk = Path(spec["disk"])
    root = disk / "root"
    for name in ("upper", "work", "root"):
        (disk / name).mkdir(exist_ok=True)
    layers = f"lowerdir={spec['base']},upperdir={disk / 'upper'},workdir={disk / 'work'}"
    mount("overlay", spec["name"], root, layers)
    mount("proc", "proc", root / "proc")
    mount("sysfs", "sysfs", root / "sys", "ro")
    mount("tmpfs", "tmpfs", root / "run", "mode=755,size=32m")
    mount("tmpfs", "tmpfs", root / "dev", "mode=755,size=4m")
    for name in ("pts", "shm"):
        (root / "dev" / name).mkdir()
    for name in DEVICES:
        (root / "dev" / name).touch()
        run("mount", "--bind", f"/dev/{name}", str(root / "dev" / name))
    mount("devpts", "devpts", root / "dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", "tmpfs", root / "dev/shm", "mode=1777,size=64m")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")

    for path, wanted in spec["files"].items():
        place(root / path.lstrip("/"), **wanted)
    place(root / INSIDE.lstrip("/"), Path(__file__).read_text(), 0o755, 0)
    socket.sethostname(spec["name"])

    os.chdir(root)
    Path(".old").mkdir(exist_ok=True)
    run("pivot_root", ".", ".old")
    run("umount", "--lazy", "/.old")
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    argv = ("/usr/bin/python3", "-I", INSIDE, "serve", spec["address"])
    os.execve(argv[0], argv, environment)  # noqa: S606 - no shell is wanted


def serve(address: str) -> None:
    """Bring up the network, sshd and supervisord, say so, and reap orphans until the power goes."""
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "address", "add", address, "dev", "eth0"),
        ("ip", "link", "set", "eth0", "up"),
    ):
        run(*command)
    Path("/run/sshd").mkdir(exist_ok=True)
    Path("/var/log/supervisor").mkdir(exist_ok=True)
    run(*SSHD)
    run(*SUPERVISORD)
    deadline = time.monotonic() + READY_TIMEOUT_S
    until_answered(socket.AF_INET, ("127.0.0.1", 22), deadline)
    until_answered(socket.AF_UNIX, SUPERVISOR_SOCKET, deadline)
    report({"ready": True})
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(quiet, stream)
    while True:
        try:
            os.wait()
        except ChildProcessError:  # every daemon is gone; the host is still on
            time.sleep(0.1)


def report(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)  # noqa: T201 - stdout is the wire to the lab


def run(*argv: str) -> None:
    """Run a command to its end; what it prints goes to stderr, the console of the host."""
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, check=True)


def mount(kind: str, source: str, target: Path, options: str = "rw") -> None:
    run("mount", "-t", kind, "-o", options, source, str(target))


def place(file: Path, text: str, mode: int, uid: int) -> None:
    """Write `file`; folders that it brings along belong to `uid` and to nobody else."""
    missing = []
    folder = file.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, uid)
    file.write_text(text)
    file.chmod(mode)
    os.chown(file, uid, uid)


def until_answered(family: int, address: Any, deadline: float) -> None:
    """Poll until something listens at `address`. Raises `TimeoutError` at the deadline (monotonic clock)."""
    while True:
        with socket.socket(family) as probe:
            try:
                probe.connect(address)
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing answers at {address}") from None
            else:
                return
        time.sleep(0.01)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["enter"]:
            enter()
        case ["serve", address]:
            serve(address)
