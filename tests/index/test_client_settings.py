"""`index.client` writes what real clients then use: one index, a credential for its owner alone, nothing lost."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.index.running import Server, run_pinwheel

from pinwheel.errors import UsageError
from pinwheel.index.installers.files import destination
from pinwheel.index.installers.settings import (
    CLIENTS,
    ClientFile,
    Disagreement,
    Where,
    joined,
    read_ini,
    read_netrc,
    settings,
)

WHERE = Where("https://pypi.acme.example/simple/", "https://pypi.acme.example/legacy/")
TOKEN = "pw_" + "a" * 43
ROTATED = "pw_" + "b" * 43


def files(client: str, token: str = TOKEN, where: Where = WHERE) -> dict[str, ClientFile]:
    return {file.path: file for file in settings(client, where, token).files}


@pytest.mark.parametrize("client", CLIENTS)
def test_the_token_stands_in_secret_files_only(client: str) -> None:
    found = files(client).values()
    assert any(TOKEN in file.text for file in found)
    assert all(file.secret for file in found if TOKEN in file.text)
    assert TOKEN not in repr(settings(client, WHERE, TOKEN)), "a value that is logged does not tell"


@pytest.mark.parametrize("client", [client for client in CLIENTS if client != "netrc"])
def test_without_a_token_the_variables_that_carry_it_are_named(client: str) -> None:
    found = settings(client, WHERE)
    assert not any(file.secret for file in found.files)
    assert any("$PINWHEEL_TOKEN" in value for value in found.environment.values())


@pytest.mark.parametrize("client", CLIENTS)
def test_joining_twice_is_the_same_as_once_and_a_rotated_token_replaces_the_old(client: str) -> None:
    for path, file in files(client).items():
        assert joined(file.text, file) == file.text
        assert joined(file.text, files(client, ROTATED)[path]) == file.text.replace(TOKEN, ROTATED)


@pytest.mark.parametrize(
    ("client", "path", "there"),
    [
        ("pip", ".config/pip/pip.conf", "# slow line\n[global]\ntimeout = 60 # s\n[install]\nuser = no\n"),
        ("uv", ".config/uv/uv.toml", "# mine\ncompile-bytecode = true\n[pip]\nbreak-system-packages = true\n"),
        ("pdm", ".config/pdm/config.toml", "[pypi]\njson_api = true\n[python]\nuse_venv = true\n"),
        ("poetry", ".config/pypoetry/auth.toml", '[http-basic.other]\nusername = "me"\npassword = "secret"\n'),
        ("twine", ".pypirc", "[distutils]\nindex-servers =\n  other\n# theirs\n[other]\nusername = me\n"),
        ("twine", ".pypirc", "[pypi]\nusername = __token__\npassword = pypi-x\n"),
        ("netrc", ".netrc", "machine git.example login me password x\ndefault login any password y\n"),
    ],
)
def test_what_stands_there_is_kept(client: str, path: str, there: str) -> None:
    after = joined(there, files(client)[path])
    assert [line for line in there.splitlines() if line not in after.splitlines()] == []
    assert len(after.splitlines()) > len(there.splitlines())


PIECES = {
    "ini": (
        "[global]",
        "[distutils]",
        "[pinwheel]",
        "[other] # x",
        "index-servers =",
        "  other",
        "timeout = 3",
        "# x",
        "",
        "extra-index-url =",
        "index-url = x",
        "username = __token__",
        f"password = {ROTATED}",
        "\x0c",
        "  [global]",
    ),
    "toml": (
        "[pypi]",
        "[[index]]",
        "[repository]",
        "[repository.pinwheel]",
        'url = "x"',
        "a = 1",
        "# x\u2028",
        "",
        "[pypi] # x",
        'x = """',
        "pypi.url = 3",
        "index = []",
        f'password = "{ROTATED}"',
        'name = "pinwheel"',
    ),
    "netrc": (
        "machine pypi.acme.example",
        "machine other",
        "login __token__",
        "login me",
        f"password {ROTATED}",
        "default",
        "macdef init",
        "",
        "# x",
        "machine pypi.acme.example login __token__ password",
    ),
}


@given(data=st.data(), client=st.sampled_from(sorted(CLIENTS)))
def test_whatever_stands_there_is_kept_line_by_line_or_refused(data: st.DataObject, client: str) -> None:
    for file in files(client).values():
        there = "\n".join(data.draw(st.lists(st.sampled_from(PIECES[file.form]), max_size=8)))
        try:
            after = joined(there, file)
        except Disagreement:
            continue
        rest = iter(after.replace(TOKEN, ROTATED).split("\n"))
        assert all(line in rest for line in there.split("\n")), "each is there, in the same order"
        assert joined(after, file) == after


def test_a_section_that_twine_knew_without_a_list_stays_known() -> None:
    after = joined("[pypi]\npassword = x\n", files("twine")[".pypirc"])
    assert read_ini(after)["distutils"]["index-servers"].split() == ["pypi", "pinwheel"]


