"""The pull-through cache against an upstream that speaks HTML only, and the names that never leave."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.making import sdist, wheel
from tests.index.running import JSON, Upstream, call, make_token, names, upload

from pinwheel.errors import UsageError
from pinwheel.index.entries import Act
from pinwheel.index.public import mirror
from pinwheel.index.public.configured import Upstreams, from_pip, named, shown
from pinwheel.index.public.listing import read_page, readings
from pinwheel.index.public.upstream import UpstreamClient
from pinwheel.index.server.assembly import Stored


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


def test_a_public_project_comes_through(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    made = wheel("public", "1.2.0")
    upstream.add(made, sdist("public", "1.2.0"))
    served = cached()
    page = call(served, "GET", "/simple/public/", token, headers=JSON)
    assert page.json()["versions"] == ["1.2.0"]
    listed, source = page.json()["files"]
    assert listed["url"] == f"../../files/{made.sha256}/{made.filename}"
    assert listed["upload-time"] == "2024-05-06T07:08:09Z"
    assert listed["requires-python"] == ">=3.8"
    assert listed["core-metadata"] is True
    assert "core-metadata" not in source
    path = f"/files/{made.sha256}/{made.filename}"
    assert call(served, "GET", f"{path}.metadata", token).body.startswith(b"Metadata-Version")
    assert call(served, "GET", path, token).body == made.content
    assert call(served, "GET", path, token, headers={"Range": "bytes=0-3"}).body == made.content[:4]
    assert upstream.requests == ["/simple/public/", f"/files/{made.filename}"]


def test_a_second_time_nobody_is_asked(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    made = wheel("public")
    upstream.add(made)
    for served in (cached(), cached()):  # two workers
        for _ in range(3):
            call(served, "GET", "/simple/public/", token)
            call(served, "GET", f"/files/{made.sha256}/{made.filename}", token)
    assert len(upstream.requests) == 2


def test_many_at_once_cause_one_request_each(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    made = wheel("public", padding=100_000)
    upstream.add(made)
    workers = [cached(), cached()]
    with ThreadPoolExecutor(12) as pool:
        path = f"/files/{made.sha256}/{made.filename}"
        replies = list(pool.map(lambda n: call(workers[n % 2], "GET", path, token), range(12)))
    assert all(reply.body == made.content for reply in replies)
    assert sorted(upstream.requests) == [f"/files/{made.filename}", "/simple/public/"]


def test_a_private_name_never_leaves(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    """Published here, or in a private prefix: also when the store is empty of it and the public one is newer."""
    for name in ("acme-greet", "acme-new", "published"):
        upstream.add(wheel(name, "99.0"))
    served = cached(private=("acme-*",))
    own = wheel("published")
    assert upload(served, own, token).status == 200
    assert names(call(served, "GET", "/simple/published/", token, headers=JSON)) == [own.filename]
    for name in ("acme-greet", "acme-new", "Acme_New", "acme.new"):
        assert call(served, "GET", f"/simple/{name}/", token).status in (301, 404)
    for name in ("acme-greet", "published"):
        public = wheel(name, "99.0")
        for end in ("", ".metadata"):
            assert call(served, "GET", f"/files/{public.sha256}/{public.filename}{end}", token).status == 404
    assert call(served, "GET", "/simple/acme-greet/", "wrong").status == 401
    assert upstream.requests == []


@pytest.mark.parametrize("glob", ["Acme_*", "acme.*", "ACME-greet"])
def test_a_private_glob_protects_however_it_is_written(
    cached: Callable[..., Any], token: str, upstream: Upstream, glob: str
) -> None:
    upstream.add(wheel("acme-greet", "99.0"))
    served = cached(private=(glob,))
    for name in ("acme-greet", "Acme_Greet"):
        assert call(served, "GET", f"/simple/{name}/", token).status in (301, 404)
    assert upstream.requests == []


def test_asking_for_own_files_tells_no_upstream(
    cached: Callable[..., Any], token: str, upstream: Upstream, index: Stored
) -> None:
    for name in ("typo", "ours"):
        upstream.add(wheel(name, "99.0"))
    served, own = cached(), wheel("ours", requires_python=">=3.9")
    upload(served, own, token)
    assert call(served, "GET", "/-/projects/typo", token).json()["files"] == []
    (listed,) = call(served, "GET", "/-/projects/Ours", token).json()["files"]
    (shown,) = call(served, "GET", "/simple/ours/", token, headers=JSON).json()["files"]
    assert listed == shown
    index.releases.remove(own.project, own.version, Act("2024-01-01T00:00:00Z", "t"))
    assert call(served, "GET", "/-/projects/ours", token).json()["files"] == []
    assert upstream.requests == []


def test_a_name_stays_private_when_its_files_are_removed(
    cached: Callable[..., Any], token: str, upstream: Upstream, index: Stored
) -> None:
    upstream.add(wheel("published", "99.0"))
    served, own = cached(), wheel("published")
    upload(served, own, token)
    index.releases.remove(own.project, own.version, Act("2024-01-01T00:00:00Z", "t"))
    assert call(served, "GET", "/simple/published/", token).status == 404
    assert upstream.requests == []


def test_a_name_that_becomes_private_hides_the_public_one_at_once(
    cached: Callable[..., Any], token: str, upstream: Upstream
) -> None:
    public, own = wheel("later", "99.0"), wheel("later", "1.0")
    upstream.add(public)
    served, other = cached(), cached()
    for each in (served, other):
        assert names(call(each, "GET", "/simple/later/", token, headers=JSON)) == [public.filename]
    assert call(served, "GET", f"/files/{public.sha256}/{public.filename}", token).status == 200
    upload(served, own, token)
    for each in (served, other):
        assert names(call(each, "GET", "/simple/later/", token, headers=JSON)) == [own.filename]
        assert call(each, "GET", f"/files/{public.sha256}/{public.filename}", token).status == 404


def test_changed_bytes_are_refused_loudly_and_not_kept(
    cached: Callable[..., Any], token: str, upstream: Upstream, index: Stored, capfd: pytest.CaptureFixture[str]
) -> None:
    made = wheel("public")
    upstream.add(made)
    upstream.tampered.add(made.filename)
    served = cached()
    reply = call(served, "GET", f"/files/{made.sha256}/{made.filename}", token)
    assert (reply.status, made.sha256 in reply.text) == (502, True)
    assert made.sha256 in capfd.readouterr().err
    assert not [file for file in (index.folder / "upstream" / "blobs").rglob("*") if file.is_file()]
    assert list((index.folder / "upstream" / "tmp").iterdir()) == []
    upstream.tampered.clear()
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content


@pytest.mark.parametrize("status", [500, 503, 403, 429])
def test_a_failure_is_never_taken_for_absence(
    cached: Callable[..., Any], token: str, upstream: Upstream, status: int
) -> None:
    upstream.add(wheel("public"))
    upstream.broken = status
    served = cached()
    assert call(served, "GET", "/simple/public/", token).status == 502
    upstream.broken = 0
    assert call(served, "GET", "/simple/public/", token).status == 200


def test_an_upstream_that_is_away_is_a_failure_too(app: Callable[..., Any], token: str) -> None:
    served = app(print, upstreams=Upstreams(("http://127.0.0.1:1/simple/",)))
    assert call(served, "GET", "/simple/public/", token).status == 502


def test_what_nobody_has_is_404_and_asked_for_once(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    served = cached()
    assert [call(served, "GET", "/simple/nothing/", token).status for _ in range(3)] == [404] * 3
    assert upstream.requests == ["/simple/nothing/"]


def test_names_that_nobody_has_fill_neither_disk_nor_memory(
    index: Stored, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "MOST_MISSES", 5)
    monkeypatch.setattr(mirror, "MOST_PAGES", 3)
    cache = mirror.Mirror(index.folder / "upstream", UpstreamClient(Upstreams((upstream.url,)), print))
    for number in range(6):
        upstream.add(wheel(f"there{number}"))
        assert cache.page(f"there{number}") is not None
    for number in range(20):
        assert cache.page(f"nothing{number}") is None
    kept = sorted(file.stem for file in (index.folder / "upstream" / "pages").iterdir())
    assert kept == [f"there{number}" for number in range(6)]
    assert (len(cache._missed_at), len(cache._known)) == (5, 3)
    asked = len(upstream.requests)
    assert [cache.page(name) is None for name in ("there0", "there5", "nothing19")] == [False, False, True]
    assert len(upstream.requests) == asked, "what went from memory is on disk"


def test_a_project_that_left_the_upstream_is_gone_after_its_time(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add(wheel("public"))
    served = cached()
    assert call(served, "GET", "/simple/public/", token).status == 200
    upstream.projects.clear()
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    assert call(served, "GET", "/simple/public/", token).status == 404
    upstream.broken = 500
    assert call(served, "GET", "/simple/public/", token).status == 502


def test_an_old_page_is_better_than_none(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel("public")
    upstream.add(made)
    served = cached()
    assert call(served, "GET", "/simple/public/", token).status == 200
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    upstream.broken = 500
    asked = len(upstream.requests)
    for each in (served, cached()):
        assert names(call(each, "GET", "/simple/public/", token, headers=JSON)) == [made.filename]
        assert call(each, "GET", f"/files/{made.sha256}/{made.filename}", token).status == 502
    assert len(upstream.requests) <= asked + 4, "who has just failed is not asked again at once"


def test_a_page_is_renewed_after_its_time(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add(wheel("public", "1.0.0"))
    served = cached()
    call(served, "GET", "/simple/public/", token)
    upstream.add(wheel("public", "1.1.0"))
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    assert call(served, "GET", "/simple/public/", token, headers=JSON).json()["versions"] == ["1.0.0", "1.1.0"]


def test_files_of_an_upstream_with_a_credential_come_through_and_nobody_else_sees_it(
    app: Callable[..., Any], token: str, upstream: Upstream
) -> None:
    lines: list[str] = []
    made, elsewhere = wheel("public"), wheel("public", "2.0")
    upstream.add(made)
    upstream.credential = "ann:secret"
    named_with = upstream.url.replace("://", "://ann:secret@")
    served = app(lines.append, upstreams=Upstreams((named_with,)))
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
    with running.upstream() as other:
        other.add(elsewhere)
        link = other.url.replace("/simple/", f"/files/{elsewhere.filename}#sha256={elsewhere.sha256}")
        upstream.pages["linked"] = f'<a href="{link.replace("public", "linked")}">x</a>'
        assert call(served, "GET", "/simple/linked/", token, headers=JSON).status == 200
        filename = elsewhere.filename.replace("public", "linked")
        call(served, "GET", f"/files/{elsewhere.sha256}/{filename}", token)
        assert other.seen == [""]
    assert "secret" not in "".join(lines)


def test_files_behind_a_redirected_page_come_through(
    cached: Callable[..., Any], token: str, upstream: Upstream
) -> None:
    made = wheel("public")
    upstream.add(made)
    upstream.moved, upstream.relative = "/mirror/deep/simple-too/", True
    served = cached()
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
    assert upstream.requests[-1] == f"/mirror/deep/files/{made.filename}"


def test_a_file_is_asked_for_by_a_hash_or_not_at_all(
    cached: Callable[..., Any], token: str, upstream: Upstream
) -> None:
    served = cached()
    for nonsense in ("NONSENSE", "A" * 64, "a" * 63, "", "..", "a" * 64 + "\n"):
        for filename in ("public-1.0.0-py3-none-any.whl", "public-1.0.0-py3-none-any.whl.metadata"):
            assert call(served, "GET", f"/files/{nonsense}/{filename}", token).status == 404
    assert upstream.requests == []


def test_each_request_to_an_upstream_is_one_line_of_json(
    cached: Callable[..., Any], token: str, upstream: Upstream
) -> None:
    lines: list[str] = []
    made = wheel("public")
    upstream.add(made)
    served = cached(lines.append)
    call(served, "GET", f"/files/{made.sha256}/{made.filename}", token)
    logged = [json.loads(line) for line in lines]
    assert [(each["log"], each["status"]) for each in logged] == [("upstream", 200)] * 2
    assert logged[0]["url"] == f"{upstream.url}public/"
    assert all(each["seconds"] >= 0 and each["started"] > 1e9 for each in logged)


def test_the_first_upstream_that_has_a_name_wins(
    app: Callable[..., Any], token: str, upstream: Upstream, tmp_path: Path
) -> None:
    """A folder is an upstream too: machines have `file://` indexes in pip's configuration."""
    local, shadowed = wheel("local"), wheel("public", "9.0")
    for made in (local, shadowed):
        folder = tmp_path / "simple" / made.project
        folder.mkdir(parents=True)
        (folder / made.filename).write_bytes(made.content)
        (folder / "index.html").write_text(f'<a href="{made.filename}#sha256={made.sha256}">{made.filename}</a>')
    upstream.add(wheel("public"))
    served = app(print, upstreams=Upstreams((upstream.url, f"file://{tmp_path}/simple")))
    assert call(served, "GET", "/simple/public/", token, headers=JSON).json()["versions"] == ["1.0.0"]
    assert names(call(served, "GET", "/simple/local/", token, headers=JSON)) == [local.filename]
    assert call(served, "GET", f"/files/{local.sha256}/{local.filename}", token).body == local.content
    upstream.broken = 500
    assert call(served, "GET", "/simple/other/", token).status == 502, "the next must not stand in for one that fails"


