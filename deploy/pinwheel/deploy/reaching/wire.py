"""How the controller speaks with a runner over one channel: length-prefixed there, lines of JSON back.

There go the runner's bundle, the request, and later the files that the runner wants, one frame each.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

PART_BYTES = 256 * 1024


class Channel(Protocol):
    """The part of paramiko's channel that reading answers takes. `recv` returns b"" at the end."""

    @property
    def exit_status(self) -> int: ...
    @property
    def status_event(self) -> threading.Event: ...
    def recv(self, nbytes: int) -> bytes: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...
    def recv_stderr_ready(self) -> bool: ...


class Answers:
    """The runner's answers, as documents. `exit_status` and `errors` (stderr) are known at their end; the status
    stays None when the connection died before the runner.

    Iterating raises what the channel raises, above all `TimeoutError` after its time without a byte.
    """

    def __init__(self, channel: Channel, silence_s: float) -> None:
        self._channel = channel
        self._silence_s = silence_s
        self.exit_status: int | None = None
        self.errors = ""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        rest = b""
        while chunk := self._channel.recv(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):  # something else prints on the host, a profile for instance
                    document = json.loads(line)
                    if isinstance(document, dict):
                        yield document
        self._ended()

    def drain(self) -> None:
        """Read to the end without looking."""
        while self._channel.recv(65536):
            pass
        self._ended()

    def _ended(self) -> None:
        # the exit status comes after the end of output, if the other side still lives
        if self._channel.status_event.wait(self._silence_s) and self._channel.exit_status != -1:
            self.exit_status = self._channel.exit_status
        while self._channel.recv_stderr_ready() and (chunk := self._channel.recv_stderr(65536)):
            self.errors += chunk.decode(errors="replace")


def framed(data: bytes) -> bytes:
    """`data` after its length in eight bytes."""
    return _length(len(data)) + data


def parts(file: Path) -> Iterator[bytes]:
    """The same for the contents of a file, piece by piece, so that it is never in memory as a whole."""
    with file.open("rb") as data:
        yield _length(os.fstat(data.fileno()).st_size)
        while chunk := data.read(PART_BYTES):
            yield chunk


def _length(size: int) -> bytes:
    return size.to_bytes(8, "big")
