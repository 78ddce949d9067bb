"""`pinwheel index.verify`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from invoke import task

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pinwheel.index.server.assembly import Stored
    from pinwheel.index.upkeep.verifying_pages import Compared


@task(
    help={
        "data": DATA_HELP,
        "static": "the folder that `index.serve --static` names: compare its pages and links too (default: none)",
        "repair": "put right what can be made from the rest (default: only say)",
        "json": JSON_HELP,
    },
)
def verify(_context: Any, data: str = DATA, static: str = "", repair: bool = False, json: bool = False) -> None:
    """Compare the records with themselves, with every blob (size and sha256), and with pages that are kept as files.

    Safe while the server runs. With --repair, core metadata that is lost or damaged is read from its distribution
    again, and pages and links are made anew; a distribution that is lost or damaged is only named. Exits 1 when
    something stays wrong.

    Example:
        pinwheel index.verify --data /srv/index --static /srv/static --repair
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.server.assembly import stored

    if static and not Path(static).is_dir():
        raise UsageError("there is no such folder", where=f"--static {static}", remedy="name the one of index.serve")
    index = stored(Path(data))
    try:
        checked = len(index.records.blobs())
        found = list(_of_data(index, checked, repair=repair))
        if static:
            found += _of_pages(index, Path(static), repair=repair)
    finally:
        index.close()
    if json:
        rows = [{"what": fault.what, "problem": fault.problem, "repaired": done} for fault, done in found]
        console.document({"checked": checked, "faults": rows})
    else:
        for fault, done in found:
            console.data(f"{fault.what}: {fault.problem}{' (repaired)' if done else ''}")
    left = sum(not done for _, done in found)
    if left:
        raise PinwheelError(
            f"not everything is as recorded: {left} faults, {checked} blobs compared",
            where=data,
            remedy="--repair makes metadata, pages and links anew; upload lost distributions again, "
            "the same bytes replace what is missing or damaged",
        )
    console.say(f"{checked} blobs are as recorded")


def _of_data(index: Stored, checked: int, *, repair: bool) -> Iterator[Compared]:
    from pinwheel import console
    from pinwheel.archive import Limits
    from pinwheel.index.store.database import DATABASE
    from pinwheel.index.upkeep.verifying import repaired, verify_database
    from pinwheel.index.upkeep.verifying import verify as compare

    with console.counted("verifying", checked, "blobs") as progress:
        blobs = compare(index.records, index.blobs, lambda _bytes: progress.advance())
        for fault in itertools.chain(verify_database(index.database, DATABASE), blobs):
            yield fault, repair and repaired(fault, index.blobs, Limits())


def _of_pages(index: Stored, static: Path, *, repair: bool) -> Iterator[Compared]:
    from pinwheel import config
    from pinwheel.index.commands.options import channels_of
    from pinwheel.index.server.assembly import tree_of
    from pinwheel.index.simple.page_cache import PageCache
    from pinwheel.index.store.outbox import DatabaseOutbox
    from pinwheel.index.upkeep.verifying_pages import verify_pages

    channels = channels_of(config.load())
    cache = PageCache(index.records, channels)
    tree = tree_of(static, index, channels)
    outbox = DatabaseOutbox(index.database)
    return verify_pages(index.records, index.blobs, cache, outbox, tree, repair=repair)
