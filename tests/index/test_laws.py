"""Laws that hold whatever is uploaded, listed and asked for: identity, archives, forms, pages, ranges, negotiation."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from tests.index.making import sdist, wheel

from pinwheel import archive
from pinwheel.archive import BadArchive, Limits
from pinwheel.index.answers import Stop
from pinwheel.index.entries import FileEntry, Project
from pinwheel.index.intake.upload import received
from pinwheel.index.simple import negotiation, pages

FILES_URL = "../../files/"
MEDIA_TYPES = (pages.JSON_V1, pages.HTML_V1, pages.TEXT_HTML)
few = functools.partial(settings, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

words = st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True)
names = st.lists(words, min_size=1, max_size=3)
releases = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
versions = st.builds(
    lambda epoch, release, *rest: epoch + release + "".join(rest),
    st.sampled_from(["", "1!"]),
    releases,
    st.sampled_from(["", "a1", "rc2"]),
    st.sampled_from(["", ".post3"]),
    st.sampled_from(["", ".dev4"]),
    st.sampled_from(["", "+local.5"]),
)
said = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
sha256s = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")


@st.composite
def spellings(draw: st.DrawFn, name: list[str]) -> str:
    """Another spelling of a name: PEP 503 makes no difference between them."""
    separators = draw(st.lists(st.sampled_from(["_", "-", "."]), min_size=2, max_size=2))
    text = "".join(word + separator for word, separator in zip(name, [*separators, ""], strict=False))
    return draw(st.sampled_from([text, text.upper(), text.title()])).rstrip("-_.")


# identity


@few()
@given(names, versions, st.data())
def test_every_spelling_of_a_name_and_a_version_is_the_same_file(name: list[str], version: str, data: Any) -> None:
    found = archive.name_of(f"{'_'.join(name)}-{version}.tar.gz")
    spelled = data.draw(spellings(name))
    same = archive.name_of(f"{spelled}-{Version(version)}.tar.gz")
    assert (same.name, same.version, same.identity) == (found.name, found.version, found.identity)
    epoch_and_release = re.match(r"[\d.!]*\d", version)
    assert epoch_and_release
    longer = epoch_and_release[0] + ".0" + version[epoch_and_release.end() :]
    assert archive.name_of(f"{spelled}-{longer}.tar.gz").identity == found.identity


@few()
@given(names, names, versions, versions)
def test_two_files_share_an_identity_only_if_name_and_version_are_equal(
    name: list[str], other: list[str], version: str, later: str
) -> None:
    one = archive.name_of(f"{'_'.join(name)}-{version}-py3-none-any.whl")
    two = archive.name_of(f"{'_'.join(other)}-{later}-py3-none-any.whl")
    assert (one.identity == two.identity) is (name == other and Version(version) == Version(later))
    assert one.identity != archive.name_of(f"{'_'.join(name)}-{version}.tar.gz").identity


@few()
@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9._+!-]{1,40}(\.whl|\.tar\.gz)", fullmatch=True))
def test_a_filename_is_a_distributions_or_refused(filename: str) -> None:
    with contextlib.suppress(BadArchive):
        named = archive.name_of(filename)
        assert set(named.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert filename.isascii()
        assert "/" not in filename


# archives


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([wheel("acme", code="x" * 50), sdist("acme", code="x" * 50)]), st.data())
def test_a_damaged_archive_is_refused_or_sound(tmp_path: Path, made: Any, data: Any) -> None:
    content = bytearray(made.content)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    file = tmp_path / "damaged"
    file.write_bytes(content)
    with contextlib.suppress(BadArchive):
        found = archive.read(file, made.filename)
        assert (found.name, str(found.version)) == (made.project, made.version)
    archive.wheel_metadata(file)


@few()
@given(st.binary(max_size=200) | said.map(str.encode), st.sampled_from(["a-1-py3-none-any.whl", "a-1.tar.gz"]))
def test_whatever_the_bytes_are_only_a_bad_archive_is_raised(tmp_path: Path, content: bytes, filename: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadArchive) as raised:
        archive.read(tmp_path / "file", filename, Limits(members=5))
    assert raised.value.reasons


# forms


class InPieces(io.BytesIO):
    """A body that comes in pieces of chance lengths."""

    def __init__(self, body: bytes, chance: random.Random) -> None:
        super().__init__(body)
        self._chance = chance

    def read(self, size: int | None = -1, /) -> bytes:
        size = size or 0
        return super().read(self._chance.randint(1, min(size, 40)) if size else 0)


@few()
@given(
    st.dictionaries(words, st.text(max_size=20) | st.just("\r\n--"), max_size=3),
    st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n--bound", b"\r\n", b"--", b"\r"]), max_size=6),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_a_form_is_the_same_however_its_pieces_fall(
    tmp_path: Path, fields: dict[str, str], content: list[bytes], chance: random.Random, measured: bool
) -> None:
    sent: dict[str, Any] = {**fields, "content": ("acme-1.0.tar.gz", b"".join(content), "application/octet-stream")}
    body, content_type = urllib3.encode_multipart_formdata(sent, boundary="boundary")
    environ = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)) if measured else ""}
    with received(environ | {"wsgi.input": InPieces(body, chance)}, tmp_path) as form:
        assert form.path is not None
        assert form.path.read_bytes() == b"".join(content)
        assert (form.fields, form.faults) == ({name: [value] for name, value in fields.items()}, [])
    cut = chance.randrange(len(body) - len(b"--\r\n"))
    with pytest.raises(Stop), received(environ | {"wsgi.input": InPieces(body[:cut], chance)}, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


# pages

entries = st.builds(
    FileEntry,
    st.just("acme"),
    versions.map(lambda version: f"acme-{version}.tar.gz"),
    versions.map(lambda version: str(Version(version))),
    sha256s,
    st.integers(0, 2**40),
    sha256s | st.booleans(),
    st.sampled_from(["", ">=3.8", ">=3.8,<4,!=3.9.*"]),
    st.datetimes().map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
    st.none() | said,
)
projects = st.builds(
    Project,
    st.just("acme"),
    st.lists(entries, max_size=5, unique_by=lambda entry: entry.filename).map(tuple),
    st.sampled_from(["active", "archived", "deprecated"]),
    said,
)


class Links(HTMLParser):
    """The links of a page, and its `meta`."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[tuple[dict[str, str | None], str]] = []
        self.meta: dict[str | None, str | None] = {}
        self._open: dict[str, str | None] | None = None
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag == "meta":
            self.meta[about.get("name")] = about.get("content")
        self._open = about if tag == "a" else None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.links.append((self._open, data))
            self._open = None


