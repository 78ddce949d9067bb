"""Answers that count again: most requests for a page say just what another one has just said.

An answer is kept until somebody commits anything, and for a second at most: so what time alone changes, such as the end
of a token, is not late, and what was read from a file of passwords not much.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pinwheel.index.answers import Answer, Environ
from pinwheel.index.grants import Principal

KEPT_S = 1.0
MOST_KEPT = 1024
Key = tuple[str, str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as WSGI takes it, for whom it was made, and until when it counts (`time.monotonic`)."""

    status: str
    headers: list[tuple[str, str]]
    body: list[bytes]
    principal: Principal
    until: float


class KeptAnswers:
    """Answers by all that they depend on. `state` is as in `Records`. Safe to share between threads."""

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._since: object = None
        self._kept: dict[Key, Kept] = {}

    def current(self) -> dict[Key, Kept]:
        """Those that count since the last commit. An answer belongs into the very dictionary that was current before it
        was made: after a commit, nobody looks there any more."""
        state = self._state()
        if state is not self._since:
            self._kept = {}
            self._since = state
        return self._kept


def key_of(environ: Environ) -> Key:
    """What the answer to a request for a page depends on, besides what is published."""
    said = environ.get
    return (
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        said("QUERY_STRING", ""),
        said("HTTP_AUTHORIZATION", ""),
        said("HTTP_ACCEPT", ""),
        said("HTTP_ACCEPT_ENCODING", ""),
        said("HTTP_IF_NONE_MATCH", ""),
    )


def keep(current: dict[Key, Kept], key: Key, environ: Environ, answer: Answer, principal: Principal) -> None:
    """Keep an answer that holds until the next commit."""
    lasts_s = KEPT_S
    if principal.expires_at is not None:
        lasts_s = min(lasts_s, principal.expires_at - time.time())
    sent: list[tuple[str, list[tuple[str, str]]]] = []
    body = answer.send(environ, lambda status, headers: sent.append((status, headers)))
    if len(current) >= MOST_KEPT:
        current.clear()  # there is no end of what can be asked
    current[key] = Kept(*sent[0], list(body), principal, time.monotonic() + lasts_s)
