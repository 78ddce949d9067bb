"""Answers: what a route gives back, and how it becomes WSGI."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
REALM = ("WWW-Authenticate", 'Basic realm="pinwheel", charset="UTF-8"')
# how long a web server in front believes a verdict; a yes also while it cannot reach us
VERDICTS = {204: "max-age=2, stale-if-error=3600", 401: "max-age=2", 403: "max-age=2"}
_PHRASES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. `body` is sent as it is, in one piece when it is bytes; `length` is the length of the
    body, also when it is not sent (HEAD). `lasting` is one that stays true until the next commit."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | Iterable[bytes] = b""
    length: int = -1
    lasting: bool = False

    def send(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        body = self.body
        length = self.length if self.length >= 0 else len(body) if isinstance(body, bytes) else -1
        headers = list(self.headers)
        if length >= 0 and self.status not in (204, 304):
            headers.append(("Content-Length", str(length)))
        start_response(_PHRASES[self.status], headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            close = getattr(body, "close", None)
            if close is not None:
                close()
            return []
        return [body] if isinstance(body, bytes) else body


class Stop(Exception):
    """Ends a route early with an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def text(status: int, message: str, *headers: tuple[str, str]) -> Answer:
    """Plain text: installers and uploaders print it."""
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return Answer(status, (kind, ("Cache-Control", "no-store"), *headers), (message + "\n").encode())


def challenge(reason: str) -> Answer:
    """401: who asks must say who it is."""
    return text(401, reason, REALM)


def verdict(answer: Answer) -> Answer:
    """The answer as one that a web server in front keeps: a no too, so that it takes the place of an earlier yes."""
    kept = VERDICTS.get(answer.status)
    if kept is None:
        return answer
    others = (each for each in answer.headers if each[0] != "Cache-Control")
    return replace(answer, headers=(*others, ("Cache-Control", kept)))


def document(status: int, body: Mapping[str, Any], *headers: tuple[str, str]) -> Answer:
    """JSON of the control plane; every document says which version of it this is."""
    kind = ("Content-Type", "application/json")
    encoded = (json.dumps({"api": 1, **body}) + "\n").encode()
    return Answer(status, (kind, ("Cache-Control", "no-store"), *headers), encoded)


def moved(location: str) -> Answer:
    return text(301, f"moved to {location}", ("Location", location))


def query_of(environ: Environ) -> dict[str, str]:
    """The query's fields; of one that is there twice, the last."""
    parsed = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return {key: values[-1] for key, values in parsed.items()}
