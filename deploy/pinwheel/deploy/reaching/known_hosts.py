"""Whose host keys are trusted: those in files of known hosts, and no other."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinwheel.deploy.reaching.hosts import HostKey
from pinwheel.errors import PinwheelError, UsageError

if TYPE_CHECKING:
    import paramiko


class KnownHosts:
    """The keys of known_hosts, read once. Strict: what is not in there is rejected.

    Lines `@cert-authority` count for nothing, because paramiko verifies no host certificates.
    """

    def __init__(self, file: Path | None) -> None:
        """Raises `UsageError`."""
        import paramiko

        self.file = file or Path("~/.ssh/known_hosts").expanduser()
        self._by_name: dict[str, list[paramiko.PKey]] = {}
        self._by_pattern: list[tuple[tuple[str, ...], paramiko.PKey]] = []
        self._revoked: set[str] = set()
        files = [self.file] if file else [self.file, Path("/etc/ssh/ssh_known_hosts")]
        for each in files:
            if each.is_file():
                try:
                    for line in each.read_text().splitlines():
                        self._read(line)
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
        for key in self._known(name):
            if key.get_base64() not in self._revoked:
                connection.client.get_host_keys().add(name, key.get_name(), key)
        connection.client.set_missing_host_key_policy(_reject())

    def revoked(self, key: HostKey) -> bool:
        return key.base64 in self._revoked

    def others(self, key: HostKey) -> bool:
        """Is a key known for that server? Then `key`, which is not, is a changed one, if of another kind."""
        return bool(self._known(key.name))

    def add(self, key: HostKey) -> None:
        """Add a line to the file, which is made if need be; nothing in it is replaced. Raises `UsageError`."""
        line = f"{key.name} {key.kind} {key.base64}"
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.file.open("a+", encoding="utf-8") as out:
                out.seek(0)
                whole = out.read()
                out.write(("" if not whole or whole.endswith("\n") else "\n") + line + "\n")
        except OSError as error:
            raise UsageError(
                f"the key cannot be written: {error.strerror}",
                where=str(self.file),
                remedy="see to it that you may write it",
            ) from error
        self._read(line)

    def _known(self, name: str) -> list[paramiko.PKey]:
        patterns = [key for names, key in self._by_pattern if _matches(names, name.lower())]
        return [*self._by_name.get(name.lower(), ()), *patterns]

    def _read(self, line: str) -> None:
        """Take in a line of the file. Raises paramiko's errors."""
        import paramiko

        words = line.split()
        if not words or words[0].startswith("#"):
            return
        if words[0].startswith("@"):
            if words[0] == "@revoked":
                self._revoked |= {*words[3:4]}  # whatever host it was of
            return
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
        if entry is None or entry.key is None:  # of a kind that paramiko does not know
            return
        names = tuple(entry.hostnames or ())
        if any(mark in name for name in names for mark in "*?!|"):
            self._by_pattern.append((names, entry.key))
            return
        for name in names:
            self._by_name.setdefault(name.lower(), []).append(entry.key)


def _matches(patterns: Sequence[str], name: str) -> bool:
    """Do the names of a line mean `name`? As in OpenSSH: hashed, or with * and ?, and ! for what is not meant."""
    import paramiko

    found = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            found |= paramiko.HostKeys.hash_host(name, pattern) == pattern
        elif fnmatchcase(name, pattern.lower().lstrip("!").replace("[", "[[]")):  # brackets are no sets there
            if pattern.startswith("!"):
                return False
            found = True
    return found


@functools.cache
def _reject() -> Any:
    import paramiko

    class Reject(paramiko.MissingHostKeyPolicy):
        def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
            raise UnknownKey(HostKey(hostname, key.get_name(), key.get_base64(), key.get_bits(), str(key.fingerprint)))

    return Reject()


class UnknownKey(PinwheelError):
    """Carries the key out of paramiko's policy."""

    def __init__(self, key: HostKey) -> None:
        super().__init__(f"the key of {key.name} is not known")
        self.key = key
