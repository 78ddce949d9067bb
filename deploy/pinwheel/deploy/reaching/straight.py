"""A straight way to a host: paramiko's client, with what the SSH configuration says of the host.

Fabric's Connection merges a dozen layers of configuration for each host, which takes as long as the login. It is for
those hosts that are reached through others.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import paramiko


class Straight:
    """As much of Fabric's Connection as is used here, with the same names. `said` is what the SSH configuration says
    of `address`; `user` empty and `port` None leave the choice to it."""

    gateway = None

    def __init__(
        self,
        address: str,
        user: str,
        port: int | None,
        said: Mapping[str, Any],
        connect_kwargs: Mapping[str, Any],
        connect_s: int,
    ) -> None:
        import paramiko

        self.host: str = said.get("hostname", address)
        self.user: str = user or said.get("user") or getpass.getuser()
        self.port = port or int(said.get("port", 22))
        self.connect_timeout = int(said.get("connecttimeout", connect_s))
        self.connect_kwargs: dict[str, Any] = dict(connect_kwargs)
        if "identityfile" in said:
            self.connect_kwargs["key_filename"] = said["identityfile"]
        self.client = paramiko.SSHClient()
        self.transport: paramiko.Transport | None = None
        """None before the login."""

    @property
    def is_connected(self) -> bool:
        return self.transport is not None and self.transport.is_active()

    def open(self) -> None:
        """Log in. Raises what paramiko raises."""
        self.client.connect(self.host, self.port, self.user, timeout=self.connect_timeout, **self.connect_kwargs)
        self.transport = self.client.get_transport()

    def close(self) -> None:
        if self.transport is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self.transport.sock.shutdown(socket.SHUT_RDWR)  # wakes its thread, which ends then
        self.client.close()
