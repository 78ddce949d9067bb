"""The tasks that look after the data folder."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.errors import PinwheelError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP


@task(auto_shortflags=False, help={"data": DATA_HELP, "json": JSON_HELP})
def verify(_context: Any, data: str = DATA, json: bool = False) -> None:
    """Compare every record with its blob: size and sha256. Safe while the server runs.

    Example:
        pinwheel index.verify --data /srv/index
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.assembly import stored
    from pinwheel.index.audit import verify as compare

    index = stored(Path(data))
    try:
        faults = list(compare(index.records, index.blobs))
        checked = len(index.records.blobs())
    finally:
        index.close()
    if json:
        console.document({"checked": checked, "faults": [{"what": f.what, "problem": f.problem} for f in faults]})
    else:
        for fault in faults:
            console.data(f"{fault.what}: {fault.problem}")
    if faults:
        raise PinwheelError(
            f"{len(faults)} of {checked} blobs are not as recorded",
            where=data,
            remedy="upload these files again: the same bytes replace what is missing or damaged",
        )
    console.say(f"{checked} blobs are as recorded")
