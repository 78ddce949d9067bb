"""Channels: what is visible where, in pages and to real installers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from tests.index.making import sdist, wheel
from tests.index.running import JSON, Reply, Server, Upstream, call, make_token, run_pinwheel, running, upload
from tests.index.test_installers import run, uv

from pinwheel.errors import UsageError
from pinwheel.index.channels import MAIN, Channels, declared
from pinwheel.index.client import IndexClient
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.server.assembly import Stored

CHANNELS = Channels({"prod": (), "staging": ("prod",), "everything": (MAIN,)})


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload", "promote", "admin")


def decide(app: Any, token: str, release: str, act: str, **sent: str) -> Reply:
    project, version = release.split("==")
    return call(app, "POST", f"/-/releases/{project}/{version}/{act}", token, body=json.dumps(sent).encode())


def shown(app: Any, token: str, path: str) -> list[str]:
    """The files on a project's page, or the projects on the page of all."""
    page = call(app, "GET", path, token, headers=JSON).json()
    return [each.get("filename") or each["name"] for each in page.get("files", page.get("projects"))]


@pytest.mark.parametrize(
    ("inherits", "channel", "visible"),
    [
        ({}, "main", {"main"}),
        ({"prod": ()}, "prod", {"prod"}),
        ({"prod": (), "staging": ("prod",), "dev": ("staging",)}, "dev", {"dev", "staging", "prod"}),
        ({"dev": ("main",)}, "dev", {"main"}),
    ],
)
def test_what_a_channel_inherits_is_visible_in_it(
    inherits: Mapping[str, tuple[str, ...]], channel: str, visible: set[str]
) -> None:
    assert declared(inherits, "index.channels").visible(channel) == visible


