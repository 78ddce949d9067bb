"""The whole matrix of the Simple API over HTTP, against a real server (PEP 503, 658, 691, 714; RFC 9110)."""

from __future__ import annotations

import gzip
import io
import itertools
import zipfile
from dataclasses import dataclass

import pytest
from tests.index.making import Made, sdist, wheel
from tests.index.running import Reply, Server

from pinwheel.index.simple.pages import HTML_V1, JSON_V1, TEXT_HTML

FORMS = {  # what is asked for, and the Content-Type that comes
    "": f"{TEXT_HTML}; charset=utf-8",
    "*/*": f"{TEXT_HTML}; charset=utf-8",
    TEXT_HTML: f"{TEXT_HTML}; charset=utf-8",
    HTML_V1: HTML_V1,
    JSON_V1: JSON_V1,
    f"{JSON_V1}, {HTML_V1};q=0.2, {TEXT_HTML};q=0.01": JSON_V1,
    f"{JSON_V1};q=0.1, {HTML_V1};q=0.2": HTML_V1,
    f"{JSON_V1};q=0, {HTML_V1};q=0": f"{TEXT_HTML}; charset=utf-8",
    "image/png": f"{TEXT_HTML}; charset=utf-8",
    "application/vnd.pypi.simple.latest+json": JSON_V1,
    "application/vnd.pypi.simple.v9+json": f"{TEXT_HTML}; charset=utf-8",
}
ENCODINGS = {"": False, "gzip": True, "gzip;q=0, *": False, "br, gzip;q=0.3": True, "identity": False}
PAGES = ("/simple/", "/simple/standard-acme/")


@dataclass(frozen=True)
class There:
    """A server that has a wheel and an sdist of standard-acme, and how to ask it."""

    server: Server
    token: str
    made: Made

    @property
    def file(self) -> str:
        return f"/files/{self.made.sha256}/{self.made.filename}"

    def ask(self, path: str, method: str = "GET", **headers: str) -> Reply:
        named = {key.replace("_", "-"): value for key, value in headers.items() if value}
        return self.server.ask(method, path, self.token, headers=named)


@pytest.fixture(scope="module")
def there(server: Server) -> There:
    token, made = server.token("standards", "read", "upload"), wheel("standard-acme", padding=3000)
    for each in (made, sdist("standard-acme")):
        assert server.upload(each, token).status == 200
    return There(server, token, made)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_comes_in_the_form_and_coding_that_is_asked_for(there: There, path: str) -> None:
    for (accept, kind), (encoding, zipped) in itertools.product(FORMS.items(), ENCODINGS.items()):
        got = there.ask(path, Accept=accept, Accept_Encoding=encoding)
        about = (accept, encoding)
        assert (got.status, got.headers["content-type"]) == (200, kind), about
        assert got.headers["vary"] == "Accept, Accept-Encoding", about
        assert ("content-encoding" in got.headers) is zipped, about
        assert int(got.headers["content-length"]) == len(got.body), about
        plain = gzip.decompress(got.body) if zipped else got.body
        assert plain == there.ask(path, Accept=accept).body, about
        assert plain.startswith(b"{" if kind == JSON_V1 else b"<!DOCTYPE html>"), about


@pytest.mark.parametrize("path", PAGES)
def test_the_query_wins_over_the_header(there: There, path: str) -> None:
    for form in (JSON_V1, HTML_V1, TEXT_HTML):
        for written in (form, form.replace("+", "%2B").replace("/", "%2F")):
            got = there.ask(f"{path}?format={written}", Accept="image/png")
            assert got.headers["content-type"].partition(";")[0] == form
    assert there.ask(f"{path}?format=nonsense", Accept=JSON_V1).headers["content-type"] == JSON_V1


@pytest.mark.parametrize("path", PAGES)
def test_each_representation_has_an_etag_of_its_own_and_is_sent_once(there: There, path: str) -> None:
    etags = {}
    for accept, encoding in itertools.product((JSON_V1, HTML_V1), ("", "gzip")):
        first = there.ask(path, Accept=accept, Accept_Encoding=encoding)
        etags[accept, encoding] = etag = first.headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = there.ask(path, Accept=accept, Accept_Encoding=encoding, If_None_Match=known)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["etag"] == etag
            assert {"vary", "cache-control"} <= again.headers.keys()
        assert there.ask(path, Accept=accept, Accept_Encoding=encoding, If_None_Match='"other"').status == 200
    assert len(set(etags.values())) == 4


