"""A host that does not reach the index gets what it lacks over the connection itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.deploy import wheels
from tests.deploy.bare import BareHost, Running, wait_until
from tests.deploy.stocked import RELEASE, Index, body, bootstrapping, serving

from pinwheel.deploy.reaching.wire import framed, parts

NEXT = "1.1.0-bbbbbbbb"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("stock")
    for version in ("1.0.0", "1.1.0"):
        wheels.tiny(folder, version)
    wheels.part(folder, "alpha", "1")
    for name in ("uv", "supervisor"):
        wheels.installed(folder, name)
    with serving(folder) as made:
        yield made
        assert made.asked == [], "nobody has asked the index"


@pytest.fixture
def host(host_with_uv: BareHost) -> BareHost:
    return host_with_uv


def request(index: Index, version: str = "1.0.0", base: str = "") -> dict[str, Any]:
    listed = [index.wheel(f"acme_tiny-{version}"), index.wheel("alpha")]
    about = {"release": RELEASE if version == "1.0.0" else NEXT, "version": version, "wheels": listed, "base": base}
    return body(index, **about, deliver="push", index_url="")


def send(work: Running, index: Index, **instead: bytes) -> list[str]:
    """Send what the runner wants, or other bytes; the names of the files."""
    by_digest = {hashlib.sha256(each.read_bytes()).hexdigest(): each for each in index.folder.glob("*.whl")}
    wanted = [by_digest[sha256] for sha256 in work.hear("want")["files"]]
    for file in wanted:
        other = instead.get(file.name.partition("-")[0])
        for part in parts(file) if other is None else [framed(other)]:
            work.send(part)
    return [file.name for file in wanted]


def left(host: BareHost) -> list[str]:
    folders = (host.root / "apps/shop/releases", host.root / "tmp")
    return [each.name for folder in folders for each in folder.glob("*")]


@pytest.mark.slow
def test_wheels_that_are_sent_make_a_release_without_an_index(host: BareHost, index: Index) -> None:
    work = host.start("prepare", request(index))
    assert send(work, index) == ["acme_tiny-1.0.0-py3-none-any.whl", "alpha-1-py3-none-any.whl"]
    assert work.end()["how"] == "uv"
    again = host.start("prepare", request(index, "1.1.0", RELEASE))
    assert send(again, index) == ["acme_tiny-1.1.0-py3-none-any.whl"], "only what it lacks"
    assert again.end()["how"] == "clone"
    assert sorted(left(host)) == [RELEASE, NEXT]


def test_what_was_changed_on_the_way_is_refused(host: BareHost, index: Index) -> None:
    """Promise D11, and the runner does not wait for the rest."""
    work = host.start("prepare", request(index))
    send(work, index, acme_tiny=b"x" * 100)
    error = work.end()
    assert error["code"] == "bad-digest"
    assert "acme_tiny-1.0.0" in error["problem"]
    assert left(host) == []


@pytest.mark.parametrize("length", [b"", b"\0\0", (1000).to_bytes(8, "big") + b"half"], ids=["none", "torn", "half"])
def test_the_end_of_input_in_the_middle_of_a_file_stops_and_cleans(host: BareHost, index: Index, length: bytes) -> None:
    work = host.start("prepare", request(index))
    work.hear("want")
    work.send(length)
    work.close_stdin()
    assert work.end()["code"] == "aborted"
    assert left(host) == []


def test_after_the_files_the_end_of_input_still_means_stop(host: BareHost, index: Index) -> None:
    uv = host.root / "bin/uv"
    uv.unlink()
    uv.write_text(f"#!/bin/sh\n[ $1 = --version ] && exec echo uv 1\ntouch {host.root}/busy\nexec sleep 60\n")
    uv.chmod(0o755)
    work = host.start("prepare", request(index))
    send(work, index)
    wait_until((host.root / "busy").exists, "the tool")
    work.close_stdin()
    assert work.end()["code"] == "aborted"
    assert left(host) == []


def test_a_file_may_not_be_written_elsewhere(host: BareHost, index: Index) -> None:
    asked = request(index)
    asked["wheels"][0]["filename"] = "../uv"
    assert host.ask("prepare", asked)["code"] == "bad-request"
    assert left(host) == []


@pytest.mark.slow
def test_a_bare_host_becomes_ready_without_an_index(host: BareHost, index: Index) -> None:
    (host.root / "bin/uv").unlink()
    work = host.start("bootstrap", bootstrapping(index, deliver="push", index_url=""), supervisor_from="index")
    assert [send(work, index)[0].partition("-")[0] for _ in range(2)] == ["uv", "supervisor"]
    told = work.end()
    assert (told["missing"], told["changes"][-1]) == ([], "start supervisor")
    again = host.ask("bootstrap", bootstrapping(index, deliver="push", index_url=""), supervisor_from="index")
    assert again["changes"] == []
    assert left(host) == []
