"""Pages of other indexes are read or refused: whatever they hold, nothing else happens."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from pinwheel.index.entries import Project
from pinwheel.index.public.listing import Listing, read_page, readings
from pinwheel.index.public.sightings import document, restored, seen
from pinwheel.index.simple import pages

TEXT = st.text(st.characters(), max_size=20)  # with lone surrogates, which JSON can say and UTF-8 cannot
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FILES = st.fixed_dictionaries(
    {
        "filename": st.sampled_from(["p-1.0.tar.gz", "P-1.0-1.tar.gz", "p-1.0-py3-none-any.whl", "p-1!1.0+a.zip"])
        | ANYTHING,
        "url": st.sampled_from(["p", "https://h/p", "//h/\ud800", "http://[", "file:///etc/passwd"]) | ANYTHING,
        "hashes": st.just({"sha256": "a" * 64}) | ANYTHING,
    },
    optional={
        "size": ANYTHING,
        "yanked": ANYTHING,
        "upload-time": ANYTHING,
        "requires-python": ANYTHING,
        "core-metadata": st.just({"sha256": "b" * 64}) | ANYTHING,
    },
)
STATUS = st.fixed_dictionaries({}, optional={"status": ANYTHING, "reason": ANYTHING})
PAGES = st.fixed_dictionaries(
    {"files": st.lists(FILES, max_size=3)}, optional={"project-status": STATUS, "meta": ANYTHING}
)


def shown(listing: Listing) -> None:
    """What a listing becomes: a page in both forms, and a document that is read back."""
    project = Project("p", tuple(file.entry for file in listing.files), listing.status, listing.reason)
    page = pages.project_page(project, "../../files/")
    assert page.html
    assert len(json.loads(page.json.plain)["files"]) == len(listing.files)
    known = seen(None, listing, 0.0, source="s")
    assert restored("p", json.loads(json.dumps(document(known)))) == known


@given(PAGES)
@example(
    {"files": [{"filename": "p-1.0.zip", "url": "p", "hashes": {"sha256": "a" * 64}, "size": True, "yanked": "\ud800"}]}
)
def test_a_json_page_is_read_or_refused(page: Any) -> None:
    try:
        listing = read_page("p", json.dumps(page).encode(), "application/json", "https://h/simple/p/")
    except ValueError:
        return
    shown(listing)
    for file in listing.files:
        assert file.url.startswith(("https://", "http://"))
        assert file.entry.size_bytes is None or (type(file.entry.size_bytes) is int and file.entry.size_bytes >= 0)


@given(st.lists(st.sampled_from(
    ["<a ", "</a>", 'href="', '"', "p-1.0.tar.gz", "#sha256=", "a" * 64, ">", "&#xD800;", "&amp;", "<!--", "<![CDATA[",
     "data-yanked", "=", "//[", "<meta name='pypi:project-status-reason' content='", "'", "\x00", " "]
), max_size=30).map("".join))  # fmt: skip
def test_an_html_page_is_read_or_refused(page: str) -> None:
    try:
        listing = read_page("p", page.encode("utf-8", "surrogatepass"), "text/html", "https://h/simple/p/")
    except ValueError:
        return
    shown(listing)


@given(
    st.text(max_size=300) | st.lists(st.sampled_from(["a", "-", "1", ".", "0", "_", "py3"]), max_size=60).map("".join)
)
def test_every_filename_is_read_or_none_of_ours(stem: str) -> None:
    for suffix in (".whl", ".tar.gz", ".zip", ""):
        for project, version in readings(stem + suffix):
            assert (project + version).isascii()
            assert project == project.lower()
