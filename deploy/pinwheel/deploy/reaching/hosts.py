"""The port through which hosts are reached, and the ways in which reaching one fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pinwheel.errors import PinwheelError


class NotTouched(PinwheelError):
    """The host was not asked; nothing on it has changed."""


class HostUnreachable(NotTouched):
    """Nobody answers at the host's address, or not as an SSH server does."""


class HostKeyRejected(NotTouched):
    """The host's key is unknown, or is another one than known_hosts says."""


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


class Hosts(Protocol):
    """Ask hosts. Many threads may ask at once, each another host."""

    def ask(
        self,
        host: str,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told = untold,
    ) -> Mapping[str, Any]:
        """Let the runner on `host` do what `request` says (`steps.request`) and return its result.

        `heard` is called with what it says meanwhile to people, `told` with the answers that are neither that nor its
        last one: the lines of logs. Raises the errors above, and what these two raise.
        """

    def abort(self) -> None:
        """Tell every host that is at work to stop, which makes an activation go back; they answer as always."""

    def close(self) -> None:
        """Let go of every host. Who is being asked meanwhile is lost (`HostLost`)."""
