"""Whose host keys are trusted: those in files of known hosts, and no other."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinwheel.errors import PinwheelError, UsageError

if TYPE_CHECKING:
    import paramiko


class KnownHosts:
    """The keys of known_hosts, read once. Strict: what is not in there is rejected."""

    def __init__(self, file: Path | None) -> None:
        import paramiko

        self.file = file or Path("~/.ssh/known_hosts").expanduser()
        self._keys = paramiko.HostKeys()
        files = [self.file] if file else [self.file, Path("/etc/ssh/ssh_known_hosts")]
        for each in files:
            if each.is_file():
                try:
                    self._keys.load(str(each))
                # ValueError: not text; InvalidHostKey is none of paramiko's SSHExceptions
                except (OSError, ValueError, paramiko.SSHException, paramiko.hostkeys.InvalidHostKey) as error:
                    raise UsageError(
                        f"the file cannot be read: {error.strerror}"
                        if isinstance(error, OSError)
                        else "it is no file of known hosts",
                        where=str(each),
                        remedy="name a file in the format of OpenSSH's known_hosts, readable by you",
                    ) from error

    def guard(self, connection: Any) -> None:
        """Let the connection's client accept exactly the keys known for its host."""
        name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
        for key in (self._keys.lookup(name) or {}).values():
            connection.client.get_host_keys().add(name, key.get_name(), key)
        connection.client.set_missing_host_key_policy(_reject())


@functools.cache
def _reject() -> Any:
    import paramiko

    class Reject(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
            raise UnknownKey(hostname, f"{key.get_name()} {key.fingerprint}")

    return Reject()


class UnknownKey(PinwheelError):
    """Carries the name and fingerprint out of paramiko's policy."""

    def __init__(self, name: str, fingerprint: str) -> None:
        super().__init__(f"the key of {name} is not known")
        self.name = name
        self.fingerprint = fingerprint
