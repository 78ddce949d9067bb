"""What a client can take: media types, encodings, ranges, and what it has already (RFC 9110)."""

from __future__ import annotations

import functools
import re

from pinwheel.index.simple.pages import HTML_V1, JSON_V1, TEXT_HTML

_ACCEPTABLE = {
    JSON_V1: JSON_V1,
    HTML_V1: HTML_V1,
    TEXT_HTML: TEXT_HTML,
    "application/vnd.pypi.simple.latest+json": JSON_V1,
    "application/vnd.pypi.simple.latest+html": HTML_V1,
}
_NAMED_FIRST = (JSON_V1, HTML_V1, TEXT_HTML)  # whoever names several alike has it easiest with the first
_UNNAMED_FIRST = (TEXT_HTML, HTML_V1, JSON_V1)  # whoever takes anything may be a browser
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)


@functools.lru_cache(maxsize=256)
def media_type(accept: str, query: str) -> str:
    """The form to answer with. `?format=` wins over Accept; nothing acceptable or nothing said gets text/html."""
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        value = value.replace("%2B", "+").replace("%2b", "+").replace("%2F", "/").replace("%2f", "/")
        if key == "format" and value in _ACCEPTABLE:
            return _ACCEPTABLE[value]
    wanted = [_weighted(part) for part in accept.split(",")]
    named: dict[str, float] = {}
    for name, weight in wanted:
        if name in _ACCEPTABLE:
            named[_ACCEPTABLE[name]] = max(weight, named.get(_ACCEPTABLE[name], 0.0))
    ranges = dict(wanted)
    # what a range says counts for the forms that are not named; the narrower range first (RFC 9110, 12.5.1)
    unnamed = {
        kind: ranges.get(kind.partition("/")[0] + "/*", ranges.get("*/*", 0.0))
        for kind in _UNNAMED_FIRST
        if kind not in named
    }
    weights = named | unnamed
    best = max(weights.values())
    order = [kind for kind in _NAMED_FIRST if kind in named] + [kind for kind in _UNNAMED_FIRST if kind in unnamed]
    return next((kind for kind in order if best and weights[kind] == best), TEXT_HTML)


@functools.lru_cache(maxsize=256)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip has a weight above 0; `*` counts when it is not named."""
    wanted = dict(_weighted(part) for part in accept_encoding.split(","))
    return wanted.get("gzip", wanted.get("x-gzip", wanted.get("*", 0.0))) > 0


def has_it(if_none_match: str, etag: str) -> bool:
    """Whether the client's ETags name this one (weak comparison)."""
    given = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return etag in given or "*" in given


def byte_range(header: str, size_bytes: int) -> tuple[int, int] | None:
    """First and last position of the one range that `header` asks for, as far as it exists.

    None means: send all (no range, several ranges, or nonsense). Raises `ValueError` when no byte of it exists.
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes - 1
        if int(last) == 0:
            raise ValueError(header)
    else:
        start, end = int(first), min(int(last), size_bytes - 1) if last else size_bytes - 1
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise ValueError(header)
    return start, end


def _weighted(part: str) -> tuple[str, float]:
    """`text/html;q=0.8` as its name and weight."""
    name, *parameters = part.split(";")
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name.strip().lower(), quality
