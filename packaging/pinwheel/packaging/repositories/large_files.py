"""Git LFS: the files of which a commit holds a pointer alone, fetched by git-lfs and compared with their pointers."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pinwheel import process
from pinwheel.errors import PinwheelError
from pinwheel.packaging.repositories.git import FETCH_S, LOCAL_S, Mirror
from pinwheel.packaging.workspace import unless_full

PUSH = "`git lfs push --all origin` in a clone that has them; who may read the repository may read them too"
POINTER_BYTES = 1024  # three short lines
POINTER = re.compile(
    rb"(?:.*\n)*?"  # the version, and extensions
    rb"oid sha256:(?P<sha256>[0-9a-f]{64})\nsize (?P<size>\d+)\n"
)
BEGINNING = b"version https://git-lfs.github.com/spec/v1\n"


class NoContent(PinwheelError):
    """The server of large files does not hand out what the commit points to."""


class WrongContent(PinwheelError):
    """What the server of large files handed out is not what the commit points to."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a commit says of a large file. Both are empty when it is no pointer that can be read."""

    sha256: str
    size_bytes: int


def pointer_in(file: Path) -> Pointer | None:
    """The pointer that the file is, None when it is an ordinary one."""
    if file.is_symlink() or not file.is_file() or file.stat().st_size >= POINTER_BYTES:
        return None
    text = file.read_bytes()
    if not text.startswith(BEGINNING):
        return None
    found = POINTER.match(text)
    return Pointer(found["sha256"].decode(), int(found["size"])) if found else Pointer("", 0)


def fill_in(mirror: Mirror, commit: str, subdirectory: str, root: Path, paths: Iterable[str]) -> None:
    """Put their content into the files `paths` below `root`, where `subdirectory` of the commit was laid out.

    Raises `NoContent`, `WrongContent`; `ProgramMissing` without git-lfs.
    """
    store = _fetch(mirror, commit, subdirectory)
    wrong = []
    for path in paths:
        pointer = pointer_in(root / path) or Pointer("", 0)
        content = store / pointer.sha256[:2] / pointer.sha256[2:4] / pointer.sha256
        if not content.is_file():
            raise NoContent(
                f"the content of {path} was not fetched",
                where=f"{mirror.address} at {commit[:12]}",
                remedy="a pointer is three lines that git-lfs writes; lfs.fetchexclude in .lfsconfig leaves files out",
            )
        with content.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        if (sha256, content.stat().st_size) != (pointer.sha256, pointer.size_bytes):
            content.unlink()  # from the cache: the next run fetches it again
            wrong.append(f"{path}: sha256 {sha256} in place of {pointer.sha256}")
            continue
        # a copy, because a link would give the backend a way into the cache
        shutil.copyfile(content, root / path)
    if wrong:
        raise WrongContent(
            "large files are not what the commit points to",
            where="\n".join([f"{mirror.address} at {commit[:12]}", *wrong]),
            remedy="run the command again; if that does not help, the server has them so: push the right ones",
        )


def _fetch(mirror: Mirror, commit: str, subdirectory: str) -> Path:
    """Fetch what the commit points to; the folder in which the contents are, as `ab/cd/SHA256`.

    The server is the repository's own, whatever a `.lfsconfig` in it says.
    """
    server = f"file://{quote(mirror.address)}" if mirror.local else mirror.address
    if mirror.address.startswith(("https://", "http://")):
        server = f"{server.removesuffix('/').removesuffix('.git')}.git/info/lfs"
    settings = (f"remote.origin.url={mirror.address}", f"lfs.url={server}", "lfs.concurrenttransfers=8")
    options = [word for setting in settings for word in ("-c", setting)]
    below = ["--include", subdirectory] if subdirectory else []
    with mirror.opened() as (folder, env):
        if process.run(("git", "lfs", "version"), env=env, timeout_s=LOCAL_S).exit_code:
            raise process.ProgramMissing(
                "git-lfs is not installed, and the project keeps files in Git LFS",
                where=mirror.address,
                remedy="install it (apt-get install git-lfs) and run the command again",
            )
        argv = ["git", f"--git-dir={folder}", *options, "lfs", "fetch", "origin", commit, *below]
        done = process.run(argv, env=env, timeout_s=FETCH_S)
        if done.exit_code:
            error = NoContent(
                f"the large files cannot be fetched: {mirror.said(done.errors or done.output)}",
                where=mirror.address,
                remedy=PUSH,
            )
            raise unless_full(error, folder)
    return folder / "lfs" / "objects"