def test_without_an_upstream_nobody_is_asked(app: Callable[..., Any], token: str, upstream: Upstream) -> None:
    upstream.add(wheel("public"))
    assert call(app(), "GET", "/simple/public/", token).status == 404
    assert upstream.requests == []


def test_an_upstreams_own_metadata_is_used_when_it_has_any() -> None:
    digest = hashlib.sha256(b"meta").hexdigest()
    page = f'<a href="/p-1.0-py3-none-any.whl#sha256={"a" * 64}" data-core-metadata="sha256={digest}">x</a>'
    (file,) = read_page("p", page.encode(), "text/html", "https://host/simple/p/").files
    assert (file.metadata, file.entry.core_metadata) == (digest, digest)
    assert file.url == "https://host/p-1.0-py3-none-any.whl"


def test_a_json_page_is_read_too() -> None:
    entry = {
        "filename": "p-1.0.tar.gz",
        "url": "../../f/p-1.0.tar.gz",
        "hashes": {"sha256": "a" * 64},
        "size": 5,
        "yanked": "bad",
        "upload-time": "2024-01-01T00:00:00Z",
        "core-metadata": {"sha256": "b" * 64},
    }
    (file,) = read_page("p", json.dumps({"files": [entry]}).encode(), "application/x+json", "https://h/simple/p/").files
    assert file.url == "https://h/f/p-1.0.tar.gz"
    assert dataclasses.asdict(file.entry) | {"requires_python": ""} == {
        "project": "p",
        "filename": "p-1.0.tar.gz",
        "version": "1.0",
        "sha256": "a" * 64,
        "size_bytes": 5,
        "core_metadata": "b" * 64,
        "requires_python": "",
        "upload_time": "2024-01-01T00:00:00Z",
        "yanked": "bad",
    }


