"""Write a first `pinwheel.toml`: the documented example with every line inactive."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from pinwheel.config import FILENAME
from pinwheel.errors import UsageError


def example() -> str:
    """The documented example: every key there is, with a comment."""
    return (files("pinwheel") / "example.toml").read_text()


def commented(text: str) -> str:
    """`text` with every active line commented out; comments and blank lines stay as they are."""
    return "".join(
        line if line.startswith("#") or not line.strip() else f"#{line}" for line in text.splitlines(keepends=True)
    )


def write(directory: str) -> Path:
    """Write the commented file into `directory`, making it if need be. Raises `UsageError` when one is there.

    What the operating system refuses is raised as it is, and leaves no file.
    """
    file = Path(directory).expanduser() / FILENAME
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        out = file.open("x")  # x: never over a file that somebody wrote
    except FileExistsError as error:
        raise UsageError(
            "there is a configuration already",
            where=str(file),
            remedy="edit it, or name another --directory",
        ) from error
    try:
        with out:
            out.write(commented(example()))
    except OSError:
        file.unlink()  # the disk is full: half a file would be in the way of the next attempt
        raise
    return file
