"""The root lab keeps its word: real hosts, real faults, nothing left behind."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from tests.lab import debian_base, rootlab
from tests.lab.conftest import StartLab

pytestmark = pytest.mark.root

DEADLINE_S = 20.0

HELD_LAB = """
import sys
from pathlib import Path
from tests.lab.rootlab import RootLab
lab = RootLab(Path(sys.argv[1]), ["held"], disk_mb=16)
lab.start()
print(lab.hosts["held"].pid, flush=True)
sys.stdin.read()
"""
"""A process that holds a lab until it is killed."""


@contextlib.contextmanager
def ssh(lab: rootlab.RootLab, name: str) -> Iterator[paramiko.SSHClient]:
    """A login that trusts nothing but the lab's known_hosts."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(lab.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(
        lab.hosts[name].address,
        username=lab.user,
        key_filename=str(lab.identity_file),
        allow_agent=False,
        look_for_keys=False,
        timeout=DEADLINE_S,
        banner_timeout=DEADLINE_S,
        auth_timeout=DEADLINE_S,
    )
    with client:
        yield client


def said(client: paramiko.SSHClient, command: str) -> str:
    _, stdout, _ = client.exec_command(command, timeout=DEADLINE_S)
    return stdout.read().decode().strip()


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def answers(host: rootlab.RootHost, timeout_s: float = 1.0) -> bool:
    """Whether something at the host's sshd port speaks."""
    try:
        with socket.create_connection((host.address, host.port), timeout=timeout_s) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def devices(prefix: str) -> set[str]:
    names = {device.name for device in Path("/sys/class/net").iterdir()}
    return {name for name in names if name == prefix or name.startswith(f"{prefix}h")}


def test_deploy_logs_in_with_the_key_and_becomes_root_without_a_password(start_lab: StartLab) -> None:
    lab = start_lab("one")
    with ssh(lab, "one") as client:
        assert said(client, "id -un; hostname; sudo -n id -un") == "deploy\none\nroot"


def test_a_lab_of_the_next_suite_has_its_python_its_sudo_and_its_core_utilities(start_lab: StartLab) -> None:
    """What Ubuntu 26.04 has: sudo-rs and uutils."""
    lab = start_lab("one", recipe=debian_base.RUST)
    with ssh(lab, "one") as client:
        assert said(client, "id -un; hostname; sudo -n id -un") == "deploy\none\nroot"
        assert "sudo-rs" in said(client, "sudo --version")
        assert "uutils" in said(client, "ls --version")
        version = said(client, "python3 -c 'import sys; print(*sys.version_info[:2])'")
        assert tuple(map(int, version.split())) >= (3, 13)
        assert said(client, "sudo -n supervisorctl version").startswith("4.")


def test_a_host_that_shows_another_key_is_refused(start_lab: StartLab) -> None:
    lab = start_lab("one", "two")
    one, two = lab.hosts.values()
    lab.known_hosts.write_text(f"{one.address} {two.host_key}\n")
    with pytest.raises(paramiko.BadHostKeyException), ssh(lab, "one"):
        pass


def test_the_distributions_supervisor_runs_programs_as_it_does_anywhere(start_lab: StartLab) -> None:
    host = start_lab("one").hosts["one"]
    conf = "/etc/supervisor/conf.d/sleeper.conf"
    host.exec("tee", conf, stdin="[program:sleeper]\ncommand=/bin/sleep 1000\nstartsecs=0\n")
    host.exec("supervisorctl", "update")
    assert eventually(lambda: "RUNNING" in host.exec("supervisorctl", "status", check=False).output)


def test_hosts_see_each_other_and_the_gateway_and_nothing_else(start_lab: StartLab) -> None:
    lab = start_lab("one", "two")
    reach = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    one = lab.hosts["one"]
    with socket.create_server((lab.gateway, 0)) as index:
        one.exec("python3", "-c", reach, lab.gateway, str(index.getsockname()[1]))
    one.exec("python3", "-c", reach, "two", "22")
    assert "Network is unreachable" in one.exec("python3", "-c", reach, "192.0.2.1", "80", check=False).errors


def test_a_power_loss_is_silent_and_the_disk_is_there_afterwards(start_lab: StartLab) -> None:
    lab = start_lab("one")
    host = lab.hosts["one"]
    host.exec("tee", "/srv/kept", stdin="kept")
    first = host.pid
    with ssh(lab, "one") as client:
        transport = client.get_transport()
        assert transport is not None
        host.power_off()
        assert first is not None
        assert not alive(first)
        # no FIN and no RST: to its peers a host without power is like one that thinks
        assert transport.is_active()
    assert not answers(host)
    host.power_on()
    assert host.pid != first
    with ssh(lab, "one") as client:
        assert said(client, "cat /srv/kept") == "kept"


