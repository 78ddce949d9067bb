"""The SSH channel against real SSH servers: what goes through, and each way in which it does not."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.ports import deserted_port

from pinwheel.config import Layout
from pinwheel.deploy.host import bundle
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.lab import Lab
from pinwheel.deploy.lab_host import key_in
from pinwheel.deploy.reaching.diagnosis import unreachable
from pinwheel.deploy.reaching.hosts import (
    HostKeyRejected,
    HostLost,
    HostUnreachable,
    LoginRefused,
    NotTouched,
    RunnerFailed,
    StepRefused,
)
from pinwheel.deploy.reaching.ssh import SshHosts
from pinwheel.errors import PinwheelError, UsageError

PRELUDE = b"""
import json, os, sys, time
stdin = sys.stdin.buffer
def say(**answer):
    sys.stdout.write(json.dumps(answer) + "\\n")
    sys.stdout.flush()
say(type="hello", protocol=1, pid=os.getpid())
request = json.loads(stdin.read(int.from_bytes(stdin.read(8), "big")))
"""

ECHO = PRELUDE + b'say(type="progress", text="working"); say(type="result", got=request, pid=os.getpid())\n'
WAITS = PRELUDE + b'say(type="progress", text="up")\nstdin.read()\nsay(type="result", ended="by the end of stdin")\n'
SILENT = PRELUDE + b'say(type="progress", text="up")\ntime.sleep(60)\n'
REFUSES = PRELUDE + b'say(type="error", code="moved", problem="another runs", where="/srv", remedy="plan again")\n'
STOPS = PRELUDE + b"sys.exit(7)\n"
LOUD = PRELUDE + b'print("x" * 3_000_000)\nsys.stderr.write("y" * 500_000)\nsay(type="result", ok=True)\n'

WANTS = (
    PRELUDE
    + b"""
say(type="want", files=["large", "small"])
got = []
for _ in range(2):
    head = stdin.read(8)
    data = stdin.read(int.from_bytes(head, "big"))
    got.append([len(data), sum(data[:1000])])
    if not head:
        say(type="error", code="aborted", problem="the controller went away", where="", remedy="run it again")
        sys.exit(1)
say(type="result", got=got)
"""
)
HALF = (
    PRELUDE
    + b"""
