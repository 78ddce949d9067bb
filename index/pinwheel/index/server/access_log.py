"""The place of the access log: one line of JSON for each request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pinwheel.errors import PinwheelError
from pinwheel.index.answers import Environ
from pinwheel.index.grants import Principal
from pinwheel.index.web.engine import PRINCIPAL

STDOUT = "-"
LONGEST_TEXT = 1000  # what a client says of itself


class AccessLog:
    """Append to the file `name`, `-` for standard output. `stamp` tells the time (RFC 3339).

    A line is one write to a file that is only appended to, so several processes may have it. Neither the query nor a
    header with a credential is in it.
    """

    def __init__(self, name: str, stamp: Callable[[], str]) -> None:
        self._name = name
        self._stamp = stamp
        self._descriptor = sys.stdout.fileno() if name == STDOUT else self._opened()

    def write(self, environ: Environ, status: int, sent_bytes: int, seconds: float) -> None:
        principal = environ.get(PRINCIPAL)
        line = {
            "log": "access",
            "time": self._stamp(),
            "address": environ.get("REMOTE_ADDR", ""),
            "principal": principal.name if isinstance(principal, Principal) else None,
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"][:LONGEST_TEXT],
            "status": status,
            "bytes": sent_bytes,
            "seconds": round(seconds, 6),
            "user_agent": environ.get("HTTP_USER_AGENT", "")[:LONGEST_TEXT],
        }
        try:
            os.write(self._descriptor, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        except OSError:
            return  # a full disk must not keep the index from answering

    def reopen(self) -> None:
        if self._name != STDOUT:
            # in the place of the old one, which another thread may be about to write to
            with_name = self._opened()
            os.dup2(with_name, self._descriptor, inheritable=False)
            os.close(with_name)

    def close(self) -> None:
        if self._name != STDOUT:
            os.close(self._descriptor)

    def _opened(self) -> int:
        try:
            return os.open(self._name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise PinwheelError(
                f"the access log cannot be written: {error.strerror}",
                where=str(Path(self._name)),
                remedy="correct its permissions, or name another file with --access-log",
            ) from error