def from_html(page: bytes) -> Iterator[dict[str, Any]]:
    for about, text in Links(page).links:
        url, _, fragment = str(about["href"]).partition("#")
        assert url.startswith(FILES_URL)
        assert unquote(url.rpartition("/")[2]) == text
        metadata = about.get("data-core-metadata") or ""
        yield {
            "filename": text,
            "sha256": fragment.removeprefix("sha256="),
            "requires_python": about.get("data-requires-python") or "",
            "core_metadata": metadata == "true" or metadata.removeprefix("sha256=") or False,
            "yanked": about.get("data-yanked"),
        }


def from_json(page: bytes) -> Iterator[dict[str, Any]]:
    for file in json.loads(page)["files"]:
        metadata, yanked = file.get("core-metadata", False), file["yanked"]
        yield {
            "filename": file["filename"],
            "sha256": file["hashes"]["sha256"],
            "requires_python": file.get("requires-python", ""),
            "core_metadata": metadata["sha256"] if isinstance(metadata, dict) else metadata,
            "yanked": None if yanked is False else "" if yanked is True else yanked,
        }


@few()
@given(projects)
def test_a_page_tells_the_entries_that_it_was_rendered_from_in_both_forms(project: Project) -> None:
    page = pages.project_page(project, FILES_URL)
    wanted = [
        {
            "filename": entry.filename,
            "sha256": entry.sha256,
            "requires_python": entry.requires_python,
            "core_metadata": entry.core_metadata,
            "yanked": entry.yanked,
        }
        for entry in project.files
    ]
    assert list(from_html(page.html.plain)) == wanted
    assert list(from_json(page.json.plain)) == wanted
    document = json.loads(page.json.plain)
    assert [(file["size"], file["upload-time"]) for file in document["files"]] == [
        (entry.size_bytes, entry.upload_time) for entry in project.files
    ]
    assert document["project-status"]["status"] == project.status
    assert Links(page.html.plain).meta["pypi:project-status"] == project.status
    assert document["project-status"].get("reason", "") == project.reason


@few()
@given(st.lists(names.map("-".join), unique=True, max_size=5))
def test_the_root_page_names_the_same_projects_in_both_forms(named: list[str]) -> None:
    page = pages.root_page(named)
    assert [text for _, text in Links(page.html.plain).links] == named
    assert [each["name"] for each in json.loads(page.json.plain)["projects"]] == named


# what is asked for


@few()
@given(st.integers(0, 30), st.integers(0, 40) | st.none(), st.integers(0, 40) | st.none())
def test_a_range_is_what_slicing_gives(size_bytes: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size_bytes))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        wanted = content[-last:] if last else b""
    else:
        wanted = content[first : len(content) if last is None else last + 1]
    try:
        found = negotiation.byte_range(header, size_bytes)
    except ValueError:
        assert wanted == b""
        return
    if found is not None:
        assert content[found[0] : found[1] + 1] == wanted != b""
    else:
        assert first is None is last or (first is not None and last is not None and last < first)


@few()
@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9,-]{0,8}", fullmatch=True), st.integers(0, 20))
def test_whatever_is_asked_as_a_range_lies_within_the_file(header: str, size_bytes: int) -> None:
    with contextlib.suppress(ValueError):
        found = negotiation.byte_range(header, size_bytes)
        assert found is None or 0 <= found[0] <= found[1] < size_bytes


@few()
@given(st.lists(st.tuples(st.sampled_from([*MEDIA_TYPES, "image/png"]), st.integers(0, 10))), st.randoms())
def test_the_order_of_what_is_acceptable_makes_no_difference(
    accepted: list[tuple[str, int]], chance: random.Random
) -> None:
    parts = [f"{name};q={quality / 10}" for name, quality in accepted]
    best = negotiation.media_type(",".join(parts), "")
    chance.shuffle(parts)
    assert negotiation.media_type(" , ".join(parts), "") == best
    weights = {name: max(q for each, q in accepted if each == name) for name, _ in accepted if name in MEDIA_TYPES}
    if any(weights.values()):
        assert weights[best] == max(weights.values())


@few()
@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_said_to_be_acceptable_there_is_an_answer(accept: str, query: str) -> None:
    assert negotiation.media_type(accept, query) in MEDIA_TYPES
    assert negotiation.takes_gzip(accept) in (True, False)
    assert negotiation.has_it(accept, '"a"') in (True, False)
