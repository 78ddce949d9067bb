"""The errand `logs`: the last lines of an application's logs, and what is added to them. Changes nothing."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.generation import COLOURS
from pinwheel.deploy.host.runner import Application, Job
from pinwheel.deploy.host.supervisord import Refusal

POLL_S = 0.25
CHUNK_BYTES = 1 << 16
FURTHEST_BYTES = 1 << 22
"""So far back from a log's end the last lines are looked for."""


def logs(job: Job, held: int = -1) -> Document:
    """Send the last `lines` of each log, or what came after `seen`; with `follow`, go on until stdin ends."""
    app, body = Application(job, job.body["application"]), job.body
    folder, program = app.folder / "log", body["program"]
    if not folder.is_dir():
        raise Refusal("not-prepared", f"{app.name} was never here", job.host, "roll it out")
    wanted = re.compile(rf"{re.escape(program)}(_\d+|@({'|'.join(COLOURS)}))?" if program else ".*")
    known: dict[str, Log] = {}
    first = True
    while True:
        for file in sorted(folder.glob("*.log")):
            if file.stem not in known and wanted.fullmatch(file.stem):
                with contextlib.suppress(FileNotFoundError):  # supervisor rotates it at this moment
                    # what begins while we look is shown from its beginning
                    known[file.stem] = Log(file, body["lines"] if first else None, body["seen"].get(file.stem))
        for name, log in known.items():
            for lines in log.more(whole=body["follow"]):
                job.wire.send("log", process=name, lines=lines, seen=log.seen)
        first = False
        if not body["follow"] or job.aborted.wait(POLL_S):
            return {"logs": sorted(known)}


class Log:
    """One log, through its rotations: supervisor renames it to NAME.1 and begins anew."""

    def __init__(self, file: Path, lines: int | None, seen: Sequence[int] | None) -> None:
        """Begin `lines` before its end (None: at its beginning), or where [inode, offset] in `seen` says."""
        self._file, self._rest, self._stream = file, b"", file.open("rb")
        self._before: list[bytes] = []
        older = file.with_name(f"{file.name}.1")
        if seen and seen[0] == self._inode:
            self._stream.seek(seen[1])
        elif seen and older.exists() and older.stat().st_ino == seen[0]:
            self._stream.close()
            self._stream = older.open("rb")
            self._stream.seek(seen[1])
        elif lines is not None:
            found = seek_lines(self._stream, lines)
            if found < lines and older.exists():  # it was rotated a moment ago
                with older.open("rb") as stream:
                    seek_lines(stream, lines - found)
                    self._before = stream.read(FURTHEST_BYTES).splitlines()

    @property
    def _inode(self) -> int:
        return Path(f"/proc/self/fd/{self._stream.fileno()}").stat().st_ino

    @property
    def seen(self) -> list[int]:
        """Where to go on: all before it was told."""
        return [self._inode, self._stream.tell() - len(self._rest)]

    def more(self, whole: bool) -> Iterator[list[str]]:
        """The lines that came since the last time; the last one only once it is `whole`, if that is asked for."""
        if self._before:
            yield shown(self._before)
            self._before = []
        while True:
            replaced = self._replaced()  # asked before its end is read: nothing is added after that
            while chunk := self._stream.read(CHUNK_BYTES):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                if len(self._rest) >= CHUNK_BYTES:  # no line, but then it must not fill the memory
                    lines, self._rest = [*lines, self._rest], b""
                if lines:
                    yield shown(lines)
            if self._rest and (replaced or not whole):
                line, self._rest = self._rest, b""
                yield shown([line])
            if not replaced:
                return
            self._stream.close()
            self._stream = self._file.open("rb")

    def _replaced(self) -> bool:
        try:
            now = self._file.stat()
        except FileNotFoundError:  # in the middle of a rotation
            return False
        if now.st_ino == self._inode and now.st_size < self._stream.tell():
            self._stream.seek(0)  # somebody emptied it
            self._rest = b""
        return now.st_ino != self._inode


def seek_lines(stream: BinaryIO, lines: int) -> int:
    """Go to where the last `lines` begin; how many there are from there on."""
    position = end = stream.seek(0, io.SEEK_END)
    found, tail = 0, b""
    while position > 0 and end - position < FURTHEST_BYTES:
        step = min(CHUNK_BYTES, position)
        position -= step
        stream.seek(position)
        tail = stream.read(step) + tail
        found = len(tail.splitlines())
        if found > lines:
            break
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    stream.seek(end - sum(map(len, kept)))
    return len(kept)


def shown(lines: Sequence[bytes]) -> list[str]:
    return [line.decode(errors="replace").rstrip("\r") for line in lines]


ACTIONS = {"logs": logs}
