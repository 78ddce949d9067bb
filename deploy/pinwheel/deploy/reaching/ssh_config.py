"""The user's and the system's SSH configuration, with what `Include` brings in, which paramiko's parser skips."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinwheel.errors import UsageError

DEPTH = 16
"""How deep files may include one another, as in OpenSSH."""

WORDS = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(.+?)\s*$")


def ssh_config() -> Any:
    """What paramiko makes of it, parsed once for all hosts. Raises `UsageError` that names the file."""
    import paramiko

    parsed = paramiko.SSHConfig()
    own, of_system = Path("~/.ssh").expanduser(), Path("/etc/ssh")
    for file, folder in ((own / "config", own), (of_system / "ssh_config", of_system)):
        if file.is_file():
            try:
                parsed.parse(list(expanded(file, folder)))
            # ValueError: a quotation without an end
            except (OSError, UnicodeError, ValueError, paramiko.ConfigParseError) as error:
                why = (
                    f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else "it cannot be understood"
                )
                place = str(error.filename or file) if isinstance(error, OSError) else str(file)
                raise UsageError(why, where=place, remedy="correct it; `ssh -G HOST` names the line") from error
    return parsed


def expanded(file: Path, folder: Path, within: str = "", depth: int = 0) -> Iterator[str]:
    """The lines of `file` with those of included files in their place; relative names lie in `folder`.

    What an included file says counts only where its `Include` does: inside the block `within`, the words of a `Match`
    (empty: everywhere). So its own blocks ask for both, and the block of the `Include` goes on after it.
    Raises `OSError`, and `ValueError` for files that include themselves.
    """
    if depth > DEPTH:
        raise ValueError(f"{file} includes itself")
    block = within
    for line in file.read_text().splitlines():
        found = WORDS.match(line)
        match found and found[1].lower():
            case "host":
                block = _both(within, f"originalhost {','.join(_words(found))}")
                yield f"Match {block}" if within else line
            case "match":
                block = _both(within, found[2] if found else "")
                yield f"Match {block}"
            case "include":
                for name in _words(found):
                    path = folder / Path(name).expanduser()
                    for each in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))):
                        yield from expanded(each, folder, block, depth + 1)
                        yield f"Match {block or 'all'}"
            case _:
                yield line


def _words(found: re.Match[str] | None) -> list[str]:
    return shlex.split(found[2]) if found else []


def _both(one: str, other: str) -> str:
    """The words of a `Match` that asks for both; `all` stands alone in it, and asks for nothing."""
    if one in ("", "all"):
        return other
    return one if other == "all" else f"{one} {other}"
