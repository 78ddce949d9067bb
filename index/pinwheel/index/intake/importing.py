"""Take over a pypiserver folder: every file goes through admission, many are committed at once, what was taken over
before is not even read again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from packaging.utils import canonicalize_name

from pinwheel.archive import Limits
from pinwheel.errors import PinwheelError
from pinwheel.index.entries import CHUNK_BYTES, NAME, Closed, NewFile, Outcome, Published, Taken
from pinwheel.index.intake.admission import Admitted, Rejected, judge_file
from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.disk import full_disk_told, scratch_folder, write_all
from pinwheel.index.store.storing import Needing, drop, recording

READERS = 2
BATCH_FILES = 500
BATCH_BYTES = 1024 * 1024 * 1024
ACTOR = "import"
# what pypiserver lists: sdists, wheels, eggs, and the installers for Windows of old
_ENDING = re.compile(
    r"(\.whl|\.zip|\.tar\.gz|\.tgz|\.tar\.bz2|\.tar\.xz|\.egg|-py[23]\.\d-.*|\.win(32|-amd64)-py[23]\.\d\..*)$"
)
_BEFORE_VERSION = re.compile(r"-\d+[a-z_.!+]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file of the folder as it was when we looked. `path` is absolute."""

    path: Path
    size_bytes: int
    mtime_ns: int

    @property
    def key(self) -> str:
        """The path as text that every database takes, whatever bytes it has."""
        return os.fsencode(self.path).decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file of the folder; `reason` says why it was refused."""

    path: Path
    became: Literal["published", "known", "refused"]
    reason: str = ""


class Publishing(Needing, Protocol):
    """Records, as far as an import writes them."""

    def publish_all(self, new: Sequence[NewFile]) -> tuple[Outcome, ...]:
        """Make the files exist in one transaction. Raises `NoSpace`."""

    def reserve(self, names: Sequence[str], at: str) -> None:
        """Let these normalised names be private, as if something had been published."""


class Memory(Protocol):
    """Which files were taken over before."""

    def remembered(self) -> Mapping[str, tuple[int, int]]:
        """Size in bytes and mtime in nanoseconds by `Seen.key`."""

    def remember(self, taken: Iterable[tuple[Seen, str]]) -> None:
        """These files, each with its sha256, need not be read again while they stay as they are."""


class _Unreadable(Exception):
    """The file cannot be read; the text is the reason."""


def distributions(folder: Path) -> list[Seen]:
    """The files that pypiserver would list: at any depth, none whose name or folder begins with a dot.

    Raises `PinwheelError` when there is a folder that we may not read.
    """
    found: list[Seen] = []
    for here, folders, names in os.walk(folder.resolve(), onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not _ENDING.search(name):
                continue
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile, or is a link to nothing
                path = Path(here, name)
                state = path.stat()
                if stat.S_ISREG(state.st_mode):
                    found.append(Seen(path, state.st_size, state.st_mtime_ns))
    return found


def _unreadable(error: OSError) -> None:
    raise PinwheelError(
        f"the folder cannot be read: {error.strerror}",
        where=str(error.filename),
        remedy="name an existing folder, and let its files be readable by whom pinwheel runs as",
    ) from error


def import_all(
    found: Sequence[Seen],
    *,
    records: Publishing,
    blobs: Blobs,
    memory: Memory,
    temporary: Path,
    limits: Limits,
    now: Callable[[], str],
) -> Iterator[Imported]:
    """Publish what is not known of these files, whose projects are private before the first of them is published.
    Killed at any moment, it goes on where it was when it is run again.

    The files are left as they are, and nothing done to them later touches what was published: each is copied through
    `temporary`, the blob store's own. Raises `NoSpace`.
    """
    remembered = memory.remembered()
    rest: list[Seen] = []
    for seen in found:
        if remembered.get(seen.key) == (seen.size_bytes, seen.mtime_ns):
            yield Imported(seen.path, "known")
        else:
            rest.append(seen)
    # before anything else: whoever asked pypiserver for these must not be given a stranger's files, neither until
    # theirs are published nor when they are refused
    records.reserve(sorted({project_of(seen.path.name) for seen in rest} - {""}), now())
    # one folder for all: file systems give a new folder a place of its own, which costs more than the files in it;
    # it goes when nobody writes to it any more
    with scratch_folder(temporary, "import") as scratch, ThreadPoolExecutor(READERS) as readers:
        for batch in batches(rest):
            judged = list(readers.map(lambda seen: _judged(seen.path, scratch, limits), batch))
            admitted = {seen: each for seen, each in zip(batch, judged, strict=True) if isinstance(each, Admitted)}
            stored = _stored(list(admitted.values()), records, blobs, now)
            for copy in scratch.iterdir():
                copy.unlink()
            outcomes = dict(zip(admitted, stored, strict=True))
            memory.remember((seen, admitted[seen].sha256) for seen, outcome in outcomes.items() if _is_known(outcome))
            yield from (_told(seen.path, each, outcomes.get(seen)) for seen, each in zip(batch, judged, strict=True))


def project_of(filename: str) -> str:
    """The normalised name under which pypiserver lists the file; empty when that is no name of a project."""
    stem = _ENDING.sub("", filename)
    if filename.endswith(".whl") or stem.count("-") == 1:
        name = stem.partition("-")[0]
    elif "." in stem:
        name = _BEFORE_VERSION.split(stem)[0]
    else:
        name = stem.rpartition("-")[0] or stem
    return str(canonicalize_name(name)) if NAME.fullmatch(name) else ""


def batches(found: Iterable[Seen]) -> Iterator[list[Seen]]:
    """What is committed at once: so many files, or so many bytes and one file."""
    batch: list[Seen] = []
    size_bytes = 0
    for seen in found:
        batch.append(seen)
        size_bytes += seen.size_bytes
        if len(batch) == BATCH_FILES or size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _judged(path: Path, scratch: Path, limits: Limits) -> Admitted | str:
    """A copy of the file that was let in, or why it was not: what is judged and published is what was hashed."""
    copy = scratch / hashlib.sha256(os.fsencode(path)).hexdigest()
    digest = hashlib.sha256()
    try:
        with full_disk_told(scratch):
            with copy.open("xb", buffering=0) as out:
                for chunk in _chunks(path):
                    digest.update(chunk)
                    write_all(out, chunk)
            admitted = judge_file(copy, path.name, digest.hexdigest(), limits)
            if admitted.metadata_sha256:
                _metadata(admitted).write_bytes(admitted.distribution.core_metadata)
            return admitted
    except (Rejected, _Unreadable) as error:
        return error.problem if isinstance(error, Rejected) else str(error)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _Unreadable(f"it cannot be read: {error.strerror}") from error


def _stored(
    admitted: Sequence[Admitted], records: Publishing, blobs: Blobs, now: Callable[[], str]
) -> tuple[Outcome, ...]:
    """What becomes of each. The blobs are on disk before the one commit of their records."""
    files = {each.sha256: each.path for each in admitted}
    files |= {each.metadata_sha256: _metadata(each) for each in admitted if each.metadata_sha256}
    with recording(records, blobs, *files):
        blobs.put_all(files)
        outcomes = records.publish_all([each.record(ACTOR, now()) for each in admitted])
    for each, outcome in zip(admitted, outcomes, strict=True):
        if isinstance(outcome, Taken | Closed):
            drop(records, blobs, each.sha256, *([each.metadata_sha256] if each.metadata_sha256 else []))
    return outcomes


def _metadata(admitted: Admitted) -> Path:
    """Where its core metadata lies beside the copy."""
    return admitted.path.with_suffix(".metadata")


def _is_known(outcome: Outcome) -> bool:
    return not isinstance(outcome, Closed) and (not isinstance(outcome, Taken) or outcome.removed)


def _told(path: Path, judged: Admitted | str, outcome: Outcome | None) -> Imported:
    match judged, outcome:
        case str(), _:
            return Imported(path, "refused", judged)
        case Admitted(), Published():
            return Imported(path, "published")
        case Admitted(), Closed() | Taken(removed=False):
            return Imported(path, "refused", outcome.refusal(path.name, judged.sha256))
        case _:
            return Imported(path, "known")
