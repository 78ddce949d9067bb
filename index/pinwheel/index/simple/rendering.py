"""Keep the pages and files of private projects as files, for a web server to send without us.

The order is what counts. The serial of the last change is read first, then what is rendered, and only that serial is
cleared: a change in between stays pending. Whoever dies in the middle leaves the page pending for another. Links come
before the page that names them, and go before the page that does not: a page that names a missing file sends its
readers to the index itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import FileEntry
from pinwheel.index.routes import METADATA
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.outbox import ROOTS, Outbox
from pinwheel.index.store.records import Records

MOST_AT_ONCE = 200
EVERY_S = 1.0


class Renderer:
    """Write what is pending in `outbox` to `tree`. Safe to share between threads; `log` is told what fails."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        blobs: FolderBlobs,
        cache: PageCache,
        tree: StaticTree,
        log: Callable[[str], None],
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._blobs = blobs
        self._cache = cache
        self._tree = tree
        self._log = log
        self._said: set[str] = set()

    def changed(self, project: str) -> None:
        """The project has just changed: readers shall see it as soon as its change is answered."""
        with self._told(), self._tree.steady() as ours:
            if not ours:
                return
            if self._outbox.serial(project) is None:
                self._relink(project)
            self._outbox.clear(self._rendered(project) | self._rendered(ROOTS))

    def catch_up(self) -> None:
        """Render what is pending, also what others left."""
        with self._told():
            self._tree.renewed(self._outbox.fill)
            while self._some_rendered():
                pass
            if self._said and not self._outbox.pending(1):
                self._said.clear()

    def _some_rendered(self) -> bool:
        """Render the next pages; whether more may be pending."""
        with self._tree.steady() as ours:
            pending = self._outbox.pending(MOST_AT_ONCE) if ours else ()
            rendered: dict[str, int] = {}
            all_good = True
            for page in pending:
                good = False
                with self._told():  # a page that fails must not keep the next ones from being rendered
                    rendered |= self._rendered(page)
                    good = True
                all_good = all_good and good
            # one commit for all of them, and before anybody else makes the tree their own
            self._outbox.clear(rendered)
            return bool(pending) and all_good

    def keep_up(self, leaving: threading.Event) -> None:
        """Catch up once a second until `leaving` is set: then those who come make the tree their own."""
        while not leaving.is_set():
            self.catch_up()
            leaving.wait(EVERY_S)

    def _rendered(self, page: str) -> dict[str, int]:
        """Render the page. The serial as of which it is now, nothing when somebody was faster."""
        with self._tree.held(page):
            serial = self._outbox.serial(page)
            if serial is None:
                return {}
            self._cache.refresh()
            if page != ROOTS:
                self._render_project(page)
            else:
                for channel in self._cache.channels:
                    self._tree.write(channel, "", self._cache.root(channel))
            return {page: serial}

    def _relink(self, project: str) -> None:
        """A blob that was damaged is another file once it was put right, and nothing else of the project changes."""
        with self._tree.held(project):
            for entry in self._records.project(project).files:
                self._link(entry)

    def _render_project(self, name: str) -> None:
        files = self._records.project(name).files
        for entry in files:
            self._link(entry)
        for sha256, filename in self._tree.linked(name) - {(each.sha256, each.filename) for each in files}:
            self._tree.unlink(sha256, filename)
        for channel in self._cache.channels:
            self._tree.write(channel, name, self._cache.project(name, channel))

    def _link(self, entry: FileEntry) -> None:
        with contextlib.suppress(FileNotFoundError):  # a missing blob is for `index.verify` to tell
            self._tree.link(entry.sha256, links_of(entry, self._blobs))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What fails stays pending and is tried again in a second; the change itself has happened. It is said once,
        and again only when everything went well in between."""
        try:
            yield
        except (PinwheelError, OSError) as error:
            said = f"pages cannot be kept as files, and what a web server sends may be old: {error}"
            if said not in self._said:
                self._log(said)
            self._said.add(said)


def links_of(entry: FileEntry, blobs: FolderBlobs) -> dict[str, Path]:
    """The names under which a published file is kept, and the blob of each."""
    links = {entry.filename: blobs.path(entry.sha256)}
    if isinstance(entry.core_metadata, str):
        links[entry.filename + METADATA] = blobs.path(entry.core_metadata)
    return links