@pytest.mark.parametrize(
    "path",
    [
        *(*PAGES, "/simple/nothing-of-the-kind/", "/simple/Standard_Acme/", "/packages/", "/", "/standard-acme/json"),
        *("/-/health", "/-/ready", "/-/whoami", "/-/projects/standard-acme", "/-/events", "/-/nothing"),
    ],
)
def test_head_says_what_get_would_say_and_sends_nothing(there: There, path: str) -> None:
    for accept in (JSON_V1, TEXT_HTML):
        got, head = (there.ask(path, method, Accept=accept) for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (got.status, b"")
        for name in ("content-type", "content-length", "etag", "vary", "cache-control", "location"):
            assert head.headers.get(name) == got.headers.get(name), name


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/simple", "simple/"),
        ("/simple/standard-acme", "standard-acme/"),
        ("/simple/Standard_.Acme", "standard-acme/"),
        ("/simple/Standard_.Acme/", "../standard-acme/"),
        ("/simple/Standard.Acme/?format=x%2By", "../standard-acme/?format=x%2By"),
        ("/c/main/simple/standard-acme/", "../../../../simple/standard-acme/"),
    ],
)
def test_other_spellings_lead_to_the_one_address(there: There, path: str, to: str) -> None:
    for method in ("GET", "HEAD"):
        got = there.ask(path, method)
        assert (got.status, got.headers["location"]) == (301, to)


@pytest.mark.parametrize("path", ["/simple/standard-acme/", "/files/{sha256}/x.whl", "/packages/x.whl", "/-/health"])
def test_what_is_read_is_read_only(there: There, path: str) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        got = there.ask(path.format(sha256=there.made.sha256), method)
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD"), method


# files


def test_a_file_and_its_metadata_are_sent_whole(there: There) -> None:
    with zipfile.ZipFile(io.BytesIO(there.made.content)) as opened:
        metadata = opened.read("standard_acme-1.0.0.dist-info/METADATA")
    for path, body in ((there.file, there.made.content), (there.file + ".metadata", metadata)):
        got, head = there.ask(path), there.ask(path, "HEAD")
        assert (got.status, got.body) == (200, body)
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(body)))
        for reply in (got, head):
            assert reply.headers["accept-ranges"] == "bytes"
            assert reply.headers["content-type"] == "application/octet-stream"
            assert "immutable" in reply.headers["cache-control"]
        assert there.ask(path, If_None_Match=got.headers["etag"]).status == 304


def test_a_single_range_of_a_file(there: There) -> None:
    size, content = len(there.made.content), there.made.content
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        (f"bytes={size - 5}-", size - 5, size - 1),
        ("bytes=-5", size - 5, size - 1),
        (f"bytes=-{size * 2}", 0, size - 1),
        (f"bytes=10-{size * 2}", 10, size - 1),
    ):
        got = there.ask(there.file, Range=asked)
        assert (got.status, got.body) == (206, content[first : last + 1]), asked
        assert got.headers["content-range"] == f"bytes {first}-{last}/{size}", asked
        assert got.headers["content-length"] == str(last - first + 1), asked


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=5-1", "bytes=x", "lines=1-2", "bytes=-", "bytes"])
def test_ranges_that_are_not_single_or_sound_get_the_whole(there: There, asked: str) -> None:
    got = there.ask(there.file, Range=asked)
    assert (got.status, got.body) == (200, there.made.content)


def test_a_range_of_which_nothing_exists_is_416(there: There) -> None:
    size = len(there.made.content)
    for asked in (f"bytes={size}-", "bytes=-0", f"bytes={10**30}-"):
        got = there.ask(there.file, Range=asked)
        assert (got.status, got.headers["content-range"]) == (416, f"bytes */{size}"), asked


def test_a_range_counts_only_for_get_and_for_the_file_that_is_known(there: There) -> None:
    etag = there.ask(there.file).headers["etag"]
    assert there.ask(there.file, Range="bytes=0-4", If_Range=etag).status == 206
    for other in ('"other"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert there.ask(there.file, Range="bytes=0-4", If_Range=other).status == 200
    assert there.ask(there.file, "HEAD", Range="bytes=0-4").status == 200
    assert there.ask(there.file, Range="bytes=0-4", If_None_Match=etag).status == 304
