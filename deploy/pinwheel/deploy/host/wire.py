"""What leaves the host: answers as JSON lines, from which every known secret is taken out. Sent beside the runner."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import urllib.parse
from typing import Any

SHORTEST = 6
"""A shorter secret would garble everything that is said."""

CUT = 512
"""Characters: what was cut off at some number of bytes (a log's tail, a probe's answer) is longer than this."""


class Wire:
    """Answers on a descriptor. Whoever listens may be gone; then they are dropped, and the work goes on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock, self._secrets = descriptor, threading.Lock(), set[str]()

    def hide(self, *values: str) -> None:
        """Never let `values` leave, in whatever text they turn up: whole, a line of them, or as a URL has them."""
        lines = {line.strip() for value in values for line in (value, *value.splitlines())}
        self._secrets |= {
            each for line in lines for each in (line, urllib.parse.quote(line, "")) if len(each) >= SHORTEST
        }

    def hide_password(self, url: str) -> None:
        """Hide the password in `url`."""
        secret = urllib.parse.urlsplit(url).password or ""
        self.hide(secret, urllib.parse.unquote(secret))

    def masked(self, text: str) -> str:
        """`text` without secrets. Where it was cut off, it may begin or end in the middle of one; that goes, too."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        for secret in self._secrets if len(text) > CUT else ():
            for length in range(min(len(secret) - 1, len(text)), SHORTEST - 1, -1):
                if text.removeprefix("…").startswith(secret[-length:]):
                    text = f"***{text.removeprefix('…')[length:]}"
                if text.endswith(secret[:length]):
                    text = f"{text[:-length]}***"
        return text

    def send(self, kind: str, **fields: Any) -> None:
        rest = (json.dumps({"type": kind, **self._clean(fields)}) + "\n").encode()
        with self._lock, contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, dict):
            return {key: self._clean(each) for key, each in value.items()}
        return [self._clean(each) for each in value] if isinstance(value, list | tuple) else value
