"""Which key or token opens which repository, and what is refused before git is asked."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from pinwheel import config
from pinwheel.errors import UsageError
from pinwheel.packaging.repositories.access import Keyring, Own, Ssh, Token, keyring

HOST = "https://git.acme.example/"


def ring(tmp_path: Path, text: str) -> Keyring:
    return keyring(config.Loaded(config.parse(text, "pinwheel.toml"), tmp_path / "pinwheel.toml"))


def opened(way: Ssh | Token | Own, tmp_path: Path, **environ: str) -> dict[str, str]:
    return way.opened(environ, environ, tmp_path / "cache" / "askpass")


def private(file: Path, text: str = "x") -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_the_table_of_a_repository_goes_before_that_of_the_folder_above(tmp_path: Path) -> None:
    found = ring(
        tmp_path,
        f'[repositories."{HOST}"]\ntoken_env = "ALL"\n[repositories."{HOST}team/"]\ntoken_env = "TEAM"\n'
        f'[repositories."{HOST}team/greet.git"]\ntoken_env = "GREET"\n'
        '[projects.acme-open]\nrepository = "https://open.example/a.git"\n',
    )
    names = {
        address: way.variable if isinstance(way := found.way(address), Token) else ""
        for address in (f"{HOST}team/greet.git", f"{HOST}team/shop.git", f"{HOST}a.git", "https://open.example/a.git")
    }
    assert list(names.values()) == ["GREET", "TEAM", "ALL", ""]
    assert found.declares("https://open.example/a.git")
    assert not found.declares("https://open.example/b.git")


@pytest.mark.parametrize("below", ["https://", "https://git.acme.example"])
def test_no_table_counts_for_hosts_that_it_does_not_name(tmp_path: Path, below: str) -> None:
    found = ring(tmp_path, f'[repositories."{below}"]\ntoken_env = "ALL"\n')
    assert isinstance(found.way("https://git.acme.example.evil.example/a.git"), Own)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("https://git.acme.example/a.git", 'deploy_key = "k"'),
        ("ssh://git@git.acme.example/a.git", 'token_env = "T"'),
        ("http://git.acme.example/a.git", 'token_env = "T"'),
        ("https://git.acme.example/a.git", 'token_env = "hunter2-token"'),
    ],
)
def test_a_table_that_does_not_fit_its_address_is_refused(tmp_path: Path, address: str, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        ring(tmp_path, f'[repositories."{address}"]\n{key}\n').way(address)
    assert address in caught.value.where
    assert "hunter2" not in f"{caught.value.problem}{caught.value.where}{caught.value.remedy}"


def test_ssh_gets_one_key_and_one_file_of_hosts(tmp_path: Path) -> None:
    key, hosts = private(tmp_path / "a key"), tmp_path / "known 100%"
    hosts.write_text("")
    env = opened(Ssh(key, hosts), tmp_path, GIT_SSH="other", GIT_SSH_VARIANT="plink", GIT_SSH_COMMAND="ssh -i other")
    words = shlex.split(env.pop("GIT_SSH_COMMAND"))
    assert env == {}
    assert words[0] == "ssh"
    for option in (
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=yes",
        f'IdentityFile="{key}"',
        f'UserKnownHostsFile="{tmp_path}/known 100%%"',
        "GlobalKnownHostsFile=/dev/null",
    ):
        assert words[words.index(option) - 1] == "-o"
    assert words[words.index("-F") + 1] == "none"


def test_a_key_that_is_missing_or_readable_by_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="deploy_key cannot be read: No such file"):
        opened(Ssh(tmp_path / "gone", None), tmp_path)
    key = private(tmp_path / "key")
    key.chmod(0o640)
    with pytest.raises(UsageError, match="others can read the deploy_key") as caught:
        opened(Ssh(key, None), tmp_path)
    assert caught.value.remedy == f"chmod 600 {key}"
    key.chmod(0o600)
    with pytest.raises(UsageError, match="known_hosts cannot be read"):
        opened(Ssh(key, tmp_path / "gone"), tmp_path)


def test_a_token_that_is_missing_empty_or_readable_by_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="variable ACME is not set"):
        opened(Token(HOST, "me", "ACME", None), tmp_path)
    file = private(tmp_path / "token", "\n")
    with pytest.raises(UsageError, match="empty"):
        opened(Token(HOST, "me", "", file), tmp_path)
    file.write_text("hunter2\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="others can read the token_file"):
        opened(Token(HOST, "me", "", file), tmp_path)


def test_the_program_that_answers_git_holds_no_token_and_tells_it_to_one_host(tmp_path: Path) -> None:
    file = private(tmp_path / "it's a token", "hunter2\n")
    for way, environ in (
        (Token(f"{HOST}a.git", "o'me@x", "", file), {}),
        (Token(f"{HOST}a.git", "o'me@x", "ACME", None), {"ACME": "hunter2"}),
    ):
        env = opened(way, tmp_path, **environ, GIT_SSL_NO_VERIFY="1", PATH=os.environ["PATH"])
        program = Path(env["GIT_ASKPASS"])
        assert "hunter2" not in program.read_text()
        assert program.stat().st_mode & 0o777 == 0o700
        assert "GIT_SSL_NO_VERIFY" not in env

        def answer(question: str, program: Path = program, env: dict[str, str] = env) -> str:
            return subprocess.run((program, question), env=env, capture_output=True, text=True, check=False).stdout

        assert answer("Username for 'https://git.acme.example': ") == "o'me@x\n"
        assert answer("Password for 'https://o%27me%40x@git.acme.example': ") == "hunter2\n"
        assert answer('Password for "https://o%27me%40x@git.acme.example/a.git/info/lfs"') == "hunter2\n"
        assert answer("Password for 'https://o%27me%40x@git.acme.example.evil.example': ") == ""
        assert answer("Password for 'https://o%27me%40x@evil.example': ") == ""
        assert answer("Password for 'http://o%27me%40x@git.acme.example': ") == ""
        assert way.masked("you said hunter2 or bydtZUB4Omh1bnRlcjI=", environ) == "you said … or …"