@pytest.mark.parametrize(
    "filename",
    ["p-1.0.egg", "p-1.0.exe", "q-1.0.tar.gz", "p-one.tar.gz", "p.whl", "p-1.0.tar.gz#md5=x", "..%2fx-1.tar.gz"],
)
def test_files_of_no_use_are_left_out(filename: str) -> None:
    page = f'<a href="https://h/{filename}#sha256={"a" * 64}">x</a>'
    assert read_page("p", page.encode(), "text/html", "https://h/simple/p/").files == ()


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_only_a_page_that_is_a_file_may_name_files_of_this_machine(content_type: str) -> None:
    name = "p-1.0-py3-none-any.whl"

    def listed(folder: str, page: str) -> list[str]:
        entry = {"filename": name, "url": folder + name, "hashes": {"sha256": "a" * 64}}
        anchor = f'<a href="{folder}{name}#sha256={"a" * 64}">x</a>'
        body = json.dumps({"files": [entry]}) if "json" in content_type else anchor
        return [file.url for file in read_page("p", body.encode(), content_type, page).files]

    for folder in ("file:///etc/passwd?x=/", "file:///etc/", "FILE:///etc/", "ftp://h/", "data:,/"):
        assert listed(folder, "https://h/simple/p/") == [], folder
    for folder in ("https://h/", "//h/", "/", "../../"):
        assert listed(folder, "https://h/simple/p/") == [f"https://h/{name}"], folder
    assert listed("../../files/", "file:///srv/simple/p/") == [f"file:///srv/files/{name}"]


