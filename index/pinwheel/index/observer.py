"""Who counts what the index does."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Told of each thing as it happens, from any thread. Must be quick, and raises nothing."""

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request was answered."""

    def uploaded(self, outcome: str) -> None:
        """A file was published, was there already, or was not let in."""

    def asked_upstream(self, host: str, status: int, seconds: float) -> None:
        """An upstream was asked; status 0 says that there was no answer."""

    def kept_from_upstream(self, host: str) -> None:
        """An upstream that keeps failing was not asked."""

    def looked_up(self, kind: str, *, kept: bool) -> None:
        """An upstream's page or file was asked for, and was here already or was not."""

    def flush(self) -> None:
        """The process ends: make known what is not yet."""


class Nobody:
    """Counts nothing."""

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        pass

    def uploaded(self, outcome: str) -> None:
        pass

    def asked_upstream(self, host: str, status: int, seconds: float) -> None:
        pass

    def kept_from_upstream(self, host: str) -> None:
        pass

    def looked_up(self, kind: str, *, kept: bool) -> None:
        pass

    def flush(self) -> None:
        pass
