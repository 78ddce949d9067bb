"""Repositories over HTTPS, from git's own http-backend: the token opens them, and is seen nowhere on the way."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, offered, tiny_files, told
from tests.packaging.running import RunningIndex
from tests.packaging.servers import TOKEN, TOKEN_USER, HttpsServer, https_server

from pinwheel.packaging.repositories.access import Token, Way
from pinwheel.packaging.repositories.git import Mirror, ask
from pinwheel.packaging.work import Failure, Release

MakeRepository = Callable[[str], Repository]

SECRETS = (TOKEN, base64.b64encode(f"{TOKEN_USER}:{TOKEN}".encode()).decode())


@pytest.fixture
def https(tmp_path: Path) -> Iterator[HttpsServer]:
    with https_server(tmp_path / "repositories", tmp_path / "tls") as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n")
    return file


def everything_below(folder: Path) -> str:
    """The names and the contents of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_bytes().decode(errors='replace')}" for path in files)


def test_a_token_opens_a_repository_and_stays_out_of_sight(
    https: HttpsServer, make_repository: MakeRepository, token_file: Path, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    commit = remote.commit({"a.txt": "one"}, "v1.0.0", annotated=True)
    seen = tmp_path / "seen"
    programs = tmp_path / "bin"
    programs.mkdir()
    # a git that tells what it is called with, in front of the real one
    spy = programs / "git"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{seen}"\nenv >>"{seen}"\nexec {shutil.which("git")} "$@"\n')
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "GIT_TRACE": "1", "GIT_TRACE_CURL": "1"}
    address = https.address(remote.folder)
    mirror = Mirror(address, tmp_path / "cache", environ, Token(address, TOKEN_USER, "", token_file, https.ca_file))
    resolved = mirror.resolve(offered(mirror), "v1.0.0")
    mirror.fetch(resolved)
    assert (resolved.commit, mirror.text(commit, "a.txt")) == (commit, "one")
    assert not [each for each in SECRETS if each in seen.read_text() or each in everything_below(tmp_path / "cache")]


def test_a_wrong_token_is_one_clear_error_without_it(
    https: HttpsServer, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "one"}, "v1.0.0")
    address = https.address(remote.folder)
    loud = {"GIT_TRACE": "1", "GIT_CURL_VERBOSE": "1", "GIT_TRACE_CURL": "1", "GIT_TRACE_REDACT": "0"}
    environ = {**os.environ, **loud, "ACME_TOKEN": "wrong-hunter2"}
    (answer,) = ask([Mirror(address, tmp_path / "c", environ, Token(address, "me", "ACME_TOKEN", None, https.ca_file))])
    assert "Authentication failed" in told(answer)
    assert "ACME_TOKEN" in told(answer)
    assert "hunter2" not in told(answer)
    assert base64.b64encode(b"me:wrong-hunter2").decode() not in told(answer)


@pytest.mark.slow
def test_a_redirect_does_not_carry_the_token_to_another_host(
    https: HttpsServer, make_repository: MakeRepository, token_file: Path, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "one"}, "v1.0.0")
    with https_server(tmp_path / "repositories", tmp_path / "tls") as thief:
        https.moved["/"] = thief.url
        address = https.address(remote.folder)
        way = Token(address, TOKEN_USER, "", token_file, thief.ca_file)
        (answer,) = ask([Mirror(address, tmp_path / "cache", way=way)])
        assert "could not read Username" in told(answer)
        assert thief.heard
        assert not [request for request in thief.heard if request[2]]


def test_a_certificate_that_nobody_vouches_for_gets_no_token(
    https: HttpsServer, make_repository: MakeRepository, token_file: Path, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"a.txt": "one"}, "v1.0.0")
    address = https.address(remote.folder)
    environ = {**os.environ, "GIT_SSL_NO_VERIFY": "1"}
    (answer,) = ask([Mirror(address, tmp_path / "cache", environ, Token(address, TOKEN_USER, "", token_file))])
    assert "certificate" in told(answer)
    assert https.heard == []


