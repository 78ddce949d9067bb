"""The place of the static tree: pages and files below a folder, as a web server sends them.

    simple/index.html simple/index.json           the projects (each page also with .gz)
    simple/NAME/index.html …/index.json           the page of a project
    c/CHANNEL/simple/…                            the same of a channel
    files/SHA256/FILENAME …/FILENAME.metadata     hard links to blobs

Who may enter the folder may read all of it. Whoever reads sees a page as it was or as it is, never half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from pinwheel.errors import UsageError
from pinwheel.index.channels import MAIN
from pinwheel.index.routes import METADATA
from pinwheel.index.simple.pages import Copy, Page
from pinwheel.index.store.disk import full_disk_told, locked

PARTS = ("simple", "c", "files")
LOCKS = 64
FIRST_S, SPAN_S = 1_000_000_000, 500_000_000  # 2001 to 2017: never in the future


class StaticTree:
    """Write the tree below `folder`. Safe to share between threads and processes while they hold `held` of a page."""

    def __init__(self, folder: Path, blobs: Path, made_by: str) -> None:
        """`made_by` says how its pages are made: one that was made in another way is made anew.

        Raises `UsageError` unless files of `blobs`, the folder of blobs, can be linked into it.
        """
        self._folder = folder
        self._made_by = made_by
        self._marker = folder / ".made-by"
        self._temporary, self._locks = folder / ".tmp", folder / ".locks"
        try:
            # whom its owner lets in, by its group, may read all; a folder that is there keeps who may enter it
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            for each in (self._temporary, self._locks):
                each.mkdir(mode=0o700, exist_ok=True)
            self._try_link(blobs)
        except OSError as error:
            raise UsageError(
                f"pages cannot be kept as files there: {error.strerror}",
                where=str(folder),
                remedy="name a folder of ours with --static, on the file system of the data folder and beside it",
            ) from error

    def _try_link(self, blobs: Path) -> None:
        probe, link = (each / f"probe-{secrets.token_hex(8)}" for each in (blobs, self._temporary))
        try:
            probe.touch()
            link.hardlink_to(probe)
        finally:
            probe.unlink(missing_ok=True)
            link.unlink(missing_ok=True)

    @contextlib.contextmanager
    def steady(self) -> Iterator[bool]:
        """Nobody makes the tree their own meanwhile. False when it is somebody else's already (`renewed`)."""
        with self._locked("tree", fcntl.LOCK_SH):
            yield self.is_ours()

    @contextlib.contextmanager
    def held(self, page: str) -> Iterator[bool]:
        """Nobody else writes the page of that name meanwhile. False when the tree is somebody else's (`renewed`)."""
        number = int(hashlib.sha256(page.encode()).hexdigest()[:8], 16) % LOCKS
        with self._locked("tree", fcntl.LOCK_SH), self._locked(f"{number:02}", fcntl.LOCK_EX):
            yield self.is_ours()

    def renewed(self, fill: Callable[[], None]) -> None:
        """Make the tree ours. One that was somebody else's, or was made before the machine was started, when files may
        be half on disk, is emptied, and `fill` called."""
        if self.is_ours():
            return
        with self._locked("tree", fcntl.LOCK_EX):
            if not self.is_ours():
                for part in PARTS:
                    shutil.rmtree(self._folder / part, ignore_errors=True)
                fill()
                self._marker.write_text(self._made_by)

    def is_ours(self) -> bool:
        """Whether it was made as we make it, since the machine was started."""
        try:
            return self._marker.read_text() == self._made_by
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        folder = self._locks / name
        folder.mkdir(exist_ok=True)
        with locked(folder, how):
            yield

    def write(self, channel: str, name: str, page: Page | None) -> None:
        """Keep the page of a project (`name` empty: of all projects), or keep none. Raises `NoSpace`."""
        folder = self._page_folder(channel, name)
        if page is None:
            for form in ("html", "json"):
                for end in ("", ".gz"):
                    (folder / f"index.{form}{end}").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
            return
        with full_disk_told(self._folder):
            _made(folder)
            for number, (form, copy) in enumerate((("html", page.html), ("json", page.json))):
                self._keep(folder / f"index.{form}", copy.plain, _time_s(copy, 2 * number))
                self._keep(folder / f"index.{form}.gz", copy.zipped, _time_s(copy, 2 * number + 1))

    def _page_folder(self, channel: str, name: str) -> Path:
        return self._folder.joinpath(*(("simple",) if channel == MAIN else ("c", channel, "simple")), name)

    def _keep(self, file: Path, content: bytes, time_s: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            there = file.stat()
            if (there.st_size, int(there.st_mtime)) == (len(content), time_s):
                return
        partial = self._temporary / f"page-{secrets.token_hex(8)}"
        try:
            partial.write_bytes(content)
            partial.chmod(0o644)
            os.utime(partial, (time_s, time_s))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def differs(self, channel: str, name: str, page: Page | None) -> bool:
        """Whether what is kept is not the page; None: whether anything is kept."""
        folder = self._page_folder(channel, name)
        for form in ("html", "json"):
            plain, zipped = folder / f"index.{form}", folder / f"index.{form}.gz"
            try:
                kept = plain.read_bytes(), gzip.decompress(zipped.read_bytes())
            except FileNotFoundError:
                if page is not None or plain.exists() or zipped.exists():
                    return True
                continue
            except (EOFError, gzip.BadGzipFile, zlib.error):
                return True
            content = None if page is None else (page.html if form == "html" else page.json).plain
            if kept != (content, content):
                return True
        return False

    def has_links(self, sha256: str, wanted: Mapping[str, Path]) -> bool:
        """Whether each of the names leads to its blob."""
        folder = self._folder / "files" / sha256
        return all(_same(folder / name, blob) for name, blob in wanted.items())

    def pages(self) -> Iterator[tuple[str, str]]:
        """The channel and project of every page that there is, but not of those that list the projects."""
        folders = {MAIN: self._folder / "simple"} | {c.name: c / "simple" for c in (self._folder / "c").glob("*")}
        for channel, folder in folders.items():
            yield from ((channel, page.parent.name) for page in folder.glob("*/index.html"))

    def links(self) -> Iterator[tuple[str, str]]:
        """Every link that there is: sha256 and name."""
        for folder in (self._folder / "files").glob("*"):
            names: list[str] = []
            with contextlib.suppress(FileNotFoundError):  # the server removes it at this moment
                names = [file.name for file in folder.iterdir()]
            yield from ((folder.name, name) for name in names)

    def linked(self, project: str) -> set[tuple[str, str]]:
        """The files (sha256 and filename) that the project's page names now."""
        try:
            page = json.loads((self._folder / "simple" / project / "index.json").read_bytes())
        except (FileNotFoundError, ValueError):  # what a damaged page named, `index.verify` finds
            return set()
        return {(each["hashes"]["sha256"], unquote(each["url"].rpartition("/")[2])) for each in page["files"]}

    def link(self, sha256: str, wanted: Mapping[str, Path]) -> None:
        """Let the folder of that hash have these names for blobs. Raises `NoSpace`."""
        folder = self._folder / "files" / sha256
        with full_disk_told(self._folder):
            _made(folder)
            for name, blob in wanted.items():
                if _same(folder / name, blob):
                    continue
                partial = self._temporary / f"file-{secrets.token_hex(8)}"
                partial.hardlink_to(blob)
                partial.chmod(0o644)
                partial.replace(folder / name)
                partial.unlink(missing_ok=True)  # rename does nothing when both are the same file already

    def unlink(self, sha256: str, filename: str) -> None:
        folder = self._folder / "files" / sha256
        for name in (filename, filename + METADATA):
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _same(link: Path, blob: Path) -> bool:
    try:
        return link.samefile(blob)
    except FileNotFoundError:
        return False


def _made(folder: Path) -> None:
    """Folders that everybody may enter, whatever our umask."""
    if not folder.is_dir():
        _made(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _time_s(copy: Copy, number: int) -> int:
    """A time of modification that stands for the content: a web server makes its ETag of this and the size."""
    return FIRST_S + (int(copy.plain_etag.strip('"')[:12], 16) + number) % SPAN_S
