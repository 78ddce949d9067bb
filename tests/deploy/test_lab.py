"""The lab's hosts behave as hosts with sshd do, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from pinwheel.deploy.lab import SOCKET_PATH_BYTES, Lab
from pinwheel.deploy.lab_host import SERVER_MARK, LabFailed, end_host, marked

DAEMON = "(setsid sleep 300 </dev/null >/dev/null 2>&1 &)"


def connect(lab: Lab, name: str, key: paramiko.PKey | None = None) -> paramiko.SSHClient:
    """A client that trusts known_hosts and nothing else."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(lab.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    host = lab.hosts[name]
    client.connect(
        host.address,
        host.port,
        username="anyone",
        pkey=key or paramiko.ECDSAKey.from_private_key_file(str(lab.identity_file)),
        look_for_keys=False,
        allow_agent=False,
        timeout=60,
    )
    return client


def run(client: paramiko.SSHClient, command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Exit code, stdout, stderr. Reads while it writes, and before it asks for the exit code: windows are finite."""
    into, out, errors = client.exec_command(command, timeout=60)

    def write() -> None:
        into.write(stdin)
        into.channel.shutdown_write()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    output = out.read(), errors.read()
    writer.join()
    return out.channel.recv_exit_status(), *output


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same two hosts for all tests that leave them as they are."""
    with Lab(tmp_path_factory.mktemp("standing"), ("h1", "h2")) as started:
        yield started


def test_a_command_has_its_input_output_errors_and_exit_code(standing: Lab) -> None:
    with connect(standing, "h1") as client:
        assert run(client, "cat; echo wrong >&2; exit 7", b"hello") == (7, b"hello", b"wrong\n")
        big = os.urandom(3_000_000)
        assert run(client, "cat", big)[1] == big


def test_a_command_runs_in_the_hosts_folder_with_an_environment_of_its_own(standing: Lab) -> None:
    root = str(standing.hosts["h2"].root)
    with connect(standing, "h2") as client:
        _, out, _ = run(client, "pwd; env")
    lines = out.decode().splitlines()
    assert lines[0] == root
    names = {line.split("=")[0] for line in lines[1:]}
    assert names <= {
        "HOME",
        "LANG",
        "LOGNAME",
        "PATH",
        "SHELL",
        "USER",
        "PINWHEEL_LAB_HOST",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    assert f"HOME={root}" in lines


def test_channels_of_one_connection_run_at_the_same_time(standing: Lab) -> None:
    """The first command waits for a file that only the second one makes."""
    with connect(standing, "h1") as client:
        codes: list[int] = []
        waiting = "for i in $(seq 1500); do [ -e met ] && exit 0; sleep 0.01; done; exit 1"
        first = threading.Thread(target=lambda: codes.append(run(client, waiting)[0]))
        first.start()
        codes.append(run(client, "touch met")[0])
        first.join()
    assert codes == [0, 0]


def test_a_command_that_a_signal_ended_has_no_exit_code(standing: Lab) -> None:
    with connect(standing, "h1") as client:
        assert run(client, "kill -9 $$")[0] == -1


def test_another_key_is_refused(standing: Lab) -> None:
    with pytest.raises(paramiko.AuthenticationException):
        connect(standing, "h1", paramiko.ECDSAKey.generate())


@pytest.mark.slow
def test_known_hosts_names_each_host_and_keys_survive_a_restart(lab: Lab) -> None:
    assert len({host.host_key for host in lab.hosts.values()}) == 2
    lab.hosts["h1"].kill_ssh()
    lab.hosts["h1"].start_ssh()
    with connect(lab, "h1") as client:
        assert run(client, "true")[0] == 0


def test_the_key_is_private(standing: Lab) -> None:
    assert stat.S_IMODE(standing.identity_file.stat().st_mode) == 0o600


@pytest.mark.slow
def test_processes_that_daemonised_themselves_are_found(lab: Lab, eventually: Callable[..., None]) -> None:
    host = lab.hosts["h1"]
    with connect(lab, "h1") as client:
        assert run(client, DAEMON)[0] == 0
    eventually(lambda: len(host.processes()) == 1)
    assert lab.hosts["h2"].processes() == ()
    assert host.pid not in host.processes()


@pytest.mark.slow
def test_a_killed_ssh_server_takes_pipes_away_and_nothing_else(lab: Lab, eventually: Callable[..., None]) -> None:
    host = lab.hosts["h1"]
    with connect(lab, "h1") as client:
        client.exec_command("cat >/dev/null; touch saw-eof; exec sleep 300")
        eventually(lambda: len(host.processes()) > 0)
        host.kill_ssh()
    assert host.pid is None
    eventually((host.root / "saw-eof").exists)
    assert host.processes()


@pytest.mark.slow
def test_power_off_ends_everything_and_keeps_the_folder(lab: Lab) -> None:
    host = lab.hosts["h1"]
    with connect(lab, "h1") as client:
        run(client, f"echo kept >file; {DAEMON}")
    host.power_off()
    assert (host.processes(), host.pid) == ((), None)
    host.start_ssh()
    with connect(lab, "h1") as client:
        assert run(client, "cat file")[1] == b"kept\n"


@pytest.mark.slow
def test_stop_leaves_no_process_and_can_be_repeated(lab: Lab) -> None:
    with connect(lab, "h1") as client:
        run(client, DAEMON)
    sockets = lab.hosts["h1"].socket.parent
    lab.stop()
    lab.stop()
    for host in lab.hosts.values():
        assert (host.processes(), host.pid) == ((), None)
    assert not sockets.exists()


@pytest.mark.slow
def test_sigterm_ends_a_host_with_all_its_processes(lab: Lab, eventually: Callable[..., None]) -> None:
    host = lab.hosts["h1"]
    with connect(lab, "h1") as client:
        run(client, DAEMON)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGTERM)
    eventually(lambda: not host.processes())


OWNER = """
import pathlib, signal, sys
from pinwheel.deploy.lab import Lab
lab = Lab(pathlib.Path(sys.argv[1]), ["h1"], keep=sys.argv[2] == "keep")
lab.start()
print(lab.hosts["h1"].root, flush=True)
signal.pause()
"""


def killed_owner(folder: Path, keep: str) -> Path:
    """The root of a host whose owner was killed -9; a daemon runs on it."""
    argv = (sys.executable, "-P", "-c", OWNER, str(folder), keep)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout
        root = Path(owner.stdout.readline().strip())
        with connect(Lab.open(folder), "h1") as client:
            run(client, DAEMON)
        owner.kill()
    return root


def test_hosts_end_themselves_when_their_owner_was_killed(tmp_path: Path, eventually: Callable[..., None]) -> None:
    killed_owner(tmp_path / "lab", "")
    left = Lab.open(tmp_path / "lab")
    host = left.hosts["h1"]
    try:
        eventually(lambda: not host.processes() and host.pid is None)
    finally:
        left.stop()  # their folder of sockets is still there


@pytest.mark.slow
def test_kept_hosts_stay_until_another_process_stops_them(tmp_path: Path) -> None:
    root = killed_owner(tmp_path / "lab", "keep")
    try:
        again = Lab.open(tmp_path / "lab")
        with connect(again, "h1") as client:
            assert run(client, "true")[0] == 0
        assert len(again.hosts["h1"].processes()) == 1
        again.stop()
        assert marked(SERVER_MARK, root) == ()
        assert again.hosts["h1"].processes() == ()
    finally:
        end_host(root)


def test_a_host_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Lab(tmp_path / "one", ("h1",)) as running:
        other = Lab(tmp_path / "two", ("h1",))
        other.hosts["h1"].port = running.hosts["h1"].port
        with pytest.raises(LabFailed, match="Address already in use"):
            other.start()
    assert other.hosts["h1"].pid is None


def test_the_environment_table_holds_no_path_that_differs_between_hosts(standing: Lab) -> None:
    table = standing.environment(variables={"h1": {"port": "1234"}}, index_url="http://127.0.0.1:1/")
    json.dumps(table)  # plain values only
    assert set(table["hosts"]) == {"h1", "h2"}
    assert table["hosts"]["h1"]["variables"] == {"port": "1234"}
    for key in ("root", "supervisor_conf_dir", "supervisor_socket"):
        assert "{host}" in table["layout"][key]
    for host in standing.hosts.values():
        assert table["layout"]["supervisor_socket"].format(host=host.name) == str(host.socket)
        assert len(str(host.socket)) <= SOCKET_PATH_BYTES


def test_free_ports_are_free_and_differ(standing: Lab) -> None:
    ports = [standing.hosts["h1"].free_port() for _ in range(20)]
    assert len(set(ports)) == 20