@pytest.mark.parametrize(
    ("inherits", "said"),
    [
        ({"main": ()}, "main is where"),
        ({"Prod": ()}, "no name of a channel"),
        ({"a/b": ()}, "no name of a channel"),
        ({"prod": ("nowhere",)}, "no channel nowhere"),
        ({"a": ("b",), "b": ("a",)}, "inherits from itself"),
        ({"a": ("a",)}, "inherits from itself"),
    ],
)
def test_channels_that_make_no_sense_are_refused(inherits: Mapping[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        declared(inherits, "pinwheel.toml: index.channels")
    assert "index.channels" in caught.value.where


def test_an_upload_is_in_main_alone_until_it_is_promoted(app: Callable[..., Any], token: str) -> None:
    served = app(channels=CHANNELS)
    one, source, two = wheel("acme", "1.0.0"), sdist("acme", "1.0.0"), wheel("acme", "2.0.0")
    for made in (one, source, two):
        upload(served, made, token)
    assert call(served, "GET", "/c/prod/simple/acme/", token).status == 404
    assert shown(served, token, "/c/prod/simple/") == []
    assert decide(served, token, "acme==1", "promote", channel="prod").json()["changed"] is True
    for channel in ("prod", "staging"):
        assert shown(served, token, f"/c/{channel}/simple/acme/") == [one.filename, source.filename]
        assert shown(served, token, f"/c/{channel}/simple/") == ["acme"]
    assert decide(served, token, "acme==2.0.0", "promote", channel="staging").status == 200
    assert shown(served, token, "/c/prod/simple/acme/") == [one.filename, source.filename]
    assert two.filename in shown(served, token, "/c/staging/simple/acme/")
    assert len(shown(served, token, "/simple/acme/")) == len(shown(served, token, "/c/everything/simple/acme/")) == 3
    decide(served, token, "acme==1.0.0", "demote", channel="prod")
    assert call(served, "GET", "/c/prod/simple/acme/", token).status == 404
    assert shown(served, token, "/c/prod/simple/") == []


def test_the_links_of_every_channel_lead_to_the_same_file(app: Callable[..., Any], token: str) -> None:
    served, made = app(channels=CHANNELS), wheel("acme")
    upload(served, made, token)
    decide(served, token, "acme==1.0.0", "promote", channel="prod")
    found = set()
    for page in ("/simple/acme/", "/c/prod/simple/acme/"):
        (file,) = call(served, "GET", page, token, headers=JSON).json()["files"]
        found.add(urljoin(page, file["url"]))
    assert len(found) == 1
    assert call(served, "GET", found.pop(), token).body == made.content


def test_another_worker_sees_a_promotion_at_once(app: Callable[..., Any], token: str) -> None:
    one, other = app(channels=CHANNELS), app(channels=CHANNELS)
    upload(one, wheel("acme"), token)
    assert shown(other, token, "/c/prod/simple/") == []
    decide(one, token, "acme==1.0.0", "promote", channel="prod")
    assert shown(other, token, "/c/prod/simple/") == ["acme"]
    assert shown(other, token, "/c/prod/simple/acme/") == [wheel("acme").filename]


def test_a_channel_that_nobody_declared_is_not_there(app: Callable[..., Any], token: str) -> None:
    served = app(channels=CHANNELS)
    upload(served, wheel("acme"), token)
    assert call(served, "GET", "/c/test/simple/", token).status == 404
    assert call(served, "GET", "/c/test/simple/acme/", token).status == 404


def test_public_projects_are_in_every_channel_and_private_names_are_asked_for_from_none(
    app: Callable[..., Any], token: str, upstream: Upstream, index: Stored
) -> None:
    served = app(lambda _line: None, channels=CHANNELS, private=("secret-*",), upstreams=Upstreams((upstream.url,)))
    upstream.add(wheel("public"))
    for name in ("acme", "secret-thing"):
        upstream.add(wheel(name, "99.0"))
    upload(served, wheel("acme"), token)
    moved = call(served, "GET", "/c/prod/simple/public/", token)
    assert (moved.status, moved.headers["location"]) == (307, "../../../../simple/public/")
    assert shown(served, token, "/simple/public/") == [wheel("public").filename]
    before = list(upstream.requests)
    for name in ("acme", "secret-thing"):
        assert call(served, "GET", f"/c/prod/simple/{name}/", token).status == 404
    assert upstream.requests == before


@pytest.fixture(scope="module")
def channelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the channel prod."""
    folder = tmp_path_factory.mktemp("channelled")
    (folder / "pinwheel.toml").write_text("[index.channels.prod]\n")
    with running(folder / "data", cwd=folder) as server:
        yield server


@pytest.mark.parametrize("installer", [pytest.param("pip", marks=pytest.mark.slow), "uv"])
def test_an_installer_gets_from_a_channel_what_was_promoted_and_nothing_newer(
    channelled: Server, tmp_path: Path, installer: str
) -> None:
    name = f"steady-{installer}"
    token = channelled.token(name, "read", "upload", "promote")
    client = IndexClient(channelled.url, token)
    for version in ("1.0.0", "2.0.0"):
        assert channelled.upload(wheel(name, version), token).status == 200
    assert client.promote(name, "1.0.0", "prod")
    assert installed(client, tmp_path / "prod", installer, name, "prod") == ["1.0.0"]
    assert installed(client, tmp_path / "main", installer, name, MAIN) == ["2.0.0"]
    client.yank(name, "2.0.0", "loses greetings")
    assert [(each.version, each.yanked, each.channels) for each in client.releases(name)] == [
        ("1.0.0", None, (MAIN, "prod")),
        ("2.0.0", "loses greetings", (MAIN,)),
    ]
    assert installed(client, tmp_path / "yanked", installer, name, MAIN) == ["1.0.0"]
    assert installed(client, tmp_path / "pinned", installer, f"{name}==2.0.0", MAIN) == ["2.0.0"]
    client.promote(name, "2.0.0", "prod")
    client.unyank(name, "2.0.0")
    assert installed(client, tmp_path / "later", installer, name, "prod") == ["2.0.0"], "with a warm cache, too"


def test_the_tasks_say_what_they_did_and_what_cannot_be(channelled: Server) -> None:
    token = channelled.token("tasks", "read", "upload", "promote")
    channelled.upload(wheel("tasked"), token)

    def pinwheel(*words: str) -> tuple[int, str, str]:
        done = run_pinwheel(*words, PINWHEEL_INDEX_URL=channelled.url, PINWHEEL_TOKEN=token)
        return done.returncode, done.stdout, done.stderr

    assert pinwheel("index.promote", "tasked==1", "--to", "prod") == (0, "", "tasked 1 is promoted to prod\n")
    code, out, said = pinwheel("index.promote", "tasked==1.0.0", "--to", "prod", "--json")
    assert (code, json.loads(out)["changed"], said) == (0, False, "tasked 1.0.0 is in prod already\n")
    code, out, _ = pinwheel("index.list", "--name", "tasked", "--channel", "prod", "--json")
    assert [file["filename"] for file in json.loads(out)["files"]] == [wheel("tasked").filename]
    code, _, said = pinwheel("index.yank", "tasked==9.9")
    assert (code, "tasked has no release 9.9" in said) == (1, True)
    code, _, said = pinwheel("index.project-status", "tasked", "--set", "archived")
    assert (code, "scope admin" in said) == (1, True)
    code, _, said = pinwheel("index.demote", "tasked==1.0.0")
    assert (code, "--from" in said) == (2, True)


def installed(client: IndexClient, target: Path, installer: str, what: str, channel: str) -> list[str]:
    """The versions that pip or uv install from the channel."""
    url = client.credentialed_simple_url(channel)
    argv: tuple[str, ...]
    if installer == "pip":
        argv = (sys.executable, "-P", "-m", "pip", "install", "--target", str(target), "--no-input", what)
        done = run(*argv, PIP_INDEX_URL=url, PIP_CACHE_DIR=str(target.parent / "pip-cache"))
    else:
        argv = (uv(), "pip", "install", "--python", sys.executable, "--target", str(target), what)
        done = run(*argv, UV_DEFAULT_INDEX=url, UV_CACHE_DIR=str(target.parent / "uv-cache"))
    assert done.returncode == 0, done.stderr
    return [each.stem.rpartition("-")[2] for each in target.glob("*.dist-info")]