say(type="want", files=["large"])
stdin.read(100)
say(type="error", code="no-space", problem="there is no space", where="/srv", remedy="free some")
os._exit(1)
"""
)

LOOK = {"action": "facts"}

Ask = Callable[..., Mapping[str, Any]]


@dataclasses.dataclass
class Way:
    """The lab and how to open a way into it."""

    lab: Lab

    def target(self, name: str = "h1", **changes: Any) -> Target:
        host = self.lab.hosts[name]
        layout = Layout(root=str(host.root), python=str(self.lab.environment()["layout"]["python"]))
        made = Target(name, host.address, host.port, "deploy", (), layout, {})
        return dataclasses.replace(made, **changes)

    def open(
        self, runner: bytes = ECHO, target: Target | None = None, targets: Sequence[Target] = (), **changes: Any
    ) -> SshHosts:
        given: dict[str, Any] = {"known_hosts": self.lab.known_hosts, "identity_file": self.lab.identity_file}
        targets = targets or ([target] if target else [self.target(name) for name in self.lab.hosts])
        sent = bundle.packed({"runner": f"{runner.decode()}\ndef main(errands): ...\n"})
        return SshHosts(targets, sent=lambda _: sent, **(given | changes))


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with Lab(tmp_path_factory.mktemp("lab"), ("h1", "h2")) as lab:
        yield Way(lab)


def nothing(_: str) -> None:
    pass


def one_line(error: NotTouched | HostLost) -> None:
    """It says what, where and what to do, each in one line, in our words and without the host's name, which stands
    before it wherever it is shown."""
    for text in (error.problem, error.where, error.remedy):
        assert text
        assert "\n" not in text
    assert not re.search(r"Errno|[a-z]Error|Exception|\bh[12]\b", error.problem + error.remedy)


def test_a_request_goes_in_and_the_result_comes_out(way: Way) -> None:
    heard: list[str] = []
    with way.open() as hosts:
        result = hosts.ask("h1", {"action": "facts", "body": "ä" * 100_000}, heard.append)
    assert result["got"] == {"action": "facts", "body": "ä" * 100_000}
    assert heard == ["working"]


def test_one_connection_carries_every_phase(way: Way) -> None:
    with way.open() as hosts:
        pids = {hosts.ask("h1", LOOK, nothing)["pid"] for _ in range(3)}
        (connection,) = hosts._open.values()
        assert connection.is_connected
    assert len(pids) == 3
    assert not connection.is_connected


def test_who_keeps_no_connection_asks_on_a_new_one(way: Way) -> None:
    with way.open(kept=0) as hosts:
        for _ in range(2):
            hosts.ask("h1", LOOK, nothing)
            assert not hosts._open


def test_much_noise_does_not_hide_the_result(way: Way) -> None:
    with way.open(LOUD) as hosts:
        assert hosts.ask("h1", LOOK, nothing)["ok"] is True


def test_an_error_of_the_runner_has_its_code_and_says_on_which_host(way: Way) -> None:
    with way.open(REFUSES) as hosts, pytest.raises(StepRefused) as caught:
        hosts.ask("h1", LOOK, nothing)
    assert (caught.value.code, caught.value.problem, caught.value.remedy) == ("moved", "another runs", "plan again")
    assert caught.value.where == f"{way.target().where}: /srv"


@pytest.mark.parametrize("place", ["", "h1"])
def test_an_error_of_the_runner_about_the_host_itself_has_its_address(way: Way, place: str) -> None:
    with way.open(REFUSES.replace(b"/srv", place.encode())) as hosts, pytest.raises(StepRefused) as caught:
        hosts.ask("h1", LOOK, nothing)
    assert caught.value.where == way.target().where


def test_abort_ends_the_runners_stdin_and_its_answer_still_counts(way: Way) -> None:
    with way.open(WAITS) as hosts:
        result = hosts.ask("h1", LOOK, lambda text: hosts.abort())
        assert result["ended"] == "by the end of stdin"
        # and of a runner that only starts now
        assert hosts.ask("h2", LOOK, nothing)["ended"] == "by the end of stdin"


def stored(folder: Path) -> Callable[[str], Path]:
    """A large and a small file to be sent."""
    (folder / "large").write_bytes(b"\1" * 5_000_000)
    (folder / "small").write_bytes(b"\2")
    return lambda sha256: folder / sha256


def test_what_a_runner_wants_is_sent_in_its_order(way: Way, tmp_path: Path) -> None:
    with way.open(WANTS) as hosts:
        assert hosts.ask("h1", LOOK, nothing, files=stored(tmp_path))["got"] == [[5_000_000, 1000], [1, 2]]


def test_a_file_that_cannot_be_had_is_the_reason_and_the_runner_ends(way: Way, tmp_path: Path) -> None:
    def files(sha256: str) -> Path:
        if sha256 == "small":
            raise PinwheelError("the index does not answer", where="index.example", remedy="start it")
        return stored(tmp_path)(sha256)

    with way.open(WANTS) as hosts, pytest.raises(StepRefused) as caught:
        hosts.ask("h1", LOOK, nothing, files=files)
    assert (caught.value.code, caught.value.problem) == ("prepare-failed", "the index does not answer")
    assert caught.value.remedy == "start it"


def test_a_runner_that_stops_taking_what_it_wanted_says_why(way: Way, tmp_path: Path) -> None:
    with way.open(HALF) as hosts, pytest.raises(StepRefused) as caught:
        hosts.ask("h1", LOOK, nothing, files=stored(tmp_path))
    assert (caught.value.code, caught.value.problem) == ("no-space", "there is no space")


def test_abort_ends_what_is_being_sent(way: Way, tmp_path: Path) -> None:
    with way.open(WANTS) as hosts:

        def files(sha256: str) -> Path:
            if sha256 == "small":
                hosts.abort()
            return stored(tmp_path)(sha256)

        with pytest.raises(StepRefused) as caught:
            hosts.ask("h1", LOOK, nothing, files=files)
    assert caught.value.code == "aborted"


@pytest.mark.slow
def test_silence_is_an_unknown_outcome(way: Way) -> None:
    with way.open(SILENT, silence_s=1) as hosts, pytest.raises(HostLost) as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert "silent" in caught.value.problem


def test_a_server_that_dies_meanwhile_is_an_unknown_outcome_and_the_next_asking_connects_anew(way: Way) -> None:
    with way.open(SILENT) as hosts, pytest.raises(HostLost) as caught:
        hosts.ask("h2", LOOK, lambda text: way.lab.hosts["h2"].kill_ssh())
    one_line(caught.value)
    way.lab.hosts["h2"].start_ssh()
    with way.open() as hosts:
        assert hosts.ask("h2", LOOK, nothing)["type"] == "result"


def test_a_connection_that_is_lost_before_its_channel_is_closed_takes_no_answer_back(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    import paramiko

    closing = paramiko.Channel._close_internal  # type: ignore[attr-defined]

    def lost(channel: paramiko.Channel) -> Any:
        channel.get_transport().packetizer.close()
        return closing(channel)

    with way.open(ECHO + b"stdin.read()") as hosts:
        monkeypatch.setattr(paramiko.Channel, "_close_internal", lost)
        assert hosts.ask("h1", LOOK, nothing)["got"] == LOOK
        monkeypatch.undo()
        assert hosts.ask("h1", LOOK, nothing)["got"] == LOOK


def test_a_channel_on_which_nothing_starts_is_closed(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a host that refuses one exec after the other runs out of channels on a connection that stays."""
    import paramiko

    refused: list[paramiko.Channel] = []

    def refuse(channel: paramiko.Channel, command: str) -> None:
        refused.append(channel)
        raise paramiko.SSHException("Channel closed.")

    monkeypatch.setattr(paramiko.Channel, "exec_command", refuse)
    with way.open() as hosts:
        with pytest.raises(HostUnreachable, match="opens no channel"):
            hosts.ask("h1", LOOK, nothing)
        assert [channel.closed for channel in refused] == [True]
        assert not hosts._working