def test_a_folder_serves_no_file_from_elsewhere(app: Callable[..., Any], token: str, tmp_path: Path) -> None:
    """Its files are below it or beside it; no link, and no page that was kept, leads further."""
    made, outside = wheel("local"), tmp_path / "outside"
    outside.mkdir()
    for folder in (outside, tmp_path / "index" / "files", tmp_path / "index" / "simple" / "local"):
        folder.mkdir(parents=True, exist_ok=True)
    (outside / made.filename).write_bytes(made.content)
    (tmp_path / "index" / "files" / "linked").symlink_to(outside)
    page = tmp_path / "index" / "simple" / "local" / "index.html"
    path = f"/files/{made.sha256}/{made.filename}"
    kept = tmp_path / "data" / "upstream" / "pages" / "local.json"
    for target in (f"../../../outside/{made.filename}", f"../../files/linked/{made.filename}"):
        page.write_text(f'<a href="{target}#sha256={made.sha256}">{made.filename}</a>')
        served = app(print, upstreams=Upstreams((f"file://{tmp_path}/index/simple",)))
        assert call(served, "GET", path, token).status == 502
        kept.unlink()
    (tmp_path / "index" / "files" / made.filename).write_bytes(made.content)
    page.write_text(f'<a href="../../files/{made.filename}#sha256={made.sha256}">{made.filename}</a>')
    served = app(print, upstreams=Upstreams((f"file://{tmp_path}/index/simple",)))
    assert call(served, "GET", path, token).body == made.content


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{}",
        "<html>",
        "[" * 100_000,
        '{"files": [5]}',
        '{"files": [{"filename": 5, "url": "u"}]}',
        '{"files": [], "meta": {"api-version": "2.0"}}',
        '{"files": [], "meta": 5}',
    ],
)
def test_a_page_that_is_no_page_is_an_error(body: str) -> None:
    with pytest.raises(ValueError, match=r"page|Expecting"):
        read_page("p", body.encode(), "application/json", "https://h/")


