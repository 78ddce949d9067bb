"""The static tree: what is kept as files is what the server itself would answer, whoever dies or races meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import Made, new_file, wheel

from pinwheel.errors import UsageError
from pinwheel.index.channels import Channels
from pinwheel.index.entries import Act
from pinwheel.index.server.assembly import Stored, stored, tree_of
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.rendering import Renderer
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.outbox import DatabaseOutbox
from pinwheel.index.upkeep.backup import write_backup
from pinwheel.index.upkeep.restoring import restore

ACT = Act("2024-01-02T03:04:05.000000Z", "tester")
CHANNELS = Channels({"prod": ()})


def renderer(index: Stored, static: Path, made_by: str = "us") -> Renderer:
    tree = StaticTree(static, index.folder / "blobs", made_by)
    cache = PageCache(index.records, CHANNELS)
    return Renderer(DatabaseOutbox(index.database), index.records, index.blobs, cache, tree, print)


def renderer_of(index: Stored, static: Path) -> Renderer:
    """As the server makes it."""
    cache, tree = PageCache(index.records, CHANNELS), tree_of(static, index, CHANNELS)
    return Renderer(DatabaseOutbox(index.database), index.records, index.blobs, cache, tree, print)


def record(index: Stored, *all_made: Made) -> None:
    """Publish without rendering, as a worker that dies right after its commit does."""
    for made in all_made:
        blob = index.temporary / made.filename
        blob.write_bytes(made.content)
        index.blobs.put(blob, made.sha256)
        index.records.publish(new_file(made))


def listed(static: Path, page: str) -> list[str]:
    """The filenames on a page of the tree."""
    found = json.loads((static / page / "index.json").read_bytes())
    return [each["filename"] for each in found["files"]]


def file(static: Path, made: Made) -> Path:
    return static / "files" / made.sha256 / made.filename


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return tmp_path / "static"


@pytest.fixture
def rendering(index: Stored, static: Path) -> Iterator[Renderer]:
    made = renderer(index, static)
    made.catch_up()
    yield made
    assert DatabaseOutbox(index.database).pending(1) == ()


def test_a_page_is_kept_in_both_forms_plain_and_compressed(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, made := wheel("acme"))
    rendering.changed("acme")
    page = PageCache(index.records)
    page.refresh()
    expected = page.project("acme")
    assert expected is not None
    for form, copy in (("html", expected.html), ("json", expected.json)):
        plain = static / "simple" / "acme" / f"index.{form}"
        assert plain.read_bytes() == copy.plain
        assert gzip.decompress(plain.with_name(f"index.{form}.gz").read_bytes()) == copy.plain
        assert plain.stat().st_mode & 0o777 == 0o644
    assert file(static, made).samefile(index.blobs.path(made.sha256))
    assert json.loads((static / "simple" / "index.json").read_bytes())["projects"] == [{"name": "acme"}]


def test_equal_sizes_do_not_make_equal_times(index: Stored, static: Path, rendering: Renderer) -> None:
    """A web server makes its ETag of both."""
    record(index, wheel("acme"))
    times = []
    for reason in ("one", "two"):
        index.releases.yank("acme", "1.0.0", reason, ACT)
        rendering.changed("acme")
        pages = [static / "simple" / "acme" / name for name in ("index.html", "index.html.gz", "index.json")]
        times += [page.stat().st_mtime for page in pages]
    assert len(set(times)) == 6


def test_a_decision_is_on_the_page(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, one := wheel("acme", "1.0.0"), two := wheel("acme", "2.0.0"))
    rendering.changed("acme")
    index.releases.yank("acme", "1.0.0", "broken", ACT)
    rendering.changed("acme")
    assert b'data-yanked="broken"' in (static / "simple" / "acme" / "index.html").read_bytes()
    index.releases.promote("acme", "2.0.0", "prod", ACT)
    rendering.changed("acme")
    assert listed(static, "c/prod/simple/acme") == [two.filename]
    index.releases.demote("acme", "2.0.0", "prod", ACT)
    rendering.changed("acme")
    assert not (static / "c" / "prod" / "simple" / "acme").exists()
    assert listed(static, "simple/acme") == [one.filename, two.filename]


def test_what_is_removed_is_gone_with_its_file(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, one := wheel("acme", "1.0.0"), two := wheel("acme", "2.0.0"))
    rendering.changed("acme")
    index.releases.remove("acme", "1.0.0", ACT)
    rendering.changed("acme")
    assert listed(static, "simple/acme") == [two.filename]
    assert not file(static, one).parent.exists()
    index.releases.remove("acme", "2.0.0", ACT)
    rendering.changed("acme")
    assert not (static / "simple" / "acme").exists()
    assert not file(static, two).exists()


def test_a_project_in_quarantine_has_no_file(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, made := wheel("acme"))
    rendering.changed("acme")
    index.releases.set_status("acme", "quarantined", "stolen", ACT)
    rendering.changed("acme")
    assert listed(static, "simple/acme") == []
    assert not file(static, made).exists()
    index.releases.set_status("acme", "active", "", ACT)
    rendering.changed("acme")
    assert file(static, made).exists()


def test_a_blob_that_was_put_right_is_the_one_that_is_sent(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, made := wheel("acme"))
    rendering.changed("acme")
    index.blobs.path(made.sha256).write_bytes(b"damaged")
    again = index.temporary / "again"
    again.write_bytes(made.content)
    index.blobs.put(again, made.sha256)
    assert file(static, made).read_bytes() == b"damaged"
    rendering.changed("acme")
    assert file(static, made).read_bytes() == made.content


@pytest.mark.parametrize("where", ["link", "write"])
def test_a_worker_killed_between_commit_and_page_leaves_it_to_another(
    index: Stored, static: Path, where: str, rendering: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel("acme")
    pid = os.fork()
    if pid == 0:  # the child has connections of its own
        try:
            monkeypatch.setattr(StaticTree, where, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            mine = stored(index.folder)
            record(mine, made)
            renderer(mine, static).changed("acme")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not (static / "simple" / "acme").exists()
    rendering.catch_up()
    assert listed(static, "simple/acme") == [made.filename]
    assert file(static, made).read_bytes() == made.content


def test_workers_that_race_leave_the_newest_page(index: Stored, static: Path, rendering: Renderer) -> None:
    def publish(worker: int) -> None:
        mine = stored(index.folder)
        try:
            ours = renderer(mine, static)
            for number in range(8):
                made = wheel("acme", f"{worker}.{number}")
                record(mine, made)
                ours.changed("acme")
                assert made.filename in listed(static, "simple/acme"), "whoever published sees it"
        finally:
            mine.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(publish, range(3)))
    assert len(listed(static, "simple/acme")) == 24


def test_a_tree_of_another_maker_is_made_anew(index: Stored, static: Path, rendering: Renderer) -> None:
    record(index, wheel("acme"))
    rendering.changed("acme")
    left = static / "c" / "gone" / "simple" / "index.html"
    left.parent.mkdir(parents=True)
    left.touch()
    other = renderer(index, static, "an upgrade")
    other.catch_up()
    assert not left.exists()
    assert listed(static, "simple/acme") != []
    record(index, made := wheel("acme", "2.0.0"))
    rendering.changed("acme")  # one that leaves, and would make it as it was made before
    assert made.filename not in listed(static, "simple/acme")
    other.catch_up()
    assert made.filename in listed(static, "simple/acme")


def test_a_page_that_cannot_be_written_holds_up_no_other_and_is_tried_again(
    index: Stored, static: Path, rendering: Renderer, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = static / "simple" / "acme"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("a file in its place")
    record(index, wheel("acme"), wheel("other"))
    rendering.changed("acme")
    rendering.catch_up()
    rendering.catch_up()
    assert capsys.readouterr().out.count("what a web server sends may be old") == 1, "it is said once"
    assert listed(static, "simple/other") != []
    blocked.unlink()
    rendering.catch_up()
    assert listed(static, "simple/acme") != []


def test_after_a_restore_the_tree_has_nothing_that_the_records_do_not_know(
    index: Stored, static: Path, tmp_path: Path
) -> None:
    record(index, kept := wheel("kept"))
    backup = tmp_path / "backup.tar"
    write_backup(backup, database=index.database, blobs=index.blobs, temporary=index.temporary, at=ACT.at)
    record(index, lost := wheel("lost"))
    renderer_of(index, static).catch_up()
    assert file(static, lost).exists()
    restore(backup, tmp_path / "restored", now_s=time.time(), at=ACT.at)
    again = stored(tmp_path / "restored")
    try:
        renderer_of(again, static).catch_up()
    finally:
        again.close()
    assert not (static / "simple" / "lost").exists()
    assert not file(static, lost).exists()
    assert listed(static, "simple/kept") == [kept.filename]
    assert file(static, kept).samefile(tmp_path / "restored" / again.blobs.path(kept.sha256).relative_to(again.folder))


def test_a_folder_that_was_not_there_is_for_its_group(static: Path, rendering: Renderer) -> None:
    assert static.stat().st_mode & 0o027 == 0


def test_a_folder_into_which_nothing_can_be_linked_is_refused(index: Stored) -> None:
    elsewhere = Path("/proc/pinwheel")  # on another file system, and nobody can make it
    with pytest.raises(UsageError, match="cannot be kept as files"):
        StaticTree(elsewhere, index.folder / "blobs", "us")


def test_a_folder_within_the_data_folder_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = running.run_pinwheel("index.serve", "--data", str(data), "--static", str(data / "static"), "--port", "0")
    assert (done.returncode, "beside it" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_the_server_keeps_the_tree_and_takes_in_what_others_change(tmp_path: Path) -> None:
    static = tmp_path / "static"
    with running.running(tmp_path / "data", "--static", str(static)) as server:
        token = server.token("t", "read", "upload")
        made = wheel("acme")
        running.eventually(lambda: (static / ".made-by").exists())
        assert server.upload(made, token).status == 200
        assert listed(static, "simple/acme") == [made.filename]
        assert file(static, made).read_bytes() == made.content
        index = stored(server.folder)
        try:
            index.releases.yank("acme", "1.0.0", "broken", ACT)
        finally:
            index.close()
        page = static / "simple" / "acme" / "index.html"
        running.eventually(lambda: b"data-yanked" in page.read_bytes())
        (server.folder / "blobs" / made.sha256[:2] / made.sha256).write_bytes(b"damaged")
        assert server.upload(made, token).headers["pinwheel-outcome"] == "already there"
        assert file(static, made).read_bytes() == made.content
