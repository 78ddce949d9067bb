"""The tasks that look after the data folder."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.errors import PinwheelError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP


@task(
    auto_shortflags=False,
    help={
        "data": DATA_HELP,
        "repair": "put right what can be made from the rest (default: only say)",
        "json": JSON_HELP,
    },
)
def verify(_context: Any, data: str = DATA, repair: bool = False, json: bool = False) -> None:
    """Compare every record with its blob: size and sha256. Safe while the server runs.

    With --repair core metadata that is lost or damaged is read from its distribution again; what is damaged beyond
    that is only named.

    Example:
        pinwheel index.verify --data /srv/index
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.archive import Limits
    from pinwheel.index.assembly import stored
    from pinwheel.index.verifying import repaired
    from pinwheel.index.verifying import verify as compare

    index = stored(Path(data))
    try:
        found = [
            (fault, repair and repaired(fault, index.blobs, Limits())) for fault in compare(index.records, index.blobs)
        ]
        checked = len(index.records.blobs())
    finally:
        index.close()
    if json:
        faults = [{"what": fault.what, "problem": fault.problem, "repaired": done} for fault, done in found]
        console.document({"checked": checked, "faults": faults})
    else:
        for fault, done in found:
            console.data(f"{fault.what}: {fault.problem}{' (repaired)' if done else ''}")
    left = sum(not done for _, done in found)
    if left:
        raise PinwheelError(
            f"{left} of {checked} blobs are not as recorded",
            where=data,
            remedy="`pinwheel index.verify --repair` makes lost metadata again; upload distributions again: "
            "the same bytes replace what is missing or damaged",
        )
    console.say(f"{checked} blobs are as recorded")
