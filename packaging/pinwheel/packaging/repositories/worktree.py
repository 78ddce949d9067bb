"""The user's own working tree, when a repository is one on this machine: is what they see what would be built?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pinwheel import process
from pinwheel.errors import PinwheelError

STATUS_S = 300.0
SHOWN = 10


class DirtyTree(PinwheelError):
    """The working tree has changes that the commit about to be built does not hold."""


def check_clean(folder: Path | None, commit: str, environ: Mapping[str, str]) -> None:
    """Refuse to build `commit` while it is checked out in `folder` with changes that it does not hold.

    Another commit than the one checked out may be built whatever the working tree looks like; a bare repository
    and a `folder` of None (not on this machine) have none. Raises `DirtyTree`; `PinwheelError` when git cannot tell.
    """
    if folder is None or not (folder / ".git").exists():
        return
    # the user's own configuration decides what is ignored; fsmonitor would run a program of the repository's
    env = {key: value for key, value in environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(folder)}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    start = ("git", "-C", str(folder), "-c", "core.fsmonitor=false")
    head = process.run((*start, "rev-parse", "HEAD"), env=env, timeout_s=STATUS_S)
    if head.output.strip() != commit:
        return  # also when there is no HEAD: nothing is checked out then
    status = process.run((*start, "status", "--porcelain"), env=env, timeout_s=STATUS_S)
    if status.exit_code:
        raise PinwheelError(
            f"git cannot tell whether the working tree has changes: {process.tail(status.errors, 4)}",
            where=str(folder),
            remedy="`git status` there should say the same; repair the repository, or release from a fresh clone",
        )
    changes = status.output.splitlines()
    if changes:
        more = [f"… and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
        raise DirtyTree(
            "the working tree has changes that are in no commit",
            where="\n".join([str(folder), *changes[:SHOWN], *more]),
            remedy="commit and tag them, ignore them, or set them aside with `git stash -u`",
        )
