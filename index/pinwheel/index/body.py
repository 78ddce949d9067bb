"""The body of a request to the control plane, read whole: bytes, or a JSON object."""

from __future__ import annotations

import json
from typing import Any

from pinwheel.index.answers import Environ, Stop, document
from pinwheel.index.upload import content_length

MOST_JSON_BYTES = 16 * 1024 * 1024


def json_of(environ: Environ) -> dict[str, Any]:
    """The JSON object that was sent. Raises `Stop`."""
    try:
        sent = json.loads(bytes_of(environ, MOST_JSON_BYTES))
    except ValueError as error:
        raise bad("the body is not JSON") from error
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


def bad(reason: str) -> Stop:
    """400: what was sent makes no sense."""
    return Stop(document(400, {"error": reason}))