def test_a_runner_that_stops_in_the_middle_is_an_unknown_outcome(way: Way) -> None:
    with way.open(STOPS) as hosts, pytest.raises(HostLost, match="exit 7"):
        hosts.ask("h1", LOOK, nothing)


def test_an_unknown_host_key_is_rejected_with_its_fingerprint(way: Way, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    with way.open(known_hosts=nobody) as hosts, pytest.raises(HostKeyRejected, match="SHA256:") as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert str(nobody) in caught.value.remedy
    assert nobody.read_text() == ""


def test_a_changed_host_key_is_rejected(way: Way, tmp_path: Path) -> None:
    lines = way.lab.known_hosts.read_text().splitlines()
    swapped = tmp_path / "known_hosts"
    keys = [line.partition(" ")[2] for line in lines]
    names = [line.partition(" ")[0] for line in lines]
    swapped.write_text("".join(f"{name} {key}\n" for name, key in zip(names, reversed(keys), strict=True)))
    with way.open(known_hosts=swapped) as hosts, pytest.raises(HostKeyRejected, match="changed") as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)


def test_a_key_that_the_host_does_not_know_is_refused(way: Way, tmp_path: Path) -> None:
    stranger = tmp_path / "id_stranger"
    key_in(stranger)
    with way.open(identity_file=stranger) as hosts, pytest.raises(LoginRefused) as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)


