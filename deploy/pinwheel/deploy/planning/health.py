"""A program's health check as the host's gate takes it: filled in, and proven to be one that can be asked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pinwheel.config import Program
from pinwheel.deploy.inventory.template import fill
from pinwheel.errors import UsageError


def health(program: Program, values: Mapping[str, str], where: str) -> dict[str, Any]:
    """Raises `UsageError` with the key below `where`."""
    wanted = program.health
    probes = [key for key in ("http", "tcp", "command") if getattr(wanted, key)]
    if len(probes) > 1:
        raise UsageError(
            f"a program has one health check, and {' and '.join(probes)} are set",
            where=f"{where}.{probes[-1]}",
            remedy="keep one of http, tcp and command; a command may ask for several things",
        )
    http, tcp = fill(wanted.http, values, f"{where}.http"), fill(wanted.tcp, values, f"{where}.tcp")
    for key, address, fits, example in (
        ("http", http, _is_url, "http://127.0.0.1:8000/health"),
        ("tcp", tcp, _is_address, "127.0.0.1:8000"),
    ):
        if address and not fits(address):
            raise UsageError(
                f"{address!r} cannot be asked", where=f"{where}.{key}", remedy=f"write for example {example}"
            )
    return {
        **wanted.values(),
        "http": http,
        "tcp": tcp,
        "command": [fill(part, values, f"{where}.command") for part in wanted.command],
    }


def _is_url(text: str) -> bool:
    """http or https, with a host, in characters that a request line can hold."""
    try:
        parts = urlsplit(text)
        usable = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and usable and not re.search(r"[^!-~]", text)


def _is_address(text: str) -> bool:
    """HOST:PORT; without HOST, this host; an IPv6 address stands in brackets."""
    found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})", text)
    return found is not None and 0 < int(found[1]) < 65536
