"""The tasks of the index, run as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.making import wheel
from tests.index.running import Server, Upstream, call, make_token, run_pinwheel, upload

from pinwheel.index.policy import Policy
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.server.started import Started

# tokens


def test_a_token_is_made_listed_used_and_revoked(server: Server) -> None:
    data = ("--data", str(server.folder))
    made = run_pinwheel("index.token-create", "cli", "--scope", "read,upload:cli-*", "--expires", "90d", *data)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert made.stdout == token + "\n", "the token alone"
    assert server.ask("GET", "/simple/", token).status == 200
    listed = json.loads(run_pinwheel("index.token-list", "--json", *data).stdout)["tokens"]
    (mine,) = [each for each in listed if each["name"] == "cli"]
    assert (mine["state"], [each["scope"] for each in mine["grants"]]) == ("valid", ["read", "upload"])
    assert mine["expires_at"] is not None
    assert "read,upload:cli-*" in run_pinwheel("index.token-list", *data).stdout
    taken = run_pinwheel("index.token-create", "cli", "--scope", "read", *data)
    assert (taken.returncode, "already" in taken.stderr) == (1, True)
    rotated = run_pinwheel("index.token-rotate", "cli", "--keep", "1h", *data).stdout.strip()
    assert [server.ask("GET", "/simple/", each).status for each in (token, rotated)] == [200, 200]
    last = run_pinwheel("index.token-rotate", "cli", *data).stdout.strip()
    assert [server.ask("GET", "/simple/", each).status for each in (token, rotated, last)] == [401, 401, 200]
    assert server.ask("GET", "/-/whoami", last).json()["scopes"] == ["read", "upload"]
    assert run_pinwheel("index.token-revoke", "cli", *data).returncode == 0
    assert server.ask("GET", "/simple/", last).status == 401, "at once, with the server running"
    assert run_pinwheel("index.token-rotate", "cli", *data).returncode == 1
    again = run_pinwheel("index.token-revoke", "cli", *data)
    assert (again.returncode, "token-list" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--scope", "fly"),
        ("--scope", "upload:"),
        ("--scope", "deploy@"),
        ("--scope", "read", "--expires", "soon"),
        ("--scope", "read", "--expires", "0d"),
        ("--scope", "read", "--expires", "99999999999d"),
        ("--scope", "read", "--expires", "9" * 5000 + "d"),
        ("--scope", "read", "--projects", "acme-*,["),
    ],
)
def test_a_token_that_makes_no_sense_is_wrong_usage(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert run_pinwheel("index.token-create", "x", *flags, "--data", str(tmp_path / "data")).returncode == 2


@pytest.mark.slow
def test_when_a_token_was_used_is_known_soon(tmp_path: Path) -> None:
    with running.running(tmp_path / "data", "--workers", "1") as server:
        token = server.token("seen", "read")
        server.token("never", "read")
        assert server.ask("GET", "/simple/", token).status == 200
        index = stored(server.folder)
        try:
            running.eventually(lambda: any(each.last_used_at for each in index.tokens.every()))
        finally:
            index.close()
        listed = json.loads(run_pinwheel("index.token-list", "--json", "--data", str(server.folder)).stdout)["tokens"]
        assert {each["name"]: each["last_used_at"] is not None for each in listed} == {"seen": True, "never": False}


def test_a_token_for_longer_than_there_are_dates_is_listed(index: Stored) -> None:
    make_token(index.folder, "ever", "read", expires_at=1e16)
    (listed,) = json.loads(run_pinwheel("index.token-list", "--json", "--data", str(index.folder)).stdout)["tokens"]
    assert (listed["state"], listed["expires_at"][:4]) == ("valid", "9999")


def test_a_folder_without_an_index_is_said_to_have_none(tmp_path: Path) -> None:
    done = run_pinwheel("index.token-list", "--data", str(tmp_path / "none"))
    assert (done.returncode, "there is no index in this folder" in done.stderr) == (1, True)
    assert not (tmp_path / "none").exists()


# list


def test_the_index_is_listed_through_its_address(server: Server, token: str, tmp_path: Path) -> None:
    made = wheel("cli-listed")
    server.upload(made, token)
    env = {"PINWHEEL_INDEX_URL": server.url, "PINWHEEL_TOKEN": token}
    assert "cli-listed" in run_pinwheel("index.list", cwd=tmp_path, **env).stdout.splitlines()
    assert made.filename in run_pinwheel("index.list", "--name", "cli_listed", cwd=tmp_path, **env).stdout
    document = json.loads(run_pinwheel("index.list", "--name", "cli-listed", "--json", cwd=tmp_path, **env).stdout)
    assert [(each["filename"], each["sha256"]) for each in document["files"]] == [(made.filename, made.sha256)]
    missing = run_pinwheel("index.list", "--name", "nobody", cwd=tmp_path, **env)
    assert (missing.returncode, "no project nobody" in missing.stderr) == (1, True)
    missing = run_pinwheel("index.list", "--name", "nobody", "--json", cwd=tmp_path, **env)
    assert (missing.returncode, '"files"' in missing.stdout) == (1, False)
    away = run_pinwheel("index.list", cwd=tmp_path, PINWHEEL_INDEX_URL="http://127.0.0.1:1/")
    assert (away.returncode, away.stderr.splitlines()[0]) == (1, "error: the index does not answer: Connection refused")
    assert run_pinwheel("index.list", cwd=tmp_path).returncode == 2


# why


def test_why_tells_where_files_come_from(
    app: Callable[..., Any], index: Stored, upstream: Upstream, tmp_path: Path
) -> None:
    own, public = wheel("own"), wheel("public")
    upstream.add(public)
    served = app(upstreams=Upstreams((upstream.url,)))
    token = make_token(index.folder, "t", "read", "upload")
    upload(served, own, token)
    for name in ("public", "nothing"):
        call(served, "GET", f"/simple/{name}/", token)

    Started(Policy(private=("acme-*",)), (upstream.url,)).write(index.folder)

    def why(name: str) -> Any:
        done = run_pinwheel("index.why", name, "--json", "--data", str(index.folder), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    own_file = {"filename": own.filename, "version": "1.0.0", "from": "here", "offered": True, "held_until": None}
    assert (why("Own")["private"], why("own==1.0")["files"]) == (True, [own_file | {"why": "published here"}])
    assert why("own==2.0")["files"] == []
    (file,) = why("public")["files"]
    assert file["from"] == upstream.url.replace("/simple/", f"/files/{public.filename}")
    assert upstream.url in why("public")["reason"]
    assert f"not known from {upstream.url}" in why("nothing")["reason"]
    index.records.reserve(["taken-over"], "2026-11-28T12:00:00Z")
    assert "known here, without a file" in why("taken-over")["reason"]
    wrong = run_pinwheel("index.why", "no name", "--data", str(index.folder), cwd=tmp_path)
    assert (wrong.returncode, "no name of a project" in wrong.stderr) == (2, True)
    assert "acme-*" in why("acme-new")["reason"]
    text = run_pinwheel("index.why", "public", "--data", str(index.folder), cwd=tmp_path).stdout
    assert public.filename in text


def test_private_names_of_the_configuration_count(index: Stored, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["Acme_*"]\n')
    done = run_pinwheel("index.why", "acme-x", "--data", str(index.folder), cwd=tmp_path)
    assert "Acme_* keeps the name from every upstream" in done.stdout


def test_a_private_name_of_the_configuration_that_keeps_nothing_is_wrong_usage(index: Stored, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["acme-*,other-*"]\n')
    for task in (("index.why", "acme-x"), ("index.serve", "--port", "0")):
        done = run_pinwheel(*task, "--data", str(index.folder), cwd=tmp_path)
        assert (done.returncode, "pinwheel.toml: index.private" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_why_knows_how_the_server_was_started(tmp_path: Path) -> None:
    data, away = tmp_path / "data", "http://ann:secret@127.0.0.1:1/simple/"

    def why(name: str) -> str:
        done = run_pinwheel("index.why", name, "--data", str(data), cwd=tmp_path)
        assert "secret" not in done.stdout
        return done.stdout

    flags = ("--private", "Acme_*", "--upstream", "auto", "--workers", "1")
    with running.running(data, *flags, cwd=tmp_path, PIP_INDEX_URL=away):
        assert "Acme_* keeps the name from every upstream" in why("acme-x")
        assert "not known from http://127.0.0.1:1/simple/" in why("public")
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["other-*"]\n')
    assert "127.0.0.1:1" in why("other-x"), "the server that was started does not keep it"
    with running.running(data, "--workers", "1", cwd=tmp_path):
        assert "the server has no upstream" in why("public")
        assert "other-* keeps" in why("other-x")
    assert not [file for file in data.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]