def test_values_of_a_wrong_kind_are_not_passed_on() -> None:
    about = {"size": "5", "upload-time": 5, "requires-python": ["3"], "yanked": 1, "core-metadata": {"sha256": 5}}
    file = {"filename": "p-1.0.tar.gz", "url": "/p-1.0.tar.gz", "hashes": {"sha256": "a" * 64}} | about
    (found,) = read_page("p", json.dumps({"files": [file]}).encode(), "application/json", "https://h/").files
    entry = found.entry
    assert (entry.size_bytes, entry.upload_time, entry.requires_python, entry.yanked) == (None, "", "", "")


QUARANTINED = (
    ("text/html", '<meta name="pypi:project-status" content="quarantined">'
     '<meta name="pypi:project-status-reason" content="malware">'),
    ("application/json", json.dumps({"files": [], "project-status": {"status": "quarantined", "reason": "malware"}})),
)  # fmt: skip


@pytest.mark.parametrize(("content_type", "page"), QUARANTINED)
def test_the_status_of_a_project_is_read(content_type: str, page: str) -> None:
    listing = read_page("p", page.encode(), content_type, "https://h/")
    assert (listing.status, listing.reason) == ("quarantined", "malware")
    unknown = page.replace("quarantined", "strange")
    assert read_page("p", unknown.encode(), content_type, "https://h/").status == "active"