@pytest.mark.slow
def test_only_what_is_new_is_fetched_and_what_is_there_is_not_asked_for(
    https: HttpsServer, make_repository: MakeRepository, token_file: Path, tmp_path: Path
) -> None:
    remote = make_repository("greet")
    remote.commit({"large.txt": os.urandom(50_000).hex()}, "v1.0.0")
    address = https.address(remote.folder)
    way: Way = Token(address, TOKEN_USER, "", token_file, https.ca_file)
    mirror = Mirror(address, tmp_path / "cache", way=way)
    mirror.fetch(mirror.resolve(offered(mirror), "v1.0.0"))
    (folder,) = (tmp_path / "cache").glob("*.git")
    before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    remote.commit({"small.txt": "x"}, "v1.0.1")
    resolved = mirror.resolve(offered(mirror), "v1.0.1")
    mirror.fetch(resolved)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - before < 20_000
    https.heard.clear()
    mirror.fetch(resolved)
    assert https.heard == []


@pytest.mark.slow
def test_p6_and_p8_a_token_that_fails_stops_one_project_and_no_secret_is_seen_anywhere(
    https: HttpsServer, make_repository: MakeRepository, index: RunningIndex, token_file: Path, tmp_path: Path
) -> None:
    seen, home = tmp_path / "seen", tmp_path / "home"
    home.mkdir()
    spy = f"open({str(seen)!r}, 'a').write(repr(dict(os.environ)))\n"
    text = ""
    for name in ("acme-opened", "acme-shut"):
        remote = make_repository(name)
        remote.commit(tiny_files(name, backend=spy), "v1.0.0")
        text += f'[projects.{name}]\nrepository = "{https.address(remote.folder)}"\n'
    text += f'[repositories."{https.url}/"]\ntoken_file = "{token_file}"\nca_file = "{https.ca_file}"\n'
    text += f'[repositories."{https.url}/acme-shut"]\ntoken_env = "SHUT"\nca_file = "{https.ca_file}"\n'
    (home / "pinwheel.toml").write_text(text)
    loud = {"GIT_TRACE": "1", "GIT_CURL_VERBOSE": "1", "GIT_TRACE_CURL": "1", "GIT_TRACE_REDACT": "0"}
    done = index.run(home, "packaging.release", "--all", "--json", SHUT="wrong-hunter2", **loud)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert [each["name"] for each in document["releases"]] == ["acme-opened"]
    ((name, problem),) = ((each["name"], each["problem"]) for each in document["failures"])
    assert name == "acme-shut"
    assert "Authentication failed" in problem
    papers = index.run(home, "packaging.explain", "acme-opened==1.0.0", "--json").stdout
    shown = done.stdout + done.stderr + papers + seen.read_text() + everything_below(home)
    assert "hunter2" not in shown
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
def test_large_files_come_from_the_repositorys_own_server_and_are_what_the_commit_says(
    https: HttpsServer, make_repository: MakeRepository, workshop: Workshop, token_file: Path, tmp_path: Path
) -> None:
    content = b"\0large" * 1000
    sha256 = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n"
    remote = make_repository("greet")
    files = tiny_files("acme-greet", backend="MORE = ('acme_greet/model.bin',)\n")
    elsewhere = '[lfs]\n\turl = "https://elsewhere.invalid/"\n'
    remote.commit(files | {"acme_greet/model.bin": pointer, ".lfsconfig": elsewhere}, "v1.0.0")
    table = f'[repositories."{https.url}/"]\ntoken_file = "{token_file}"\nca_file = "{https.ca_file}"\n'
    text = f'{table}[projects.acme-greet]\nrepository = "{https.address(remote.folder)}"\n'
    (undeclared,) = workshop.release(text)
    assert isinstance(undeclared, Failure)
    assert "lfs = true" in undeclared.error.remedy
    https.large[sha256] = content[::-1]
    (wrong,) = workshop.release(text + "lfs = true\n")
    assert isinstance(wrong, Failure)
    assert workshop.shelf.blobs == {}
    https.large[sha256] = content
    (right,) = workshop.release(text + "lfs = true\n")
    assert isinstance(right, Release), right
    sdist = workshop.shelf.blobs["acme-greet", "acme_greet-1.0.0.tar.gz"]
    assert member(sdist, "acme_greet-1.0.0/acme_greet/model.bin") == content
    assert not [secret for secret in SECRETS if secret in everything_below(workshop.cache)]


def member(sdist: bytes, name: str) -> bytes:
    """The content of one file of an sdist."""
    with tarfile.open(fileobj=io.BytesIO(sdist)) as archive:
        opened = archive.extractfile(name)
        assert opened
        return opened.read()
