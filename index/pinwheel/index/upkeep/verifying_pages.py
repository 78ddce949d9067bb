"""Compare a static tree with what it is made from, page by page, and make anew what is otherwise.

Safe while the server renders: a page is compared while nobody writes it, and one that is pending is nobody's fault.
"""

from __future__ import annotations

from collections.abc import Iterator

from pinwheel.index.entries import FileEntry
from pinwheel.index.routes import METADATA
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.rendering import links_of
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.outbox import ROOTS, Outbox
from pinwheel.index.store.records import Records
from pinwheel.index.upkeep.verifying import Fault

Compared = tuple[Fault, bool]
"""A fault, and whether it was put right."""


def verify_pages(
    records: Records, blobs: FolderBlobs, cache: PageCache, outbox: Outbox, tree: StaticTree, *, repair: bool
) -> Iterator[Compared]:
    """Every page of every channel, and every link to a blob. Raises `NoSpace` when a repair finds no room."""
    if not tree.is_ours():
        yield Fault("the static tree", "it was made in another way; the server makes it anew when it starts"), False
        return
    for page in (ROOTS, *(standing.name for standing in records.standings())):
        found: list[Compared] = []
        with tree.held(page):
            if outbox.serial(page) is None:
                cache.refresh()
                found = [*_of_pages(page, cache, tree, repair), *_of_links(page, records, blobs, tree, repair)]
            # a change that came since is pending by now: it commits with its entry in the outbox
            if outbox.serial(page) is not None:
                continue
        yield from found
    yield from _stray_pages(records, tree, repair)
    yield from _stray_links(records, outbox, tree, repair)


def _of_pages(name: str, cache: PageCache, tree: StaticTree, repair: bool) -> Iterator[Compared]:
    for channel in cache.channels:
        page = cache.project(name, channel) if name != ROOTS else cache.root(channel)
        if tree.differs(channel, name, page):
            if repair:
                tree.write(channel, name, None)  # what has the right size and time would be left as it is
                tree.write(channel, name, page)
            what = f"the page of {name}" if name != ROOTS else "the page of all projects"
            yield Fault(f"{what} in {channel}", "it is not what its records say"), repair


def _of_links(name: str, records: Records, blobs: FolderBlobs, tree: StaticTree, repair: bool) -> Iterator[Compared]:
    for entry in records.project(name).files:
        wanted = {link: blob for link, blob in links_of(entry, blobs).items() if blob.exists()}
        if not tree.has_links(entry.sha256, wanted):
            if repair:
                tree.link(entry.sha256, wanted)
            yield Fault(f"the link to {entry.filename}", "it does not lead to the blob"), repair


def _stray_pages(records: Records, tree: StaticTree, repair: bool) -> Iterator[Compared]:
    """Pages of what these records never knew, as after the restore of a backup."""
    for channel, name in list(tree.pages()):
        if not records.is_private(name):
            if repair:
                tree.write(channel, name, None)
            yield Fault(f"the page of {name} in {channel}", "nothing of that name was ever published here"), repair


def _stray_links(records: Records, outbox: Outbox, tree: StaticTree, repair: bool) -> Iterator[Compared]:
    """Links to what was removed: whoever knows the address could still fetch it."""
    known = {(entry.sha256, entry.filename) for entry in records.every_file()}
    for sha256, link in tree.links():
        filename = link.removesuffix(METADATA)
        if (sha256, filename) in known or _is_there(records.file(filename), sha256) or outbox.pending(1):
            continue
        if repair:
            tree.unlink(sha256, filename)
        yield Fault(f"the link {sha256}/{link}", "it leads to a file that was removed"), repair


def _is_there(entry: FileEntry | None, sha256: str) -> bool:
    return entry is not None and entry.sha256 == sha256