def test_what_an_upstream_puts_into_quarantine_is_not_offered_even_when_it_is_here(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = wheel("public")
    upstream.add(made)
    served, path = cached(), f"/files/{made.sha256}/{made.filename}"
    assert call(served, "GET", path, token).status == 200
    upstream.pages["public"] = QUARANTINED[0][1]
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    for each in (served, cached()):
        page = call(each, "GET", "/simple/public/", token, headers=JSON).json()
        assert (page["files"], page["project-status"]) == ([], {"status": "quarantined", "reason": "malware"})
        for end in ("", ".metadata"):
            reply = call(each, "GET", path + end, token)
            assert (reply.status, "quarantine" in reply.text) == (403, True)


def test_a_file_is_fetched_from_where_its_page_has_it_now(
    cached: Callable[..., Any], token: str, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed addresses end, and upstreams move."""
    made = wheel("public")
    upstream.add(made)
    served = cached()
    call(served, "GET", "/simple/public/", token)
    upstream.pages["public"] = f'<a href="/new/files/{made.filename}#sha256={made.sha256}">x</a>'
    monkeypatch.setattr(mirror, "FRESH_S", 0.0)
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
    assert upstream.requests[-1] == f"/new/files/{made.filename}"


@pytest.mark.parametrize(
    ("filename", "found"),
    [
        ("Foo_Bar-1.0-py3-none-any.whl", [("foo-bar", "1.0")]),
        ("foo-1.0-1build-py3-none-any.whl", [("foo", "1.0")]),
        ("foo-bar-1.0.tar.gz", [("foo-bar", "1.0")]),
        ("foo-bar-1.0.zip", [("foo-bar", "1.0")]),
        ("acme_secret-1.0-1.tar.gz", [("acme-secret", "1.0.post1"), ("acme-secret-1-0", "1")]),
        *((nonsense, []) for nonsense in ("x", "", "../x-1.0.tar.gz", "x-1.0.whl", "x-one.tar.gz", "-1.0.tar.gz")),
        *((nonsense, []) for nonsense in ("\u212a-1.0.tar.gz", f"{'x' * 255}-1.0.tar.gz", "x-1.0-a-py3-none-any.whl")),
    ],
)
def test_a_filename_tells_its_project_and_version(filename: str, found: list[tuple[str, str]]) -> None:
    assert list(readings(filename)) == found


def test_no_reading_of_a_private_filename_leaves(cached: Callable[..., Any], token: str, upstream: Upstream) -> None:
    served = cached()
    upload(served, wheel("acme-secret"), token)
    for filename in ("acme_secret-1.0-1.tar.gz", "acme.secret-1.0-1.zip", "Acme-Secret-2.tar.gz"):
        assert call(served, "GET", f"/files/{'a' * 64}/{filename}", token).status == 404
    assert upstream.requests == []


# which upstream


def pip_that_says(monkeypatch: pytest.MonkeyPatch, config: str) -> list[tuple[str, ...]]:
    """Stand in for pip as a process: its configuration, and its built-in default."""
    asked: list[tuple[str, ...]] = []

    def answered(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(tuple(argv))
        return subprocess.CompletedProcess(argv, 0, config if "config" in argv else "https://built.in/simple\n", "")

    monkeypatch.setattr(subprocess, "run", answered)
    return asked


def test_auto_is_what_pip_is_configured_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    config = "\n".join(
        [
            "global.index-url='https://first/simple'",
            "global.extra-index-url='file:///a/simple\\nfile:///b/simple'",
            "global.cert='/etc/ca.pem'",
            ":env:.cert='/env/ca.pem'",
            "install.index-url='https://second/simple'",
        ]
    )
    pip_that_says(monkeypatch, config)
    assert from_pip({}) == Upstreams(("https://second/simple", "file:///a/simple", "file:///b/simple"), "/env/ca.pem")


def test_without_an_index_url_pips_built_in_default_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pip_that_says(monkeypatch, "global.find-links='/opt/wheels'\n")
    assert named("auto", {}) == Upstreams(("https://built.in/simple",))
    assert all("-P" in argv for argv in asked)


def test_auto_works_with_the_real_pip() -> None:
    assert from_pip().urls[0].startswith("http")


def test_an_upstream_can_be_named() -> None:
    assert named("https://host/simple/", {"PIP_CERT": "/ca"}) == Upstreams(("https://host/simple/",), "/ca")
    for nonsense in ("nonsense", "ftp://host/", "https://"):
        with pytest.raises(UsageError):
            named(nonsense, {})


def test_a_credential_in_an_upstreams_address_is_never_shown() -> None:
    assert shown("https://user:secret@host/simple/") == "https://host/simple/"


@pytest.mark.slow
def test_a_real_server_logs_what_it_asks_and_its_workers_share_the_cache(upstream: Upstream, tmp_path: Path) -> None:
    made = wheel("public")
    upstream.add(made)
    with running.running(tmp_path / "data", "--upstream", upstream.url) as server:
        token = server.token("t", "read")
        with ThreadPoolExecutor(8) as pool:
            path = f"/files/{made.sha256}/{made.filename}"
            replies = list(pool.map(lambda _: server.ask("GET", path, token), range(16)))
        assert all(reply.body == made.content for reply in replies)
        running.eventually(lambda: len(server.upstream_requests()) == 2)
        assert {each["url"] for each in server.upstream_requests()} == {
            f"{upstream.url}public/",
            upstream.url.replace("/simple/", f"/files/{made.filename}"),
        }
