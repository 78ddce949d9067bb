"""What is seen of every request, around the application: that its connection ends when the worker is to leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pinwheel.index.answers import Environ, StartResponse

CLOSE = ("Connection", "close")


class Watched:
    """The application that `make` makes, watched."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._leaving = False

    def made(self) -> Watched:
        self._app = self._make()
        return self

    def leave(self) -> None:
        """From now on let each connection end with its answer, so that clients come back to another worker."""
        self._leaving = True

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._leaving:
            return self._app(environ, start_response)  # type: ignore[no-any-return]

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, CLOSE])

        return self._app(environ, start)  # type: ignore[no-any-return]
