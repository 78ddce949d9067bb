"""Files that come over the connection itself, for a host that does not reach the index."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pinwheel.deploy.host.runner import SAME_VERSION, Given, Job
from pinwheel.deploy.host.space import MIB
from pinwheel.deploy.host.supervisord import Refusal

STDIN = 0
CHUNK_BYTES = 256 * 1024
SHOWN_EVERY_S = 1.0
LENGTH_BYTES = 8


@contextlib.contextmanager
def pushed(job: Job, files: Sequence[Given]) -> Iterator[Path | None]:
    """For as long as the block lasts, a folder with the wheels that the controller sends; None when they come from
    the index."""
    folder = job.root / "tmp/wheels"
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    if job.body.get("deliver", "index") != "push":
        yield None
        return
    try:
        folder.mkdir()
        if files:
            receive(job, files, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def receive(job: Job, files: Sequence[Given], folder: Path) -> None:
    """Ask the controller for `files` (`filename` and `sha256` of each) and write what comes into `folder`.

    They come in the order in which they are asked for, each after its length, and only once they are asked for. So
    nothing waits in memory: what is not read yet waits at the sender's. Raises `Refusal` bad-request, bad-digest and
    aborted.
    """
    for each in files:
        if Path(each["filename"]).name != each["filename"]:
            raise Refusal("bad-request", f"{each['filename']!r} is no filename", job.host, SAME_VERSION)
    with job.stdin_turn:
        job.wire.send("want", files=[each["sha256"] for each in files])
        for number, each in enumerate(files, 1):
            size = int.from_bytes(b"".join(_read(job, LENGTH_BYTES)), "big")
            _write(job, each, size, folder / each["filename"], f"file {number} of {len(files)}")


def _write(job: Job, about: Given, size: int, file: Path, which: str) -> None:
    digest, got, shown = hashlib.sha256(), 0, time.monotonic()
    with file.open("wb") as out:
        for chunk in _read(job, size):
            digest.update(chunk)
            out.write(chunk)
            got += len(chunk)
            if time.monotonic() > shown + SHOWN_EVERY_S:
                shown = time.monotonic()
                job.progress(f"receive {which}, {got // MIB} of {-(-size // MIB)} MiB")
    if (found := digest.hexdigest()) != about["sha256"]:
        problem = f"{about['filename']} is not what the lock names: sha256 {found}, not {about['sha256']}"
        raise Refusal("bad-digest", problem, job.host, "find out who changed it")


def _read(job: Job, size: int) -> Iterator[bytes]:
    """The next `size` bytes of stdin, past every buffer: the runner's own holds nothing that came after its request."""
    while size:
        job.check()
        if select.select([STDIN], [], [], 0.1)[0]:
            chunk = os.read(STDIN, min(size, CHUNK_BYTES))
            if not chunk:
                job.aborted.set()
            size -= len(chunk)
            yield chunk
