"""The ways in to hosts: what `~/.ssh/config` says, and bastions, which are real OpenSSH servers here."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.deploy.bare import wait_until
from tests.deploy.real_sshd import Sshd, sshd
from tests.deploy.test_ssh import LOOK, Way, nothing, one_line

from pinwheel.deploy.lab import Lab
from pinwheel.deploy.reaching.hosts import HostKey, HostKeyRejected, HostKeyUnknown, HostUnreachable
from pinwheel.deploy.reaching.known_hosts import KnownHosts
from pinwheel.deploy.reaching.ssh_config import expanded, ssh_config
from pinwheel.deploy.reaching.ways import SHARED_BY
from pinwheel.deploy.rolling.host_keys import introduce
from pinwheel.errors import UsageError


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with Lab(tmp_path_factory.mktemp("lab"), ("h1", "h2")) as lab:
        yield Way(lab)


@pytest.fixture(scope="module")
def bastion(way: Way, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("bastion") / "sshd", way.lab.identity_file.with_suffix(".pub")) as started:
        yield started


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `~/.ssh` of somebody who has written nothing yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


CONFIG = """
Include conf.d/*.conf
Include absent
Host web-*
  Include only-web
  User web
Match host *.example
  Port 2201
Host *
  User anybody
  ConnectTimeout 7
"""

FILES = {
    "config": CONFIG,
    "conf.d/10-hosts.conf": "Include nested\nHost web-1\n  HostName first.example\n",
    "conf.d/20-more.conf": "Host web-1\n  HostName second.example\nHost db\n  ProxyJump bastion\n",
    "conf.d/README": "Host *\n  User nobody\n",
    "nested": "Host=web-2\n  HostName=nested.example\n",
    "only-web": "IdentityFile ~/.ssh/id_web\nHost db web-2\n  Port 2202\nMatch user somebody\n  Port 1\n",
}


def test_included_files_count_as_they_do_for_openssh(home: Path) -> None:
    """Relative ones lie in ~/.ssh; a block of theirs counts only where the block of the Include does."""
    for name, text in FILES.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text)
    config = ssh_config()
    first, second, db = (config.lookup(name) for name in ("web-1", "web-2", "db"))
    assert (first["hostname"], first["user"], first["port"], first["connecttimeout"]) == (
        *("first.example", "web", "2201", "7"),
    )
    assert (second["hostname"], second["port"]) == ("nested.example", "2202")
    assert (db.get("hostname"), db["user"], db.get("port"), db["proxyjump"]) == ("db", "anybody", None, "bastion")
    assert first["identityfile"] == [str(home / "id_web")]
    assert "identityfile" not in db


@pytest.mark.parametrize("name", ["web-1", "web-2", "db", "other.example"])
def test_openssh_itself_reads_the_same(home: Path, name: str) -> None:
    for file, text in FILES.items():
        (home / file).parent.mkdir(exist_ok=True)
        # ssh looks for the home in the passwd database, so everything relative is made absolute for it
        (home / file).write_text(text.replace("Include ", f"Include {home}/"))
    asked = ["ssh", "-G", "-F", str(home / "config"), name]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    told = dict(line.split(" ", 1) for line in lines)
    ours = ssh_config().lookup(name)
    assert ours["hostname"] == told["hostname"]
    assert ours.get("port", "22") == told["port"]
    assert ours["user"] == told["user"]
    assert ours.get("proxyjump") == told.get("proxyjump")


def test_what_it_says_of_a_host_counts_where_the_environment_says_nothing(way: Way, home: Path) -> None:
    own = way.lab.identity_file
    (home / "config").write_text(
        f"Host web\n HostName 127.0.0.9\n Port 7\n User ann\n IdentityFile {own}\n ConnectTimeout 3\n"
    )
    with way.open(identity_file=None) as hosts:
        theirs = hosts._ways.connection(replace(way.target(), address="web", port=22, user=""))
        ours = hosts._ways.connection(replace(way.target(), address="web", port=8, user="deploy"))
    assert (theirs.host, theirs.port, theirs.user, theirs.connect_timeout) == ("127.0.0.9", 7, "ann", 3)
    assert theirs.connect_kwargs["key_filename"] == [str(own)]
    assert (ours.host, ours.port, ours.user) == ("127.0.0.9", 8, "deploy")


def test_a_file_that_includes_itself_is_named(home: Path) -> None:
    (home / "config").write_text("Include config\n")
    with pytest.raises(UsageError) as caught:
        ssh_config()
    assert caught.value.where == str(home / "config")


def test_without_an_include_only_matches_are_spelled_anew(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host a b\n  Port 1\n# Include x\nMatch all\n  Port 2\n")
    assert list(expanded(tmp_path / "config", tmp_path)) == (tmp_path / "config").read_text().splitlines()


def behind(way: Way, home: Path, bastion: Sshd, known: str | None = None) -> Path:
    """Let h1 and h2 be behind the bastion; the file of known hosts."""
    hosts = "".join(f"Host {name}\n HostName 127.0.0.1\n Port {host.port}\n" for name, host in way.lab.hosts.items())
    jump = f"Host h*\n ProxyJump {bastion.user}@127.0.0.1:{bastion.port}\n"
    (home / "config").write_text(hosts + jump)
    file = home / "known_hosts"
    file.write_text(way.lab.known_hosts.read_text() + (bastion.known if known is None else known))
    return file


def test_hosts_behind_a_bastion_share_one_connection_to_it(way: Way, home: Path, bastion: Sshd) -> None:
    known = behind(way, home, bastion)
    names = [f"h{number % 2 + 1}" for number in range(6)]
    targets = [replace(way.target(name), name=f"t{number}", address=name, port=22) for number, name in enumerate(names)]
    before, told = bastion.connections, []
    with way.open(targets=targets, known_hosts=known) as hosts:
        threads = [
            threading.Thread(target=lambda name=each.name: told.append(hosts.ask(name, LOOK, nothing)["type"]))
            for each in targets
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert told == ["result"] * 6
        assert bastion.connections - before == 1
        (shared,) = hosts._ways._bastions.values()
        shared.connection.close()
        wait_until(lambda: not hosts._open["t0"].is_connected, "the end of what went through it")
        assert hosts.ask("t0", LOOK, nothing)["type"] == "result", "it is opened anew when it has broken"
        assert bastion.connections - before == 2
    assert not shared.connection.is_connected


def test_a_bastion_is_shared_by_a_bounded_number_of_hosts(way: Way, home: Path, bastion: Sshd) -> None:
    known = behind(way, home, bastion)
    targets = [replace(way.target(), name=f"t{number}", address="h1", port=22) for number in range(SHARED_BY * 2)]
    with way.open(targets=targets, known_hosts=known) as hosts:
        for each in targets:
            hosts._ways.connection(each)
        assert len(hosts._ways._bastions) == 2


def test_all_who_wait_for_a_bastion_learn_at_once_that_it_is_away(way: Way, home: Path, bastion: Sshd) -> None:
    gone = replace(bastion, port=1)
    known = behind(way, home, gone)
    target = replace(way.target(), address="h1", port=22)
    with way.open(target=target, known_hosts=known) as hosts, pytest.raises(HostUnreachable) as caught:
        hosts.ask("h1", LOOK, nothing)
    one_line(caught.value)
    assert caught.value.problem == "the jump host 127.0.0.1: nobody listens"


def test_a_bastion_whose_key_is_not_known_is_named_with_its_key(way: Way, home: Path, bastion: Sshd) -> None:
    known = behind(way, home, bastion, known="")
    target = replace(way.target(), address="h1", port=22)
    with way.open(target=target, known_hosts=known) as hosts:
        with pytest.raises(HostKeyUnknown) as caught:
            hosts.greet("h1")
        one_line(caught.value)
        assert caught.value.problem.startswith("the jump host 127.0.0.1: its host key is not known")
        key = caught.value.key
        assert f"{key.kind} {key.base64}" == bastion.key_line
        assert key.name == f"[127.0.0.1]:{bastion.port}"
        hosts.trust(key)
        hosts.greet("h1")
    assert bastion.known in known.read_text()


RELAY = """
import os, socket, sys, threading
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def back():
    while data := connection.recv(65536):
        os.write(1, data)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    connection.sendall(data)
"""


def test_a_proxy_command_is_used(way: Way, home: Path) -> None:
    (home / "relay.py").write_text(RELAY)
    command = f"{sys.executable} {home / 'relay.py'} %p"
    port = way.lab.hosts["h1"].port
    (home / "config").write_text(f"Host inner\n HostName absent.invalid\n Port {port}\n ProxyCommand {command}\n")
    known = home / "known_hosts"
    known.write_text(way.lab.known_hosts.read_text().replace("127.0.0.1", "absent.invalid"))
    with way.open(target=replace(way.target(), address="inner", port=22), known_hosts=known) as hosts:
        assert hosts.ask("h1", LOOK, nothing)["type"] == "result"


def test_a_key_of_another_kind_than_the_known_one_is_a_changed_key(way: Way, home: Path, bastion: Sshd) -> None:
    """Else whoever answers would only have to offer one of another kind to be taken for somebody new."""
    host = way.lab.hosts["h1"]
    known = home / "known_hosts"
    known.write_text(f"[127.0.0.1]:{host.port} {bastion.key_line}\n")
    with way.open(target=way.target(), known_hosts=known) as hosts, pytest.raises(HostKeyRejected) as caught:
        hosts.greet("h1")
    one_line(caught.value)
    assert "changed" in caught.value.problem
    assert not isinstance(caught.value, HostKeyUnknown)


def test_a_revoked_key_is_refused_and_not_offered_for_trust(way: Way, home: Path) -> None:
    known = home / "known_hosts"
    lines = way.lab.known_hosts.read_text()
    known.write_text(lines + "".join(f"@revoked * {line.split(' ', 1)[1]}\n" for line in lines.splitlines()))
    with way.open(target=way.target(), known_hosts=known) as hosts, pytest.raises(HostKeyRejected) as caught:
        hosts.greet("h1")
    assert "revoked" in caught.value.problem
    assert not isinstance(caught.value, HostKeyUnknown)


def test_hashed_names_are_read(way: Way, home: Path) -> None:
    known = home / "known_hosts"
    known.write_text(way.lab.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    with way.open(target=way.target(), known_hosts=known) as hosts:
        hosts.greet("h1")


def test_a_file_without_a_last_line_break_gets_a_line_of_its_own(tmp_path: Path, bastion: Sshd, way: Way) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(way.lab.known_hosts.read_text().rstrip("\n"))
    before = len(file.read_text().splitlines())
    kind, _, base64 = bastion.key_line.partition(" ")
    KnownHosts(file).add(HostKey("new.example", kind, base64, 256, "SHA256:x"))
    assert len(file.read_text().splitlines()) == before + 1
    found = subprocess.run(["ssh-keygen", "-F", "new.example", "-f", str(file)], capture_output=True, text=True)
    assert bastion.key_line in found.stdout


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ("*.example", True),
        ("web-?.example", True),
        ("WEB-1.example", True),
        ("*.example,!web-1.example", False),
        ("web-1", False),
        ("[web-1.example]:22", False),
    ],
)
def test_names_in_known_hosts_may_be_patterns(tmp_path: Path, bastion: Sshd, names: str, known: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"@cert-authority * {bastion.key_line}\n{names} {bastion.key_line}\n")
    key = HostKey("web-1.example", "ssh-ed25519", "", 256, "")
    assert KnownHosts(file).others(key) is known


@pytest.mark.slow
def test_strangers_behind_a_strange_bastion_are_introduced_one_after_the_other(
    way: Way, home: Path, bastion: Sshd
) -> None:
    """First the bastion's key is shown, and once it is trusted those of the hosts behind it. A changed key never is."""
    known = behind(way, home, bastion, known="")
    host_keys = known.read_text()
    known.write_text("")
    targets = [replace(way.target(name), address=name, port=22) for name in way.lab.hosts]
    asked: list[list[tuple[str, list[str]]]] = []

    def yes(keys: Mapping[HostKey, Sequence[str]]) -> Collection[HostKey]:
        asked.append([(key.name, list(names)) for key, names in keys.items()])
        return list(keys)

    with way.open(targets=targets, known_hosts=known) as hosts:
        made = introduce(hosts, ["h1", "h2"], 4, yes)
    ports = {name: host.port for name, host in way.lab.hosts.items()}
    assert asked == [
        [(f"[127.0.0.1]:{bastion.port}", ["h1", "h2"])],
        [(f"[127.0.0.1]:{ports[name]}", [name]) for name in ("h1", "h2")],
    ]
    assert (made.known, made.unknown, made.failed) == (["h1", "h2"], {}, {})
    assert sorted(known.read_text().splitlines()) == sorted([*host_keys.splitlines(), bastion.known.strip()])

    swapped = known.read_text().replace(f"[127.0.0.1]:{ports['h1']} ", "[127.0.0.1]:1 ")
    known.write_text(swapped.replace(f"[127.0.0.1]:{ports['h2']} ", f"[127.0.0.1]:{ports['h1']} "))
    before = known.read_text()
    with way.open(targets=targets, known_hosts=known) as hosts:
        made = introduce(hosts, ["h1"], 4, yes)
    assert "changed" in made.failed["h1"].problem
    assert known.read_text() == before
    assert len(asked) == 2
