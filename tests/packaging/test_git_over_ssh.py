"""Repositories over SSH, from a real sshd: each opens with its own key alone, and only at the host that is pinned."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, git, offered, tiny_files, told
from tests.packaging.servers import SSHD, SshServer, ssh_server

from pinwheel.packaging.repositories.access import Ssh
from pinwheel.packaging.repositories.git import Mirror, ask
from pinwheel.packaging.work import Release

MakeRepository = Callable[[str], Repository]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or not shutil.which("ssh-keygen"), reason="needs openssh-server and -client"),
]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh") / "server") as server:
        yield server


def test_each_repository_opens_with_its_own_key_alone(
    sshd: SshServer, make_repository: MakeRepository, tmp_path: Path
) -> None:
    greet, shop = make_repository("greet"), make_repository("shop")
    commits = [each.commit({"a.txt": each.folder.name}, "v1.0.0") for each in (greet, shop)]
    keys = [sshd.deploy_key(each.folder, tmp_path / f"{each.folder.name} key") for each in (greet, shop)]
    addresses = [sshd.address(each.folder) for each in (greet, shop)]
    for address, key, commit in zip(addresses, keys, commits, strict=True):
        mirror = Mirror(address, tmp_path / "cache", way=Ssh(key, sshd.known_hosts))
        resolved = mirror.resolve(offered(mirror), "v1.0.0")
        mirror.fetch(resolved)
        assert resolved.commit == commit
    wrong = Mirror(addresses[1], tmp_path / "cache", way=Ssh(keys[0], sshd.known_hosts))
    (answer,) = ask([wrong])
    assert "this key is for another repository" in told(answer)
    assert str(keys[0]) in told(answer)


def test_the_users_own_keys_and_agent_are_never_tried(
    sshd: SshServer, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "x"}, "v1.0.0")
    sshd.deploy_key(remote.folder, tmp_path / "right")
    stranger = sshd.deploy_key(make_repository("other").folder, tmp_path / "wrong")
    environ = {**os.environ, "GIT_SSH_COMMAND": f"ssh -i {tmp_path / 'right'}", "SSH_AUTH_SOCK": "/nowhere"}
    (answer,) = ask([Mirror(sshd.address(remote.folder), tmp_path / "c", environ, Ssh(stranger, sshd.known_hosts))])
    assert "this key is for another repository" in told(answer)


def test_a_host_whose_key_is_not_pinned_gets_nothing(
    sshd: SshServer, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "x"}, "v1.0.0")
    key = sshd.deploy_key(remote.folder, tmp_path / "key")
    unknown, changed = tmp_path / "unknown", tmp_path / "changed"
    unknown.write_text("")
    other = key.with_name("key.pub").read_text()
    changed.write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    before = sshd.log.count("Accepted publickey")
    for hosts in (unknown, changed):
        (answer,) = ask([Mirror(sshd.address(remote.folder), tmp_path / "cache", way=Ssh(key, hosts))])
        assert "Host key verification failed" in told(answer)
        assert "ssh-keyscan" in told(answer)
    assert sshd.log.count("Accepted publickey") == before


def test_twenty_repositories_are_asked_without_being_turned_away(
    sshd: SshServer, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "x"}, "v1.0.0")
    way = Ssh(sshd.deploy_key(remote.folder, tmp_path / "key"), sshd.known_hosts)
    answers = ask([Mirror(sshd.address(remote.folder), tmp_path / "cache", way=way)] * 20)
    assert not [answer for answer in answers if isinstance(answer, Exception)]


def test_a_release_over_ssh_and_a_submodule_with_a_key_of_its_own(
    sshd: SshServer, make_repository: MakeRepository, workshop: Workshop, tmp_path: Path
) -> None:
    library, remote = make_repository("library"), make_repository("greet")
    inner = library.commit({"data.py": "ANSWER = 42\n"})
    files = tiny_files("acme-greet", backend="MORE = ('acme_greet/library/data.py',)\n")
    remote.commit(files | {".gitmodules": '[submodule "l"]\n\tpath = acme_greet/library\n\turl = ../library\n'})
    git(remote.folder, "update-index", "--add", "--cacheinfo", f"160000,{inner},acme_greet/library")
    git(remote.folder, "commit", "--quiet", "-m", "a submodule")
    git(remote.folder, "tag", "v1.0.0")
    keys = {each: sshd.deploy_key(each.folder, tmp_path / each.folder.name) for each in (remote, library)}
    text = f'[projects.acme-greet]\nrepository = "{sshd.address(remote.folder)}"\nsubmodules = true\n'
    for each, key in keys.items():
        text += f'[repositories."{sshd.address(each.folder)}"]\n'
        text += f'deploy_key = "{key}"\nknown_hosts = "{sshd.known_hosts}"\n'
    (outcome,) = workshop.release(text)
    assert isinstance(outcome, Release), outcome
