"""Plans in files: what `deploy.plan --out` writes and `deploy.rollout --plan` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pinwheel.deploy.host.files import replace_file
from pinwheel.errors import PinwheelError, UsageError


def read(file: str) -> str:
    """The text of the plan in `file`. Raises `UsageError`."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"the plan cannot be read: {why}", where=file, remedy="name a file of deploy.plan") from error


def write(file: str, document: Mapping[str, object]) -> None:
    """Write `document` as the plan in `file`. Raises `PinwheelError`."""
    try:
        replace_file(Path(file), json.dumps(document, indent=1) + "\n", 0o666)  # what the umask leaves of it
    except OSError as error:
        raise PinwheelError(
            f"the plan cannot be written: {error.strerror}", where=file, remedy="name another file with --out"
        ) from error