def test_where_nobody_listens_the_host_is_unreachable(way: Way) -> None:
    with (
        deserted_port() as port,
        way.open(target=way.target(port=port)) as hosts,
        pytest.raises(HostUnreachable, match="nobody listens") as caught,
    ):
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("says", "told"),
    [
        (None, "does not speak as an SSH server does"),
        (b"", "does not speak as an SSH server does"),
        (b"220 mail.example ESMTP\r\n" * 200, "does not speak as an SSH server does"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "hung up before the login"),
    ],
    ids=["nothing, and stays", "nothing", "something else", "its banner"],
)
def test_a_port_behind_which_no_ssh_server_works_is_unreachable(way: Way, says: bytes | None, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # it may hang up first
                connection.sendall(says or b"")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):  # closing with something unread would be a reset
                    pass

        if says is not None:
            threading.Thread(target=answer, daemon=True).start()
        target = way.target(port=listener.getsockname()[1])
        connect_s = 1 if says is None else 30  # who says something is heard, however slow the machine is
        with way.open(target=target, connect_s=connect_s) as hosts, pytest.raises(HostUnreachable) as caught:
            hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert told in caught.value.problem


@pytest.mark.parametrize("address", ["no-such-host.invalid", "a..b"])
def test_a_name_that_does_not_exist_is_unreachable(way: Way, address: str) -> None:
    with way.open(target=way.target(address=address)) as hosts, pytest.raises(HostUnreachable, match="name") as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ECONNREFUSED, "x"), "nobody listens"),
        (OSError(errno.ETIMEDOUT, "x"), "no answer"),
        (OSError(errno.EHOSTUNREACH, "x"), "no way leads to its address"),
        (OSError(errno.ENETUNREACH, "x"), "no way leads to its address"),
        (OSError(errno.ECONNRESET, "x"), "it hung up before the login was done"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "there is no host of that name"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "its name cannot be looked up at the moment"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign it"), "the connection fails: Cannot assign it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_network_is_told_by_numbers(error: OSError, told: str) -> None:
    problem, remedy = unreachable(error)
    assert problem == told
    assert remedy


def test_who_has_no_key_is_told_so(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with way.open(identity_file=None) as hosts, pytest.raises(LoginRefused, match="no key to log in with") as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert "ssh-add" in caught.value.remedy


def test_a_jump_host_that_cannot_be_reached_is_named(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with deserted_port() as port:
        (tmp_path / ".ssh" / "config").write_text(f"Host inner\n ProxyJump 127.0.0.1:{port}\n")
        with way.open(target=way.target(address="inner")) as hosts, pytest.raises(HostUnreachable) as caught:
            hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert caught.value.problem == "the jump host 127.0.0.1: nobody listens"


@pytest.mark.parametrize("content", [b"Host\xff\n", b"no config at all: \x00 =\n\n=\n"], ids=["no text", "no words"])
def test_an_ssh_configuration_that_cannot_be_read_is_wrong_usage(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        way.open()
    assert caught.value.where == str(tmp_path / ".ssh" / "config")


def test_a_missing_python_is_named(way: Way) -> None:
    layout = way.target().layout.but(python="/nowhere/python3")
    with way.open(target=way.target(layout=layout)) as hosts, pytest.raises(RunnerFailed) as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert "there is no /nowhere/python3" in caught.value.problem


def test_a_python_that_is_too_old_is_named(way: Way, tmp_path: Path) -> None:
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\ncase $3 in *version_info*) exit 3;; *) exit 1;; esac\n")
    old.chmod(0o755)
    layout = way.target().layout.but(python=str(old))
    with way.open(target=way.target(layout=layout)) as hosts, pytest.raises(RunnerFailed, match="older than") as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)


def test_a_way_to_root_that_asks_for_a_password_is_named(way: Way, tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    target = way.target(become=(str(sudo), "-n"))
    more_than_a_window = {**LOOK, "filling": "x" * 5_000_000}  # so it has ended before all of it is sent
    with way.open(target=target) as hosts, pytest.raises(RunnerFailed, match="without a password") as caught:
        hosts.ask("h1", more_than_a_window, nothing)
    one_line(caught.value)
    assert "NOPASSWD" in caught.value.remedy


def test_the_way_to_root_stands_before_the_command(way: Way, tmp_path: Path) -> None:
    mark = tmp_path / "became root"
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\ntouch "{mark}"\nexec "$@"\n')
    sudo.chmod(0o755)
    with way.open(target=way.target(become=(str(sudo),))) as hosts:
        assert hosts.ask("h1", LOOK, nothing)["type"] == "result"
    assert mark.exists()


def test_a_runner_that_cannot_start_is_a_fault_of_ours(way: Way) -> None:
    with way.open(b"def") as hosts, pytest.raises(RunnerFailed, match="SyntaxError"):
        hosts.ask("h1", LOOK, nothing)


def test_a_named_file_that_is_not_there_is_wrong_usage(way: Way, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        way.open(identity_file=tmp_path / "nothing")


@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_a_key_that_cannot_be_used_is_wrong_usage(way: Way, tmp_path: Path, passphrase: str) -> None:
    broken = tmp_path / "id_broken"
    if passphrase:
        import paramiko

        paramiko.ECDSAKey.generate().write_private_key_file(str(broken), password=passphrase)
    else:
        broken.write_text("no key")
    with pytest.raises(UsageError) as caught:
        way.open(identity_file=broken)
    assert caught.value.where == str(broken)
    assert ("passphrase" in caught.value.problem) == bool(passphrase)


@pytest.mark.parametrize("content", [b"h1 ssh-ed25519 A\n", b"\xff\xfe\x00"], ids=["no key", "no text"])
def test_a_file_that_holds_no_known_hosts_is_wrong_usage(way: Way, tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "known_hosts"
    broken.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        way.open(known_hosts=broken)
    assert caught.value.where == str(broken)


def test_the_users_ssh_configuration_applies(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = way.lab.hosts["h1"]
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host web-*\n HostName {host.address}\n Port {host.port}\n User someone\n StrictHostKeyChecking no\n"
    )
    with way.open(target=way.target(address="web-1", port=22, user="")) as hosts:
        assert hosts.ask("h1", LOOK, nothing)["type"] == "result"
    nobody = tmp_path / "nobody"
    nobody.touch()
    target = way.target(address="web-1", port=22, user="")
    with way.open(target=target, known_hosts=nobody) as hosts, pytest.raises(HostKeyRejected):
        hosts.ask("h1", LOOK, nothing)


def test_without_a_named_file_the_users_own_known_hosts_counts(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(way.lab.known_hosts.read_text())
    with way.open(known_hosts=None) as hosts:
        assert hosts.ask("h1", LOOK, nothing)["type"] == "result"


def test_jump_hosts_are_as_strict_as_hosts(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import paramiko

    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    jumps = "Host inner\n ProxyJump outer,root@middle:2222\nHost direct\n ProxyJump none\nHost self\n ProxyJump self\n"
    (tmp_path / ".ssh" / "config").write_text(jumps)
    with way.open() as hosts:
        assert not hosts._ways.connection(way.target(address="direct")).gateway
        assert not hosts._ways.connection(way.target(address="self")).gateway
        hop = hosts._ways.connection(way.target(address="inner"))
        passed = []
        while hop is not None:
            passed.append(hop.host)
            assert not isinstance(hop.client._policy, paramiko.AutoAddPolicy | paramiko.WarningPolicy)
            assert hop.connect_kwargs["pkey"] is not None
            assert hop.connect_kwargs["allow_agent"] is False
            hop = hop.gateway
    assert passed == ["inner", "middle", "outer"]


@pytest.mark.slow
def test_many_threads_ask_each_another_host(way: Way) -> None:
    results: dict[str, Mapping[str, Any]] = {}
    with way.open() as hosts:
        threads = [
            threading.Thread(
                target=lambda name=name: results.update({name: hosts.ask(name, LOOK | {"to": name}, nothing)})
            )
            for name in ("h1", "h2")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert {name: result["got"]["to"] for name, result in results.items()} == {"h1": "h1", "h2": "h2"}
