"""Publish one file and die by SIGKILL at the moment named by the third argument. Run as a script."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from pinwheel.archive import Limits
from pinwheel.index import event_log, records
from pinwheel.index.admission import judge_file
from pinwheel.index.assembly import now, stored
from pinwheel.index.blobs import sha256_of
from pinwheel.index.publishing import Publisher


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DiesBeforeTheCommit:
    """Records whose `publish` is never reached."""

    def __init__(self, real: records.Records) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return die if name == "publish" else getattr(self._real, name)


def main(folder: Path, file: Path, moment: str) -> None:
    index = stored(folder, create=True)
    store: Any = index.records
    published = die if moment == "after the commit" else lambda _project: None
    if moment == "between blob and commit":
        store = DiesBeforeTheCommit(index.records)
    elif moment == "within the transaction":
        event_log.append = die  # type: ignore[assignment]
    uploaded = index.temporary / "upload-test"
    shutil.copyfile(file, uploaded)
    with uploaded.open("rb") as opened:
        sha256 = sha256_of(opened)
    admitted = judge_file(uploaded, file.name, sha256, Limits())
    Publisher(store, index.blobs, now, published).publish(admitted, "tester")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
