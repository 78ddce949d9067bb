"""The body of a request: its announced length, and bodies that are read whole, as bytes or as a JSON object."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any

from pinwheel.index.answers import Environ, Stop, document, text

MOST_JSON_BYTES = 16 * 1024 * 1024
_NUMBER = re.compile(r"-?[0-9]{1,18}")  # what a database's integer holds


class _TooLarge(ValueError):
    """A number that no database holds."""


def json_of(environ: Environ) -> dict[str, Any]:
    """The JSON object that was sent. Raises `Stop`."""
    try:
        sent = json.loads(bytes_of(environ, MOST_JSON_BYTES), parse_int=_integer)
    except _TooLarge as error:
        raise bad("the body has a number with more than 18 digits") from error
    except (ValueError, RecursionError) as error:
        raise bad("the body is not JSON") from error
    try:
        # JSON can say more than can be stored and sent on
        json.dumps(sent, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad("the body has text that is not Unicode, a number that is none, or too many levels") from error
    if not isinstance(sent, dict):
        raise bad("the body is not a JSON object")
    return sent


def bytes_of(environ: Environ, most_bytes: int) -> bytes:
    """The whole body. Raises `Stop` when it is too large or was cut."""
    announced = content_length(environ)
    if announced > most_bytes:
        raise Stop(document(413, {"error": f"the body is larger than {most_bytes} bytes"}))
    chunks: list[bytes] = []
    size = 0
    while chunk := environ["wsgi.input"].read(most_bytes + 1 - size):
        chunks.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            raise Stop(document(413, {"error": f"the body is larger than {most_bytes} bytes"}))
    if announced >= 0 and size != announced:
        raise bad("the body was cut")
    return b"".join(chunks)


def content_length(environ: Environ) -> int:
    """The announced length of the body, -1 when none is (chunked). Raises `Stop`."""
    announced = environ.get("CONTENT_LENGTH") or environ.get("HTTP_CONTENT_LENGTH") or ""
    if not announced:
        return -1
    if not (announced.isascii() and announced.isdigit() and len(announced) < 20):
        raise Stop(text(400, "Content-Length is not a number"))
    return int(announced)


def bounded(environ: Environ, most_bytes: int) -> Environ:
    """The request with its body read already. Raises `Stop` when it is too large or was cut."""
    body = bytes_of(environ, most_bytes)
    # it is no longer in chunks, if it was
    headers = {key: value for key, value in environ.items() if key != "HTTP_TRANSFER_ENCODING"}
    return headers | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def number_of(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query. Raises `Stop`."""
    value = query.get(name, str(default))
    if not _NUMBER.fullmatch(value):
        raise bad(f"{name} is a number of at most 18 digits")
    return int(value)


def seconds_of(sent: Mapping[str, Any], name: str, most: float) -> float:
    """A number of seconds of a JSON object, above 0. Raises `Stop`."""
    value = sent.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise bad(f"{name} is a number of seconds, at most {most:g}")
    return float(value)


def _integer(digits: str) -> int:
    if not _NUMBER.fullmatch(digits):
        raise _TooLarge
    return int(digits)


def bad(reason: str) -> Stop:
    """400: what was sent makes no sense."""
    return Stop(document(400, {"error": reason}))
