"""What a client asks for is what it gets."""

from __future__ import annotations

import pytest

from pinwheel.index.simple.negotiation import byte_range, has_it, media_type, takes_gzip
from pinwheel.index.simple.pages import HTML_V1, JSON_V1, TEXT_HTML

PIP = f"{JSON_V1}, {HTML_V1};q=0.1, {TEXT_HTML};q=0.01"


@pytest.mark.parametrize(
    ("accept", "query", "answer"),
    [
        ("", "", TEXT_HTML),
        ("*/*", "", TEXT_HTML),
        ("image/png", "", TEXT_HTML),
        (PIP, "", JSON_V1),
        (JSON_V1, "", JSON_V1),
        (HTML_V1, "", HTML_V1),
        (f"{JSON_V1};q=0.1, text/html", "", TEXT_HTML),
        (f"{JSON_V1};q=0, text/html;q=0.2", "", TEXT_HTML),
        (f"{JSON_V1};q=0", "", TEXT_HTML),
        (f"{TEXT_HTML}, {JSON_V1}", "", JSON_V1),
        ("application/vnd.pypi.simple.latest+json", "", JSON_V1),
        ("text/html", "format=application/vnd.pypi.simple.v1%2Bjson", JSON_V1),
        ("text/html", "format=application/vnd.pypi.simple.v1+json", JSON_V1),
        (JSON_V1, "format=text/html", TEXT_HTML),
        (JSON_V1, "format=nonsense", JSON_V1),
        (f"{JSON_V1};q=nonsense, text/html", "", TEXT_HTML),
        (f"{JSON_V1};q=0.5, */*;q=0.8", "", TEXT_HTML),
        (f"{JSON_V1}, */*;q=0.8", "", JSON_V1),
        (f"{JSON_V1};q=0.8, text/*;q=0.5, */*", "", HTML_V1),
        ("text/html;q=0, */*", "", HTML_V1),
        ("text/html;q=0, text/*", "", TEXT_HTML),
        ("text/*", "", TEXT_HTML),
        ("application/*", "", HTML_V1),
        ("application/json", "", TEXT_HTML),
        (f"{HTML_V1};q=0.5, {TEXT_HTML};q=0.5", "", HTML_V1),
        (f"{JSON_V1} ; q=0.2 , {HTML_V1} ; Q=0.3", "", HTML_V1),
        (", ;,;q=1", "", TEXT_HTML),
        ("", "format=application/vnd.pypi.simple.latest%2Bjson&x=1", JSON_V1),
    ],
)
def test_the_best_acceptable_form_is_sent(accept: str, query: str, answer: str) -> None:
    assert media_type(accept, query) == answer


@pytest.mark.parametrize(
    ("header", "zipped"),
    [
        *(("", False), ("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("*", True), ("identity", False)),
        *(("gzip;q=0, *", False), ("*;q=0", False), ("*;q=0, gzip", True), ("x-gzip", True), ("br, *;q=0.1", True)),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: str, zipped: bool) -> None:
    assert takes_gzip(header) is zipped


def test_an_etag_is_known_again() -> None:
    assert has_it('"a"', '"a"')
    assert has_it('W/"a"', '"a"')
    assert has_it('"b", "a"', '"a"')
    assert has_it("*", '"a"')
    assert not has_it('"b"', '"a"')


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", (0, 9)),
        ("bytes=90-", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("Bytes = 0-9", (0, 9)),
        ("bytes=-1000", (0, 99)),
        ("bytes=50-1000", (50, 99)),
        ("bytes=0-1,3-4", None),
        ("bytes=9-1", None),
        ("bytes=-", None),
        ("lines=1-2", None),
    ],
)
def test_a_range_is_the_part_that_exists(header: str, part: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_of_which_nothing_exists_is_an_error(header: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        byte_range(header, 100)
