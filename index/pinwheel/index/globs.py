"""Globs of project names, matched as names are: `Acme_*` means `acme-*`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from pinwheel.errors import UsageError

_SET = re.compile(r"(\[!?\]?[^\]]*\])")
_LITERAL = re.compile(r"[A-Za-z0-9._*?-]*")  # what a project's name has, and the wildcards


def checked(globs: Iterable[str], where: str) -> tuple[str, ...]:
    """The globs, when each of them can match a name: one that never does would keep nothing private.

    `where` names the flag or the file that has them. Raises `UsageError`.
    """
    globs = tuple(globs)
    for glob in globs:
        parts = _SET.split(glob)
        if not glob or "[]" in parts or "[!]" in parts or not all(map(_LITERAL.fullmatch, parts[::2])):
            raise UsageError(
                f"{glob!r} is no glob of project names",
                where=where,
                remedy="write names with *, ? and [abc], like 'acme-*'; several are given one by one",
            )
    return globs


def matching(name: str, globs: Iterable[str]) -> str:
    """The first of `globs`, as it was written, that matches the normalised name; empty when none does."""
    return next((glob for glob in globs if fnmatchcase(name, normalised(glob))), "")


@functools.lru_cache(maxsize=1024)
def normalised(glob: str) -> str:
    """The glob with its literal parts as in normalised names (PEP 503); a set that has `_` or `.` has `-`."""
    parts = _SET.split(glob.lower())
    return "".join(_set(part) if number % 2 else re.sub(r"[-_.]+", "-", part) for number, part in enumerate(parts))


def _set(text: str) -> str:
    """One `[…]`: there `-` stands first, for anywhere else it could mean a range."""
    start = "[!" if text.startswith("[!") else "["
    inside = text[len(start) : -1]
    if not re.search(r"[_.]", inside):
        return text
    return f"{start}-{re.sub(r'[_.]', '', inside)}]"
