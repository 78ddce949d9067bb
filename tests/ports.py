"""Ports of loopback: for a server that must be told its port before it listens, and for nobody at all."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator


def free_port() -> int:
    """Below the range from which the kernel takes ports for others, who would have it before the server does."""
    while True:
        port = random.randint(20000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def deserted_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody can: whoever connects is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
