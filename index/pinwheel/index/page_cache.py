"""The page cache: rendered pages and file entries in memory, never older than the records.

A page is rendered once per change of its project, in the worker that publishes as part of the publication and in
every other when it is first asked for. Each request only compares one number with the database (`Records.stamp`).
"""

from __future__ import annotations

import threading

from pinwheel.index import pages
from pinwheel.index.entries import FileEntry
from pinwheel.index.pages import Page
from pinwheel.index.records import Records

FILES_URL = "../../files/"


class PageCache:
    """Current pages of private projects. Safe to share between threads."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.RLock()
        self._stamp: int | None = None
        self._files_serial = -1
        self._access_serial = -1
        self._root: Page | None = None
        self._pages: dict[str, Page] = {}
        self._entries: dict[str, FileEntry | None] = {}

    @property
    def access_serial(self) -> int:
        """The serial of the access rules as of the last `refresh`."""
        return self._access_serial

    def refresh(self) -> None:
        """Forget what has changed since the last call. Cheap when nothing has."""
        stamp = self._records.stamp()
        if stamp == self._stamp:
            return
        with self._lock:
            # read the serials after the stamp: a change in between raises the stamp again
            serials = self._records.serials()
            if 0 <= self._files_serial != serials.files:
                self._root = None
                changed = set(self._records.changed_since(self._files_serial))
                for name in changed:
                    self._pages.pop(name, None)
                self._entries = {
                    name: entry for name, entry in self._entries.items() if entry and entry.project not in changed
                }
            self._files_serial = serials.files
            self._access_serial = serials.access
            self._stamp = stamp

    def project(self, name: str) -> Page | None:
        """The page of the project with this normalised name, None when it has no files. Call `refresh` before."""
        page = self._pages.get(name)
        if page is None:
            with self._lock:
                entries = self._records.project(name)
                if entries:
                    # names that are nowhere are not kept: there is no end of them
                    page = self._pages[name] = pages.project_page(name, entries, FILES_URL)
        return page

    def names(self) -> tuple[str, ...]:
        """The projects that have files."""
        return self._records.names()

    def is_private(self, name: str) -> bool:
        """Whether this normalised name was ever published here."""
        if name in self._pages:
            return True
        return self._records.is_private(name)

    def publish(self, name: str) -> None:
        """Render the page of a project that has just changed."""
        self.refresh()
        page = self.project(name)
        if page is not None:
            page.render()

    def root(self) -> Page:
        """The page of all projects."""
        page = self._root
        if page is None:
            with self._lock:
                page = self._root = self._root or pages.root_page(self._records.names())
        return page

    def file(self, filename: str) -> FileEntry | None:
        """The entry of a published file."""
        entry = self._entries.get(filename)
        if entry is None:
            with self._lock:
                entry = self._records.file(filename)
                if entry is not None:
                    self._entries[filename] = entry
        return entry
