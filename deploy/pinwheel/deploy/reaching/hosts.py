"""The port through which hosts are reached, and the ways in which reaching one fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pinwheel.errors import PinwheelError


class NotTouched(PinwheelError):
    """The host was not asked; nothing on it has changed."""


class HostUnreachable(NotTouched):
    """Nobody answers at the host's address, or not as an SSH server does."""


class HostKeyRejected(NotTouched):
    """The host's key is unknown, or is another one than known_hosts says."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a server proved to have. `name` is how known_hosts calls that server: `host`, or `[host]:port`;
    `kind` is as there (`ssh-ed25519`), `fingerprint` as ssh-keygen shows it (`SHA256:…`)."""

    name: str
    kind: str
    base64: str
    bits: int
    fingerprint: str


class HostKeyUnknown(HostKeyRejected):
    """The host, or a jump host on the way to it, has a `key` that is in no known_hosts."""

    def __init__(self, problem: str, *, where: str, remedy: str, key: HostKey) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.key = key


class LoginRefused(NotTouched):
    """The host does not take our user or key."""


class RunnerFailed(NotTouched):
    """We are on the host, but the runner did not start: sudo wants a password, python is missing or too old."""


class HostLost(PinwheelError):
    """The connection died after the host was asked. The host ends what it does by itself, and knows how it ended."""


class StepRefused(PinwheelError):
    """The runner answered with an error: the step did not happen. `code` is one of the protocol's words."""

    def __init__(self, code: str, problem: str, *, where: str, remedy: str) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.code = code


Told = Callable[[Mapping[str, Any]], None]


def untold(answer: Mapping[str, Any]) -> None:
    """Leave an answer aside."""


Files = Callable[[str], Path]
"""Gives the file with a sha256, for a host that wants it. Raises `PinwheelError`."""


def no_files(sha256: str) -> Path:
    """For hosts that fetch by themselves."""
    raise PinwheelError(f"a host wants a file that it was not promised: sha256 {sha256}", remedy="please report this")


class Hosts(Protocol):
    """Ask hosts. Many threads may ask at once, each another host."""

    def ask(
        self,
        host: str,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told = untold,
        files: Files = no_files,
    ) -> Mapping[str, Any]:
        """Let the runner on `host` do what `request` says (`steps.request`) and return its result.

        `heard` is called with what it says meanwhile to people, `told` with the answers that are neither that nor its
        last one: the lines of logs; `files` for what it wants to be sent. Raises the errors above, and what the first
        two raise; for a file that cannot be had, `StepRefused`.
        """

    def greet(self, host: str) -> None:
        """Connect to `host` and ask nothing. Raises `NotTouched`."""

    def trust(self, key: HostKey) -> None:
        """Write a key of which a person is sure into the file of known hosts. Raises `UsageError`."""

    def abort(self) -> None:
        """Tell every host that is at work to stop, which makes an activation go back; they answer as always."""

    def close(self) -> None:
        """Let go of every host. Who is being asked meanwhile is lost (`HostLost`)."""