@pytest.mark.parametrize("fault", ["cut", "drop"])
def test_a_host_that_is_out_of_reach_goes_on_and_is_back_after_healing(start_lab: StartLab, fault: str) -> None:
    lab = start_lab("one", "two")
    host = lab.hosts["one"]
    heal = {"cut": host.heal, "drop": host.undrop}[fault]
    with ssh(lab, "one") as client:
        transport = client.get_transport()
        assert transport is not None
        assert isinstance(transport.sock, socket.socket)
        # the kernel gives up on unanswered data after 1 s
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
        getattr(host, fault)()
        transport.send_ignore()
        assert eventually(lambda: not transport.is_active())
    assert not answers(host)
    assert answers(lab.hosts["two"])
    assert host.exec("supervisorctl", "pid").exit_code == 0
    heal()
    assert eventually(lambda: answers(host))


def test_a_host_that_rejects_packets_breaks_connections_at_once_and_still_hears_itself(start_lab: StartLab) -> None:
    lab = start_lab("one")
    host = lab.hosts["one"]
    with ssh(lab, "one") as client:
        transport = client.get_transport()
        assert transport is not None
        host.reject()
        transport.send_ignore()
        assert eventually(lambda: not transport.is_active())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host.address, host.port), timeout=DEADLINE_S)
    host.exec("python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 22), 5)")
    host.unreject()
    assert answers(host)


def test_a_frozen_host_accepts_connections_and_says_nothing_until_it_is_thawed(start_lab: StartLab) -> None:
    lab = start_lab("one")
    host = lab.hosts["one"]
    with ssh(lab, "one") as client:
        pid = said(client, "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
        host.freeze()
        with socket.create_connection((host.address, host.port), timeout=DEADLINE_S):
            pass
        assert not answers(host)
        assert "T (stopped)" in host.exec("cat", f"/proc/{pid}/status").output
        host.thaw()
        assert said(client, "echo back") == "back"
    assert answers(host, DEADLINE_S)


def test_killing_sshd_ends_the_session_and_not_what_it_started(start_lab: StartLab) -> None:
    lab = start_lab("one")
    host = lab.hosts["one"]
    with ssh(lab, "one") as client:
        pid = said(client, "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
        host.kill_sshd()
        transport = client.get_transport()
        assert eventually(lambda: transport is None or not transport.is_active())
    assert not answers(host)
    host.exec("kill", "-0", pid)
    host.start_sshd()
    with ssh(lab, "one") as client:
        assert said(client, "echo back") == "back"


def test_a_full_disk_refuses_writes_until_it_is_freed(start_lab: StartLab) -> None:
    host = start_lab("one", disk_mb=16).hosts["one"]
    host.fill_disk()
    write = ("dd", "if=/dev/zero", "of=/srv/more", "bs=64K", "count=1")
    assert "No space left on device" in host.exec(*write, check=False).errors
    host.free_disk()
    host.exec(*write)


def test_two_labs_at_once_share_nothing(start_lab: StartLab) -> None:
    first, second = start_lab("one"), start_lab("one", "two")
    assert first.prefix != second.prefix
    assert not {host.address for host in first.hosts.values()} & {host.address for host in second.hosts.values()}
    second.stop()
    with ssh(first, "one") as client:
        assert said(client, "echo here") == "here"


def test_a_stopped_lab_leaves_no_process_device_mount_or_disk(start_lab: StartLab) -> None:
    lab = start_lab("one", "two", disk_mb=16)
    prefix, folder = lab.prefix, lab.folder
    pids = [host.pid for host in lab.hosts.values() if host.pid]
    assert devices(prefix) == {prefix, f"{prefix}h0", f"{prefix}h1"}
    assert len(tuple(rootlab.mounts(f"{prefix}h"))) == 2
    lab.hosts["two"].power_off()
    lab.stop()
    assert not any(alive(pid) for pid in pids)
    assert not devices(prefix)
    assert not tuple(rootlab.mounts(f"{prefix}h"))
    assert sorted(path.name for path in folder.iterdir()) == ["identity", "known_hosts"]
    lab.stop()


def test_a_lab_whose_process_was_killed_is_swept_by_the_next_one(start_lab: StartLab, tmp_path: Path) -> None:
    holder = subprocess.Popen(
        (sys.executable, "-c", HELD_LAB, str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
    assert eventually(lambda: not alive(pid))
    debris = str(tmp_path / "held")
    for number in range(5):  # a new lab takes the lowest free slot; another test run may have freed a lower one
        start_lab(f"next{number}")
        if debris not in rootlab.mounts("pwlab"):
            break
    assert debris not in rootlab.mounts("pwlab")
