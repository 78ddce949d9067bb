"""`index.verify --static` finds what a web server would send wrongly, and `--repair` makes it anew."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import Made, new_file, wheel
from tests.index.running import JSON, eventually, run_pinwheel

from pinwheel.index.channels import Channels
from pinwheel.index.entries import Act
from pinwheel.index.server.assembly import Stored
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.rendering import Renderer
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.outbox import DatabaseOutbox
from pinwheel.index.store.storing import recording
from pinwheel.index.upkeep.verifying_pages import verify_pages

ACT = Act("2024-01-02T03:04:05.000000Z", "tester")
ACME, OTHER = wheel("acme"), wheel("other")


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return tmp_path / "static"


@pytest.fixture
def renderer(index: Stored, static: Path) -> Renderer:
    """The tree of two projects, one of them promoted, as it should be."""
    for made in (ACME, OTHER):
        put(index, made)
    index.releases.promote("acme", "1.0.0", "prod", ACT)
    cache, tree = PageCache(index.records, Channels({"prod": ()})), StaticTree(static, index.folder / "blobs", "us")
    made_by = Renderer(DatabaseOutbox(index.database), index.records, index.blobs, cache, tree, print)
    made_by.catch_up()
    return made_by


def put(index: Stored, made: Made) -> None:
    with recording(index.records, index.blobs, made.sha256):
        index.blobs.put(made.content, made.sha256)
        index.records.publish(new_file(made))


def compared(index: Stored, static: Path, *, repair: bool = False, made_by: str = "us") -> list[str]:
    """The faults that are left."""
    found = verify_pages(
        index.records,
        index.blobs,
        PageCache(index.records, Channels({"prod": ()})),
        DatabaseOutbox(index.database),
        StaticTree(static, index.folder / "blobs", made_by),
        repair=repair,
    )
    return [fault.what for fault, done in found if not done]


@pytest.mark.usefixtures("renderer")
def test_a_tree_as_it_should_be_has_no_fault(index: Stored, static: Path) -> None:
    assert compared(index, static) == []


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def replace(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(
    ("place", "damage", "what"),
    [
        ("simple/acme/index.html", lengthen, "the page of acme in main"),
        ("simple/acme/index.json.gz", lambda file: file.write_bytes(b"no gzip"), "the page of acme in main"),
        ("simple/acme/index.json", Path.unlink, "the page of acme in main"),
        ("simple/index.json", lengthen, "the page of all projects in main"),
        ("c/prod/simple/acme/index.html.gz", Path.unlink, "the page of acme in prod"),
        (f"files/{ACME.sha256}/{ACME.filename}", Path.unlink, f"the link to {ACME.filename}"),
        (f"files/{ACME.sha256}/{ACME.filename}", replace, f"the link to {ACME.filename}"),
    ],
)
def test_what_is_otherwise_is_named_and_made_anew(
    index: Stored, static: Path, place: str, damage: Callable[[Path], object], what: str
) -> None:
    state = (static / place).stat()
    damage(static / place)
    if (static / place).exists():
        os.utime(static / place, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert compared(index, static) == [what]
    assert compared(index, static, repair=True) == []
    assert compared(index, static) == []


@pytest.mark.usefixtures("renderer")
def test_a_page_where_none_belongs_is_taken_away(index: Stored, static: Path) -> None:
    (static / "c/prod/simple/other").mkdir()
    (static / "c/prod/simple/other/index.html").write_text("a leftover")
    assert compared(index, static) == ["the page of other in prod"]
    assert compared(index, static, repair=True) == []
    assert not (static / "c/prod/simple/other").exists()


def test_a_link_to_what_was_removed_is_taken_away(index: Stored, static: Path, renderer: Renderer) -> None:
    index.releases.remove("other", "1.0.0", ACT)
    assert compared(index, static) == [], "it is pending, and nobody's fault"
    renderer.catch_up()
    stray = static / "files" / OTHER.sha256 / OTHER.filename
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(OTHER.content)
    assert compared(index, static) == [f"the link {OTHER.sha256}/{OTHER.filename}"]
    assert compared(index, static, repair=True) == []
    assert not stray.exists()


@pytest.mark.usefixtures("renderer")
@pytest.mark.parametrize(("folder", "channel"), [("simple/late", "main"), ("c/prod/simple/late", "prod")])
def test_a_page_of_what_the_records_never_knew_is_taken_away(
    index: Stored, static: Path, folder: str, channel: str
) -> None:
    """A backup was restored, and the tree is newer than it."""
    (static / folder).mkdir()
    (static / folder / "index.html").write_text("published after the backup")
    assert compared(index, static) == [f"the page of late in {channel}"]
    assert compared(index, static, repair=True) == []
    assert not (static / folder).exists()


def test_what_is_pending_is_nobodys_fault(index: Stored, static: Path, renderer: Renderer) -> None:
    put(index, wheel("acme", "2.0"))
    assert compared(index, static) == []
    renderer.catch_up()
    assert compared(index, static) == []


@pytest.mark.usefixtures("renderer")
def test_a_tree_of_another_maker_is_said_to_be_one(index: Stored, static: Path) -> None:
    assert compared(index, static, made_by="another") == ["the static tree"]


def test_the_command_repairs_a_tree_beside_the_server_that_renders_it(tmp_path: Path) -> None:
    static = tmp_path / "static"
    with running.running(tmp_path / "data", "--static", str(static), "--workers", "1") as server:
        token = server.token("t", "read", "upload")
        assert server.upload(ACME, token).status == 200
        page = static / "simple" / "acme" / "index.json"
        eventually(page.exists)
        expected = page.read_bytes()
        page.write_bytes(b"{}")
        flags = ("--data", str(server.folder), "--static", str(static))
        done = run_pinwheel("index.verify", *flags, "--json")
        assert done.returncode == 1
        assert [fault["what"] for fault in json.loads(done.stdout)["faults"]] == ["the page of acme in main"]
        done = run_pinwheel("index.verify", *flags, "--repair")
        assert done.returncode == 0, done.stderr
        assert page.read_bytes() == expected == server.ask("GET", "/simple/acme/", token, headers=JSON).body


def test_a_tree_that_is_not_there_is_wrong_usage(index: Stored, tmp_path: Path) -> None:
    done = run_pinwheel("index.verify", "--data", str(index.folder), "--static", str(tmp_path / "nowhere"))
    assert (done.returncode, "no such folder" in done.stderr) == (2, True)
    assert not (tmp_path / "nowhere").exists()
