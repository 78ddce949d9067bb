"""The disk of the machine that builds: a folder for one build, its logs, a lock, where its files go, and what a full
disk looks like."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from pinwheel.errors import PinwheelError, UsageError

LOGS_KEPT = 20
ALMOST_FULL_BYTES = 4 * 1024 * 1024
EARLIEST = 631_152_000  # 1990: zip archives begin at 1980
FULL = (errno.ENOSPC, errno.EDQUOT)
OTHER_DISK = "free some space, or let TMPDIR and packaging.cache name another disk; nothing half done is left"


class DiskFull(PinwheelError):
    """A disk that a build writes to is full."""

    def __init__(self, problem: str, where: str, remedy: str = OTHER_DISK) -> None:
        super().__init__(f"the disk is full: {problem}", where=where, remedy=remedy)


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A folder for one build, removed afterwards. It lies below TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-build-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def below(folder: Path, name: str) -> Path:
    """An empty folder in `folder`, made for one build of several."""
    made = folder / name
    made.mkdir(parents=True)
    return made


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock `name`: two builds of one version at once would be work for nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def full_disk_explained(*folders: Path) -> Iterator[None]:
    """Raise `DiskFull` in place of an error of the operating system that says so. One that does not say whose file
    it was about is laid to the first of `folders`."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull("nothing more can be written", str(error.filename or folders[0])) from error


def unless_full(error: PinwheelError, *folders: Path) -> PinwheelError:
    """What to raise when a program failed: `error`, or `DiskFull` when the disk of one of `folders` is full. Git, uv
    and backends often hide why they could not write, or say it in words of their own."""
    full = next((each for each in folders if each.is_dir() and _full(each)), None)
    return error if full is None or isinstance(error, DiskFull) else DiskFull(error.problem, str(full))


def _full(folder: Path) -> bool:
    about = os.statvfs(folder)
    # some file systems count no inodes: there are 0 of 0 left
    return about.f_bavail * about.f_frsize < ALMOST_FULL_BYTES or (about.f_files > 0 and about.f_favail == 0)


def put(file: Path, text: str, mode: int = 0o600) -> None:
    """See to it that the file holds `text`, whoever else does the same now: a reader never sees half of it."""
    if file.is_file() and file.read_text() == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}")
    partial.touch(mode)
    partial.write_text(text)
    partial.rename(file)


def logs(folder: Path, name: str) -> Path:
    """Where in `folder` the logs of the build `name` go, empty; only the newest few of those that failed are kept, and
    all of this process, which may be building with them."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = f"-{os.getpid()}"
    for old in sorted((each for each in folder.iterdir() if not each.name.endswith(ours)), key=_age)[:-LOGS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    made = folder / f"{name}{ours}"
    shutil.rmtree(made, ignore_errors=True)
    return made


def _age(path: Path) -> float:
    """When it was changed last; long ago for what another thread has removed meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def shuffle(root: Path, umask: int, before: int) -> None:
    """Give the files below `root` the modes that `umask` leaves them, and times in no order, all of them earlier than
    `before` (in seconds since 1970): tools find the future suspicious."""
    chance = random.Random(before)  # noqa: S311 - the same in every run
    for file in sorted(root.rglob("*")):
        if ".git" in file.relative_to(root).parts or file.is_symlink():
            continue
        file.chmod(file.stat().st_mode & ~umask & 0o777)
        time_s = chance.randrange(EARLIEST, max(before, EARLIEST + 1))
        os.utime(file, (time_s, time_s))


def open_folder(out: str) -> Path:
    """The folder that --out names, made if need be, in which files can be made. Raises `UsageError`, `DiskFull`."""
    if not out:
        raise UsageError("--out names no folder", remedy="name one, or leave --out away: the files go to dist then")
    folder = Path(out)
    with _refused_by(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    return folder


def deliver(files: Mapping[str, Path | bytes], folder: Path) -> None:
    """Write `files` (by name; a path is copied) into `folder`, which may be on another disk: all of them or, when
    one cannot be written, none. Raises `UsageError`, `DiskFull`."""
    made: dict[Path, Path] = {}
    try:
        with _refused_by(folder):
            for name, content in files.items():
                final = folder / name
                made[final] = folder / f".{name}.{os.getpid()}.partial"
                with made[final].open("wb") as out:
                    if isinstance(content, bytes):
                        out.write(content)
                    else:
                        with content.open("rb") as source:
                            shutil.copyfileobj(source, out)
                    out.flush()
                    os.fsync(out.fileno())
            # rename last: a reader must never see half a wheel
            for final, partial in made.items():
                partial.replace(final)
    finally:
        for partial in made.values():
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _refused_by(folder: Path) -> Iterator[None]:
    """Say that it is the folder named by --out that cannot be written, and why."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                "the files that were built cannot be written",
                str(folder),
                "free some space there, or name another folder with --out; nothing half done is left",
            ) from error
        raise UsageError(
            f"files cannot be made in this folder: {error.strerror}",
            where=str(folder),
            remedy="name a folder with --out in which this user may write",
        ) from error
