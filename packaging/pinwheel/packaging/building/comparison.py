"""What differs between two archives of one name, member by member. No files and no network here."""

from __future__ import annotations

import difflib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

SHOWN_BYTES = 64 * 1024
SHOWN_LINES = 40

Aspect = Literal["presence", "order", "mode", "time", "content", "packing"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in `file`; `member` is empty when it is about the archive as a whole."""

    file: str
    member: str
    aspect: Aspect
    detail: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.member}" if self.member else self.file
        return f"{where}: {self.aspect}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Member:
    """A file, folder or link of an archive. `time` is as the archive writes it: seconds or a date; `body` of a link is
    its target."""

    name: str
    mode: int
    time: str
    body: bytes


def compare(file: str, first: bytes, second: bytes) -> tuple[Difference, ...]:
    """Everything that differs between two wheels or two sdists; empty for the same bytes."""
    if first == second:
        return ()
    found = tuple(_compare(file, members(file, first), members(file, second)))
    return found or (Difference(file, "", "packing", "all members are alike, but packed into other bytes"),)


def members(file: str, data: bytes) -> tuple[Member, ...]:
    """What is in a wheel or sdist, in its order."""
    return tuple(_of_wheel(data) if file.endswith(".whl") else _of_sdist(data))


def _compare(file: str, first: Sequence[Member], second: Sequence[Member]) -> Iterable[Difference]:
    one, other = ({each.name: each for each in side} for side in (first, second))
    for name in sorted(one.keys() ^ other.keys()):
        yield Difference(file, name, "presence", f"is only in the {'first' if name in one else 'second'} build")
    both = [name for name in one if name in other]
    if both != [name for name in other if name in one]:
        yield Difference(file, "", "order", "the members stand in another order")
    for name in both:
        a, b = one[name], other[name]
        if a.mode != b.mode:
            yield Difference(file, name, "mode", f"{a.mode:o} and {b.mode:o}")
        if a.time != b.time:
            yield Difference(file, name, "time", f"{a.time} and {b.time}")
        if a.body != b.body:
            yield Difference(file, name, "content", _contents(name, a.body, b.body))


def _contents(name: str, first: bytes, second: bytes) -> str:
    """A unified diff of small texts, else where two contents part."""
    sides = [_text(first), _text(second)]
    if None not in sides:
        one, other = ((side or "").splitlines() for side in sides)
        lines = list(difflib.unified_diff(one, other, f"first/{name}", f"second/{name}", lineterm="", n=1))
        if len(lines) > SHOWN_LINES:
            lines = [*lines[:SHOWN_LINES], f"… {len(lines) - SHOWN_LINES} lines more"]
        if lines:  # else line ends alone differ
            return "\n".join(["", *lines])
    at = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    return f"{len(first)} and {len(second)} bytes, which part at byte {at}"


def _text(body: bytes) -> str | None:
    if len(body) > SHOWN_BYTES or b"\0" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _of_wheel(data: bytes) -> Iterable[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for each in archive.infolist():
            date = "{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*each.date_time)
            yield Member(each.filename, each.external_attr >> 16, date, archive.read(each))


def _of_sdist(data: bytes) -> Iterable[Member]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for each in archive:
            file = archive.extractfile(each) if each.isreg() else None
            body = file.read() if file else each.linkname.encode()
            yield Member(each.name, each.mode, str(int(each.mtime)), body)
