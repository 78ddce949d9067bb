"""Pages of the Simple API, rendered from entries: HTML and JSON, each with its gzip copy and ETags.

HTML: PEP 503, 592, 629, 658, 714. JSON: PEP 691, 700, 740, 792. Both say API version 1.4.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from pinwheel.index.entries import FileEntry, Project

API_VERSION = "1.4"
JSON_V1 = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"
TEXT_HTML = "text/html"
FILES_URL = "../../files/"  # as seen from two levels down: /simple/NAME/, /-/projects/NAME
FILES_URL_OF_CHANNELS = "../../../../files/"  # as seen from /c/CHANNEL/simple/NAME/


@dataclass(frozen=True, slots=True)
class Copy:
    """One form of a page as it is sent: its bytes, plain and compressed, each with its own ETag."""

    plain: bytes
    zipped: bytes
    plain_etag: str
    zipped_etag: str

    @classmethod
    def of(cls, plain: bytes) -> Copy:
        digest = hashlib.sha256(plain).hexdigest()[:32]
        # mtime 0: the same page must have the same bytes in every worker
        return cls(plain, gzip.compress(plain, 6, mtime=0), f'"{digest}"', f'"{digest}-gz"')


class Page:
    """A page in the two forms that there are (both HTML media types share one). A form is rendered once, when
    it is first asked for; of many who ask at once one renders."""

    def __init__(self, html: Callable[[], bytes], json: Callable[[], bytes]) -> None:
        self._make = (html, json)
        self._copies: list[Copy | None] = [None, None]
        self._lock = threading.Lock()  # its own: nobody waits for the rendering of another page

    @property
    def html(self) -> Copy:
        return self._copies[0] or self._made(0)

    @property
    def json(self) -> Copy:
        return self._copies[1] or self._made(1)

    def _made(self, form: int) -> Copy:
        with self._lock:
            copy = self._copies[form]
            if copy is None:
                copy = self._copies[form] = Copy.of(self._make[form]())
            return copy


def project_page(project: Project, files_url: str) -> Page:
    """The page of a project. `files_url` is the relative address of `/files/` as seen from the page."""
    return Page(lambda: project_html(project, files_url), lambda: project_json(project, files_url))


def root_page(names: Iterable[str]) -> Page:
    """The page that lists the projects."""
    names = list(names)
    links = "".join(f'<a href="{name}/">{name}</a><br>\n' for name in names)
    document = {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    return Page(lambda: _document("Simple index", "", links), lambda: _compact(document))


def file_url(entry: FileEntry, files_url: str) -> str:
    return f"{files_url}{entry.sha256}/{quote(entry.filename)}"


def project_json(project: Project, files_url: str) -> bytes:
    document = {
        "meta": {"api-version": API_VERSION},
        "name": project.name,
        "project-status": status_document(project),
        "versions": versions(project.files),
        "files": [file_document(entry, files_url) for entry in project.files],
    }
    return _compact(document)


def status_document(project: Project) -> dict[str, str]:
    """How the project stands, as PEP 792 describes it."""
    return {"status": project.status} | ({"reason": project.reason} if project.reason else {})


def versions(entries: Iterable[FileEntry]) -> list[str]:
    """Every version that has a file, once, in order (PEP 700)."""
    return [str(version) for version in sorted({Version(entry.version) for entry in entries if entry.version})]


def file_document(entry: FileEntry, files_url: str) -> dict[str, Any]:
    """The file as PEP 691 and 700 describe it."""
    document: dict[str, Any] = {
        "filename": entry.filename,
        "url": file_url(entry, files_url),
        "hashes": {"sha256": entry.sha256},
    }
    if entry.requires_python:
        document["requires-python"] = entry.requires_python
    if entry.size_bytes is not None:
        document["size"] = entry.size_bytes
    if entry.upload_time:
        document["upload-time"] = entry.upload_time
    document["yanked"] = False if entry.yanked is None else entry.yanked or True
    if entry.core_metadata:
        # not also under the older key: pip 22 and 23 crash on a dict there
        known = isinstance(entry.core_metadata, str)
        document["core-metadata"] = {"sha256": entry.core_metadata} if known else True
    return document


def project_html(project: Project, files_url: str) -> bytes:
    links = []
    for entry in project.files:
        attributes = f' href="{html.escape(file_url(entry, files_url))}#sha256={entry.sha256}"'
        if entry.requires_python:
            attributes += f' data-requires-python="{html.escape(entry.requires_python)}"'
        if entry.core_metadata:
            known = isinstance(entry.core_metadata, str)
            attributes += f' data-core-metadata="{f"sha256={entry.core_metadata}" if known else "true"}"'
        if entry.yanked is not None:
            attributes += f' data-yanked="{html.escape(entry.yanked)}"'
        links.append(f"<a{attributes}>{html.escape(entry.filename)}</a><br>\n")
    status = f'<meta name="pypi:project-status" content="{project.status}">\n'
    if project.reason:
        status += f'<meta name="pypi:project-status-reason" content="{html.escape(project.reason)}">\n'
    return _document(f"Links for {project.name}", status, "".join(links))


def _document(title: str, more: str, body: str) -> bytes:
    return (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta charset="utf-8">\n<meta name="pypi:repository-version" content="{API_VERSION}">\n{more}'
        f"<title>{html.escape(title)}</title>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}</body>\n</html>\n"
    ).encode()


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
