"""Pages: what they say, and that they are current and cheap to ask for again."""

from __future__ import annotations

import gzip
import html.parser
from collections.abc import Callable
from typing import Any

import pytest
from tests.index.making import sdist, wheel
from tests.index.running import call, make_token, names, sha256, upload

from pinwheel.index.entries import FileEntry, Project
from pinwheel.index.server.assembly import Setup, Stored, application
from pinwheel.index.simple import pages
from pinwheel.index.simple.pages import HTML_V1, JSON_V1

JSON = {"Accept": JSON_V1}


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


def anchors(body: bytes) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                found.append(dict(attrs))

    Parser().feed(body.decode())
    return found


def test_the_json_page_says_all_that_the_standards_ask_for(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme-greet", "1.0.0", requires_python=">=3.9")
    served = app()
    assert upload(served, made, token).status == 200
    page = call(served, "GET", "/simple/acme-greet/", token, headers=JSON)
    assert page.headers["content-type"] == JSON_V1
    document = page.json()
    assert document["meta"] == {"api-version": "1.4"}
    assert document["name"] == "acme-greet"
    assert document["versions"] == ["1.0.0"]
    assert document["project-status"] == {"status": "active"}
    (file,) = document["files"]
    assert file["filename"] == made.filename
    assert file["hashes"] == {"sha256": made.sha256}
    assert file["size"] == len(made.content)
    assert file["requires-python"] == ">=3.9"
    assert file["yanked"] is False
    assert file["upload-time"].endswith("Z")
    assert "dist-info-metadata" not in file
    metadata = call(served, "GET", f"/files/{made.sha256}/{made.filename}.metadata", token)
    assert file["core-metadata"] == {"sha256": sha256(metadata.body)}
    assert b"Name: acme-greet" in metadata.body


def test_the_html_page_says_the_same(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme-greet", "1.0.0", requires_python=">=3.9")
    served = app()
    upload(served, made, token)
    page = call(served, "GET", "/simple/acme-greet/", token)
    assert page.headers["content-type"].startswith("text/html")
    assert b'<meta name="pypi:repository-version" content="1.4">' in page.body
    (anchor,) = anchors(page.body)
    assert anchor["href"] == f"../../files/{made.sha256}/{made.filename}#sha256={made.sha256}"
    assert anchor["data-requires-python"] == ">=3.9"
    assert str(anchor["data-core-metadata"]).startswith("sha256=")
    assert "data-yanked" not in anchor
    same = call(served, "GET", "/simple/acme-greet/", token, headers={"Accept": HTML_V1})
    assert same.headers["content-type"] == HTML_V1
    assert same.body == page.body


def test_yanks_and_unknown_sizes_are_shown_as_they_are() -> None:
    entries = (
        FileEntry("a", "a-1.whl", "1", "aa", yanked='broken "badly"'),
        FileEntry("a", "a-2.whl", "2", "bb", yanked="", core_metadata=True),
    )
    page = pages.project_page(Project("a", entries), "../../files/")
    first, second = anchors(page.html.plain)
    assert first["data-yanked"] == 'broken "badly"'
    assert second["data-yanked"] == ""
    assert second["data-core-metadata"] == "true"
    assert b'"yanked":true' in page.json.plain
    assert b'"size"' not in page.json.plain


def test_versions_are_in_order_and_named_once() -> None:
    entries = [FileEntry("a", f"a-{version}.whl", version, "aa") for version in ("1.10", "1.9", "1.9", "2.0rc1")]
    assert pages.versions(entries) == ["1.9", "1.10", "2.0rc1"]


def test_a_page_is_not_sent_again_to_who_has_it(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme"), token)
    for path in ("/simple/", "/simple/acme/"):
        for headers in ({}, JSON, JSON | {"Accept-Encoding": "gzip"}):
            first = call(served, "GET", path, token, headers=headers)
            assert first.headers["cache-control"] == "private, no-cache"
            assert "Accept" in first.headers["vary"]
            again = call(served, "GET", path, token, headers=headers | {"If-None-Match": first.headers["etag"]})
            assert (again.status, again.body) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]


def test_each_form_has_an_etag_of_its_own(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme"), token)
    forms: tuple[dict[str, str], ...] = ({}, JSON, {"Accept-Encoding": "gzip"}, JSON | {"Accept-Encoding": "gzip"})
    etags = {call(served, "GET", "/simple/acme/", token, headers=each).headers["etag"] for each in forms}
    assert len(etags) == 4


def test_the_compressed_page_is_the_page(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme"), token)
    plain = call(served, "GET", "/simple/acme/", token, headers=JSON)
    zipped = call(served, "GET", "/simple/acme/", token, headers=JSON | {"Accept-Encoding": "gzip"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body


def test_head_tells_the_length_and_sends_nothing(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme"), token)
    whole = call(served, "GET", "/simple/acme/", token)
    head = call(served, "HEAD", "/simple/acme/", token)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))


def test_a_page_with_a_known_etag_changes_when_the_project_does(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme", "1.0.0"), token)
    before = call(served, "GET", "/simple/acme/", token, headers=JSON)
    upload(served, wheel("acme", "1.1.0"), token)
    after = call(served, "GET", "/simple/acme/", token, headers=JSON | {"If-None-Match": before.headers["etag"]})
    assert after.status == 200
    assert after.json()["versions"] == ["1.0.0", "1.1.0"]


def test_what_one_worker_publishes_the_other_shows_at_once(index: Stored, token: str) -> None:
    one, other = (application(Setup(index.folder)) for _ in range(2))
    upload(one, wheel("acme", "1.0.0"), token)
    assert call(other, "GET", "/simple/acme/", token, headers=JSON).json()["versions"] == ["1.0.0"]
    upload(one, wheel("acme", "1.1.0"), token)
    upload(one, wheel("beta", "1.0.0"), token)
    assert call(other, "GET", "/simple/acme/", token, headers=JSON).json()["versions"] == ["1.0.0", "1.1.0"]
    assert [each["name"] for each in call(other, "GET", "/simple/", token, headers=JSON).json()["projects"]] == [
        "acme",
        "beta",
    ]


def test_a_page_is_rendered_once_per_change_and_not_per_request(
    app: Callable[..., Any], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    real = pages.project_html

    def counted(project: Project, files_url: str) -> bytes:
        rendered.append(project.name)
        return real(project, files_url)

    monkeypatch.setattr(pages, "project_html", counted)
    served = app()
    upload(served, wheel("acme", "1.0.0"), token)
    upload(served, wheel("acme", "2.0.0"), token)
    assert rendered == [], "nobody has asked"
    for _ in range(5):
        call(served, "GET", "/simple/acme/", token)
    upload(served, wheel("beta"), token)
    for _ in range(5):
        call(served, "GET", "/simple/acme/", token)
    assert rendered == ["acme"]
    upload(served, wheel("acme", "3.0.0"), token)
    call(served, "GET", "/simple/acme/", token)
    assert rendered == ["acme", "acme"]


def test_a_name_that_is_not_normalised_is_redirected(app: Callable[..., Any], token: str) -> None:
    reply = call(app(), "GET", "/simple/Acme_Greet/", token)
    assert (reply.status, reply.headers["location"]) == (301, "../acme-greet/")


def test_what_is_no_project_is_404(app: Callable[..., Any], token: str) -> None:
    served = app()
    for name in ("nothing", "..", "a b", "a\r\nSet-Cookie: x", "\xe4", "-"):
        assert call(served, "GET", f"/simple/{name}/", token).status == 404


def test_the_main_channel_has_an_address_of_its_own(app: Callable[..., Any], token: str) -> None:
    for path, to in (("/c/main/simple/", "../../../simple/"), ("/c/main/simple/acme/", "../../../../simple/acme/")):
        reply = call(app(), "GET", path, token)
        assert (reply.status, reply.headers["location"]) == (301, to)
    assert "\r" not in call(app(), "GET", "/c/main/simple/a\r\nb/", token).headers["location"]


def test_an_sdist_that_does_not_vouch_for_its_dependencies_has_no_metadata_file(
    app: Callable[..., Any], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.index import making

    served = app()
    upload(served, sdist("acme", "2.0.0"), token)
    real = making.metadata
    monkeypatch.setattr(making, "metadata", lambda *about: real(*about).replace(b"2.4", b"2.1"))
    old = sdist("acme", "1.0.0")
    upload(served, old, token)
    page = call(served, "GET", "/simple/acme/", token, headers=JSON)
    assert names(page) == ["acme-1.0.0.tar.gz", "acme-2.0.0.tar.gz"]
    assert ["core-metadata" in each for each in page.json()["files"]] == [False, True]
    assert call(served, "GET", f"/files/{old.sha256}/{old.filename}.metadata", token).status == 404


def test_files_are_immutable_and_come_in_parts_too(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme", padding=100)
    served = app()
    upload(served, made, token)
    path = f"/files/{made.sha256}/{made.filename}"
    whole = call(served, "GET", path, token)
    assert whole.body == made.content
    assert "immutable" in whole.headers["cache-control"]
    part = call(served, "GET", path, token, headers={"Range": "bytes=10-19"})
    assert (part.status, part.body) == (206, made.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(made.content)}"
    changed = call(served, "GET", path, token, headers={"Range": "bytes=10-19", "If-Range": '"other"'})
    assert (changed.status, changed.body) == (200, made.content)
    beyond = call(served, "GET", path, token, headers={"Range": "bytes=99999999-"})
    assert beyond.status == 416
    assert call(served, "GET", path, token, headers={"If-None-Match": whole.headers["etag"]}).status == 304
    assert call(served, "HEAD", path, token).headers["content-length"] == str(len(made.content))


def test_a_large_file_arrives_whole(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme", padding=9 * 2**20)
    served = app()
    upload(served, made, token)
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content


def test_a_file_is_only_found_under_its_hash(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme")
    served = app()
    upload(served, made, token)
    for path in (f"/files/{'0' * 64}/{made.filename}", f"/files/{made.sha256}/other.whl", "/files/x", "/files/"):
        assert call(served, "GET", path, token).status == 404
