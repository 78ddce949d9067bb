"""Files that are there whole, and durable, or not at all. Sent beside the runner."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from pinwheel.deploy.host.gate import Document


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(file: Path, data: str | bytes, mode: int = 0o600) -> None:
    """Give `file` new contents: after a crash it is the old one or the new one, whole; durable once this returns."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
            out.write(data.encode() if isinstance(data, str) else data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(file)  # writing names none
        raise
    sync_folder(file.parent)


def read_text(file: Path) -> str | None:
    """The text of a file; None when there is none."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace")
    return None


def read_json(file: Path) -> Document:
    """The document in a file that only `replace_file` writes; empty when there is none."""
    return dict(json.loads(read_text(file) or "{}"))


def free_bytes(folder: Path) -> int:
    """What is free on the file system that holds, or would hold, `folder`."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free
