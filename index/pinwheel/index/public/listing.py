"""Read the pages of other indexes: Simple API as HTML or JSON, into entries."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pinwheel.index.entries import NAME, SHA256, STATUSES, FileEntry, Status

_SDISTS = (".tar.gz", ".zip", ".tar.bz2")  # what installers of our time can use at all
_TAGS = re.compile(r"(?:[0-9][A-Za-z0-9_.]*-)?[A-Za-z0-9_.]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+")
LONGEST_FILENAME = 255


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file of an upstream: its entry as we list it, where it is, and whether the upstream serves its metadata
    (`True`, or the sha256 of it)."""

    entry: FileEntry
    url: str
    metadata: str | bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A project's page: its usable files in the page's order, and the project's status (PEP 792)."""

    files: tuple[UpstreamFile, ...]
    status: Status = "active"
    reason: str = ""


def read_page(project: str, body: bytes, content_type: str, url: str) -> Listing:
    """The page of a project that was got from `url`.

    Files without a sha256 are left out, because nothing could be verified; so are those of kinds and versions that
    no installer takes, and those that are not at an http(s) address: only a page that is a file itself may name
    files of this machine. Raises `ValueError` when the page is not a page.
    """
    try:
        if content_type.partition(";")[0].strip().endswith("json"):
            document = json.loads(body)
            files = list(_from_json(project, document, url))
            status, reason = _json_status(document)
        else:
            parser = _Anchors()
            parser.feed(body.decode("utf-8", "replace"))
            files = list(_from_html(project, parser, url))
            status, reason = parser.status, parser.reason
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the page is not as the Simple API says: {error!r}") from error
    schemes = ("https://", "http://", "file:") if url.startswith("file:") else ("https://", "http://")
    usable = {file.entry.filename: file for file in files if file.url.startswith(schemes) and _is_address(file.url)}
    return Listing(tuple(usable.values()), next((each for each in STATUSES if each == status), "active"), reason)


def readings(filename: str) -> tuple[tuple[str, str], ...]:
    """The ways to read a filename, as (normalised project, normalised version); none when it is no file for installers.

    A wheel's has one. An sdist's may have two: `a-1.0-1.tar.gz` is version 1.0-1 of `a`, or version 1 of `a-1.0`.
    """
    if len(filename) > LONGEST_FILENAME or not filename.isascii():
        return ()
    if filename.endswith(".whl"):
        name, _, rest = filename.removesuffix(".whl").partition("-")
        version, _, tags = rest.partition("-")
        parts = [(name, version)] if _TAGS.fullmatch(tags) else []
    else:
        suffix = next((each for each in _SDISTS if filename.endswith(each)), "")
        stem = filename.removesuffix(suffix) if suffix else ""
        parts = [(stem[: dash.start()], stem[dash.end() :]) for dash in re.finditer("-", stem)]
    return tuple(
        (canonicalize_name(name), normal)
        for name, version in parts
        if NAME.fullmatch(name) and (normal := _normal(version))
    )


def _from_json(project: str, document: Any, url: str) -> Iterator[UpstreamFile]:
    if not isinstance(document, Mapping) or not isinstance(document.get("files"), list):
        raise ValueError("the page has no files")
    version = str(document.get("meta", {}).get("api-version", "1.0"))
    if version.partition(".")[0] != "1":
        raise ValueError(f"the page has version {version} of the Simple API, of which nothing is known")
    for each in document["files"]:
        metadata = each.get("core-metadata", each.get("dist-info-metadata", False))
        if isinstance(metadata, Mapping):
            metadata = metadata.get("sha256", True)
        yanked = each.get("yanked", False)
        yield from _file(
            project,
            each["filename"],
            _joined(url, _text(each["url"])),
            each.get("hashes", {}).get("sha256", ""),
            size_bytes=_size(each.get("size")),
            metadata=metadata,
            requires_python=_text(each.get("requires-python")),
            upload_time=_text(each.get("upload-time")),
            yanked=_text(yanked) if yanked else None,
        )


def _json_status(document: Any) -> tuple[str, str]:
    told = document.get("project-status")
    return (_text(told.get("status")), _text(told.get("reason"))) if isinstance(told, Mapping) else ("", "")


def _text(value: object) -> str:
    """A text that can be written: JSON can say half of a character."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _joined(base: str, href: str) -> str:
    """The whole address, empty when that makes no sense."""
    try:
        return urljoin(base, href)
    except ValueError:
        return ""


def _is_address(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _from_html(project: str, parser: _Anchors, url: str) -> Iterator[UpstreamFile]:
    for attributes in parser.anchors:
        href, _, fragment = (attributes.get("href") or "").partition("#")
        # most pages give whole addresses, and joining them is what would take the longest here
        target = href if href.startswith(("https://", "http://")) else _joined(url, href)
        metadata = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata"))
        yield from _file(
            project,
            unquote(target.partition("?")[0].rpartition("/")[2]),
            target,
            fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else "",
            metadata=metadata.removeprefix("sha256=") if metadata else False,
            requires_python=attributes.get("data-requires-python") or "",
            upload_time=attributes.get("data-upload-time") or "",
            yanked=(attributes["data-yanked"] or "") if "data-yanked" in attributes else None,
        )


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: list[dict[str, str | None]] = []
        self.status = self.reason = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.anchors.append(dict(attrs))
        elif tag == "meta":
            about = dict(attrs)
            match about.get("name"):
                case "pypi:project-status":
                    self.status = about.get("content") or ""
                case "pypi:project-status-reason":
                    self.reason = about.get("content") or ""


def _file(
    project: str,
    filename: str,
    url: str,
    sha256: str,
    *,
    metadata: str | bool,
    requires_python: str,
    upload_time: str,
    yanked: str | None,
    size_bytes: int | None = None,
) -> Iterator[UpstreamFile]:
    version = _version(filename, project)
    if not version or not SHA256.fullmatch(sha256) or "/" in filename:
        return
    offered: str | bool = metadata if isinstance(metadata, str) and SHA256.fullmatch(metadata) else bool(metadata)
    # a wheel's metadata can always be had: by fetching the wheel, which whoever asks wants next anyway
    core_metadata = offered or filename.endswith(".whl")
    yield UpstreamFile(
        FileEntry(
            project,
            filename,
            version,
            sha256,
            size_bytes,
            core_metadata,
            requires_python,
            upload_time,
            yanked,
        ),
        url,
        offered,
    )


def _version(filename: str, project: str) -> str:
    """The version that a filename tells, normalised; empty when it is no file of the project or of no use."""
    return next((version for name, version in readings(filename) if name == project), "")


@functools.lru_cache(maxsize=4096)
def _normal(version: str) -> str:
    """The version as `packaging` prints it; empty when it is none. Of a release there are many files in a row."""
    try:
        return str(Version(version))
    except InvalidVersion:
        return ""
