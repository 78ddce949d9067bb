"""The page cache: rendered pages and file entries in memory, never older than the records.

A page is rendered once per change of its project, in each worker that is asked for it: fifty uploads to one project at
which nobody looks meanwhile are one page. Each request only compares one value (`Records.state`), and whether a name is
ours is known without asking the database at all.
"""

from __future__ import annotations

import threading

from pinwheel.index.channels import MAIN, Channels
from pinwheel.index.entries import FileEntry
from pinwheel.index.recent import Recent
from pinwheel.index.simple import pages
from pinwheel.index.simple.pages import Page
from pinwheel.index.store.records import Records

MOST_MISSES = 4096


class PageCache:
    """Current pages of private projects. Safe to share between threads."""

    def __init__(self, records: Records, channels: Channels = Channels()) -> None:  # noqa: B008 - frozen
        self._records = records
        self._visible = {each: channels.visible(each) for each in (MAIN, *channels.promotable)}
        self._lock = threading.Lock()
        self._state: object = None
        self._files_serial = -1
        self._access_serial = -1
        self._standings: dict[str, frozenset[str]] = {}
        self._roots: dict[str, Page] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._pages: dict[tuple[str, str], Page] = {}
        self._entries: dict[str, FileEntry] = {}
        self._filenames: dict[str, list[str]] = {}
        self._misses: Recent[str, bool] = Recent(MOST_MISSES)

    def state(self) -> object:
        """As `Records.state`."""
        return self._records.state()

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that have pages."""
        return tuple(self._visible)

    @property
    def access_serial(self) -> int:
        """The serial of the access rules as of the last `refresh`."""
        return self._access_serial

    def refresh(self) -> None:
        """Forget what has changed since the last call. Cheap when nothing has. Raises `Busy`."""
        state = self._records.state()
        if state is self._state or state == self._state:
            return
        with self._lock:
            # read the serials after the state: a change in between makes it another state
            serials = self._records.serials()
            if self._files_serial != serials.files:
                for standing in self._records.standings(self._files_serial):
                    self._forget(standing.name, standing.channels)
                # names that are nowhere are endless, so only the last ones are kept, and none past a change
                self._misses = Recent(MOST_MISSES)
            self._files_serial = serials.files
            self._access_serial = serials.access
            self._state = state

    def _forget(self, name: str, channels: frozenset[str]) -> None:
        before = self._standings.get(name, frozenset())
        self._standings[name] = channels
        for channel, visible in self._visible.items():
            self._pages.pop((channel, name), None)
            if before.isdisjoint(visible) != channels.isdisjoint(visible):
                self._names.pop(channel, None)
                self._roots.pop(channel, None)
        for filename in self._filenames.pop(name, ()):
            self._entries.pop(filename, None)

    def project(self, name: str, channel: str = MAIN) -> Page | None:
        """The page of the project with this normalised name, None when it has no files there. Call `refresh` before."""
        visible = self._visible.get(channel)
        channels = self._standings.get(name)
        if visible is None or channels is None or channels.isdisjoint(visible):
            return None
        page = self._pages.get((channel, name))
        if page is None:
            # whoever comes first, all who ask wait for one rendering
            page = self._pages.setdefault((channel, name), self._page(name, channel, visible))
        return page

    def _page(self, name: str, channel: str, visible: frozenset[str]) -> Page:
        files_url = pages.FILES_URL if channel == MAIN else pages.FILES_URL_OF_CHANNELS
        return Page(
            lambda: pages.project_html(self._records.project(name, visible), files_url),
            lambda: pages.project_json(self._records.project(name, visible), files_url),
        )

    def names(self, channel: str = MAIN) -> tuple[str, ...]:
        """The projects that have files there, sorted."""
        names = self._names.get(channel)
        if names is None:
            visible = self._visible.get(channel, frozenset())
            with self._lock:
                listed = (name for name, channels in self._standings.items() if not channels.isdisjoint(visible))
                names = tuple(sorted(listed))
                if visible:
                    self._names[channel] = names
        return names

    def is_private(self, name: str) -> bool:
        """Whether this normalised name was ever published here."""
        return name in self._standings

    def root(self, channel: str = MAIN) -> Page:
        """The page of all projects that have files there."""
        page = self._roots.get(channel)
        if page is None:
            names = self.names(channel)
            page = pages.root_page(names)
            with self._lock:
                if self._names.get(channel) is names:
                    page = self._roots.setdefault(channel, page)
        return page

    def file(self, filename: str) -> FileEntry | None:
        """The entry of a published file."""
        entry = self._entries.get(filename)
        misses = self._misses
        if entry is not None or misses.get(filename):
            return entry
        serial = self._files_serial
        entry = self._records.file(filename)
        if entry is None:
            misses.put(filename, True)
            return None
        with self._lock:
            # what was read before a change that has been taken in meanwhile must not stay
            if serial == self._files_serial:
                self._entries[filename] = entry
                self._filenames.setdefault(entry.project, []).append(filename)
        return entry