@pytest.mark.parametrize(
    ("client", "path", "there"),
    [
        ("pip", ".config/pip/pip.conf", "[global]\nindex-url = https://u:secret@other.example/simple\n"),
        ("pip", ".config/pip/pip.conf", "[global]\nextra-index-url = https://other.example/secret\n"),
        ("pip", ".config/pip/pip.conf", "no INI file: secret\n"),
        ("uv", ".config/uv/uv.toml", '[[index]]\nurl = "https://secret.example"\n'),
        ("uv", ".config/uv/uv.toml", 'index = ["secret"]\n'),
        ("pdm", ".config/pdm/config.toml", 'pypi = { json_api = "secret" }\n'),
        ("pdm", ".config/pdm/config.toml", '[pypi]\npassword = "secret"\n'),
        ("twine", ".pypirc", "[pinwheel]\nrepository = https://secret.example\n"),
        ("netrc", ".netrc", "machine pypi.acme.example\n  login anna\n  password secret\n"),
    ],
)
def test_what_says_something_else_is_refused_without_telling_it(client: str, path: str, there: str) -> None:
    with pytest.raises(Disagreement) as refused:
        joined(there, files(client)[path])
    assert refused.value.remedy
    assert "secret" not in refused.value.problem


def test_a_netrc_is_read_as_clients_read_it() -> None:
    text = "# machine no login no\nmacdef init\nmachine inside login macro\n\nmachine a\nlogin b"
    text += " password c\ndefault login d"
    assert read_netrc(text) == {"a": {"login": "b", "password": "c"}, "": {"login": "d"}}


def test_a_credential_never_travels_in_clear() -> None:
    with pytest.raises(UsageError, match="in clear"):
        settings("pip", Where("http://pypi.acme.example/simple/", ""), TOKEN)
    for host in ("127.0.0.1:8080", "localhost", "[::1]:80"):
        assert settings("pip", Where(f"http://{host}/simple/", ""), TOKEN).files


@pytest.mark.parametrize("token", ["two words", "line\nbreak", 'quo"te', "#"])
def test_what_is_no_token_is_not_written(token: str) -> None:
    with pytest.raises(UsageError):
        settings("netrc", WHERE, token)


def test_authorities_of_ones_own_are_named_to_every_client() -> None:
    where = Where(WHERE.simple, WHERE.upload, "/srv/ca.pem")
    for client in ("pip", "poetry", "pdm", "twine"):
        assert any("/srv/ca.pem" in file.text for file in settings(client, where, TOKEN).files), client
    assert settings("uv", where, TOKEN).environment == {"SSL_CERT_FILE": "/srv/ca.pem"}


def test_files_lie_where_this_users_clients_look() -> None:
    (conf, netrc) = settings("pip", WHERE, TOKEN).files
    plain = {"HOME": "/home/anna"}
    assert destination(conf, None, plain) == Path("/home/anna/.config/pip/pip.conf")
    assert destination(netrc, None, plain) == Path("/home/anna/.netrc")
    moved = plain | {"XDG_CONFIG_HOME": "/else", "NETRC": "/else/netrc"}
    assert destination(conf, None, moved) == Path("/else/pip/pip.conf")
    assert destination(netrc, None, moved) == Path("/else/netrc")
    assert destination(netrc, Path("/image"), moved) == Path("/image/.netrc")
    with pytest.raises(UsageError):
        destination(conf, None, {})


# the task


def configure(server: Server, token: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    known = {"PINWHEEL_INDEX_URL": server.url, "PINWHEEL_TOKEN": token, "HOME": str(home), "XDG_CONFIG_HOME": ""}
    return run_pinwheel("index.client", *arguments, cwd=home, **known)


def test_printed_the_token_is_masked(server: Server, token: str, tmp_path: Path) -> None:
    for flags in ((), ("--json",)):
        done = configure(server, token, tmp_path / "home", "pdm", *flags)
        assert done.returncode == 0, done.stderr
        assert "********" in done.stdout
        assert token not in done.stdout + done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert (file["path"], file["secret"]) == (str(tmp_path / "home/.config/pdm/config.toml"), True)
    assert not list((tmp_path / "home").iterdir()), "nothing was written"


def test_a_secret_file_is_for_its_owner_alone_also_when_it_was_open(server: Server, token: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine git.example login me password x\n")
    (home / ".netrc").chmod(0o644)
    done = configure(server, token, home, "pip", "--write")
    assert done.returncode == 0, done.stderr
    assert (home / ".netrc").stat().st_mode & 0o777 == 0o600
    assert "git.example" in (home / ".netrc").read_text()
    assert token not in done.stdout + done.stderr
    again = configure(server, token, home, "pip", "--write")
    assert again.stderr.count("already so: ") == 2


def test_of_several_files_none_is_written_when_one_disagrees(server: Server, token: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login anna password hers\n")
    done = configure(server, token, home, "uv", "--write")
    assert (done.returncode, "127.0.0.1.login" in done.stderr, "hers" in done.stderr) == (1, True, False)
    assert [file.name for file in home.iterdir()] == [".netrc"]


def test_a_symbolic_link_is_left_alone(server: Server, token: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "dotfiles").write_text("")
    (home / ".pypirc").symlink_to(tmp_path / "dotfiles")
    done = configure(server, token, home, "twine", "--write")
    assert (done.returncode, "symbolic link" in done.stderr) == (1, True)
    assert (tmp_path / "dotfiles").read_text() == ""


def test_another_folder_can_stand_for_the_home(server: Server, token: str, tmp_path: Path) -> None:
    done = configure(server, token, tmp_path / "home", "uv", "--no-credential", "--write", str(tmp_path / "image"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image/.config/uv/uv.toml").is_file()
    assert not (tmp_path / "image/.netrc").exists()
    assert 'UV_INDEX_PINWHEEL_PASSWORD="$PINWHEEL_TOKEN"' in done.stdout


@pytest.mark.parametrize("arguments", [("conda",), ("netrc", "--no-credential")])
def test_wrong_usage_exits_2(server: Server, token: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert configure(server, token, tmp_path / "home", *arguments).returncode == 2
