"""Lines of many hosts' logs as a person sees them: each after the names of its host and process. Pure."""

from __future__ import annotations

import re
import zlib

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""SGR codes of foregrounds that can be read on dark and on light."""

_CONTROL = re.compile(r"(\x1b\[[0-9;]*m)|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def prefix(host: str, process: str, width: int, *, colour: bool) -> str:
    """What stands before each line of `process` on `host`; `width` is that of the longest host's name."""
    text = f"{host:<{width}} {process} |"
    if not colour:
        return text
    return f"\x1b[{COLOURS[zlib.crc32(host.encode()) % len(COLOURS)]}m{text}\x1b[0m"


def harmless(line: str) -> str:
    """`line` for a terminal: what would move its cursor or change its title is left out, colours stay."""
    shown = _CONTROL.sub(lambda found: found[1] or "", line)
    return f"{shown}\x1b[0m" if "\x1b" in shown else shown
