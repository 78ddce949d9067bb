"""`APP==VER`, by which the command line names one version of an application."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

from pinwheel.errors import UsageError


def parse(text: str) -> tuple[str, Version]:
    """The name, as it is written, and the version. Raises `UsageError`."""
    found = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*) *== *([^=\s]+)", text.strip())
    try:
        if found:
            return found[1], Version(found[2])
    except InvalidVersion:
        pass
    raise UsageError(
        f"{text!r} names no version of an application", where="APP==VER", remedy="write for example acme-shop==1.2.0"
    )
