"""Receive an upload: read the multipart body once, as it comes, into one temporary file, hashing on the way."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from pinwheel.archive import printable
from pinwheel.index.answers import Environ, Stop, text
from pinwheel.index.entries import CHUNK_BYTES
from pinwheel.index.intake.body import content_length
from pinwheel.index.policy import LARGEST_FILE_BYTES
from pinwheel.index.store.disk import full_disk_told, scratch_file, write_all

FORM_BYTES = 8 * 1024 * 1024  # all fields of the form together; a long description is one of them
MOST_SEGMENTS = 4096
CONTENT = "content"


@dataclass(slots=True)
class Received:
    """A form and its one file, not judged yet. `digests` are hex by the names that the legacy upload form uses."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    filename: str = ""
    path: Path | None = None
    size_bytes: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def field(self, name: str) -> str:
        """The last value of a field, empty when it is not there."""
        return self.fields.get(name, [""])[-1]


@contextlib.contextmanager
def received(environ: Environ, temporary: Path, largest_bytes: int = LARGEST_FILE_BYTES) -> Iterator[Received]:
    """Read the request's body. The temporary file is gone when the context ends.

    Raises `Stop` with 400 for a body that is no complete form, 413 for one that is too large; `NoSpace`.
    """
    boundary = _boundary(environ)
    length = content_length(environ)
    if length > largest_bytes + FORM_BYTES:
        raise Stop(too_large(largest_bytes))
    with scratch_file(temporary, "upload") as partial:
        with full_disk_told(temporary):
            form = _read(environ["wsgi.input"], boundary, length, partial, largest_bytes)
        yield form


def too_large(largest_bytes: int) -> Any:
    return text(413, f"the file is larger than {largest_bytes} bytes, the most that this index takes")


def _boundary(environ: Environ) -> str:
    kind, options = parse_options_header(environ.get("CONTENT_TYPE") or environ.get("HTTP_CONTENT_TYPE") or "")
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise Stop(text(400, "an upload is a multipart/form-data body"))
    return str(options["boundary"])


def _read(source: Any, boundary: str, length: int, partial: BinaryIO, largest_bytes: int) -> Received:
    form = Received()
    names: list[str] = []
    values: list[bytearray] = []
    form_bytes = 0
    digests: dict[str, Any] = {
        "sha256_digest": hashlib.sha256(),
        "blake2_256_digest": hashlib.blake2b(digest_size=32),
        "md5_digest": hashlib.md5(usedforsecurity=False),
    }
    segment: MultipartSegment | None = None
    body_bytes = 0

    def piece(size: int) -> bytes:
        nonlocal body_bytes
        found: bytes = source.read(size)
        body_bytes += len(found)
        if body_bytes > largest_bytes + FORM_BYTES:
            raise Stop(too_large(largest_bytes))
        return found

    try:
        # not strict: that refuses the line end behind the last boundary when it comes in a piece of its own
        parser = PushMultipartParser(boundary, content_length=length, max_segment_count=MOST_SEGMENTS)
        for event in parser.parse_blocking(piece, CHUNK_BYTES):
            if isinstance(event, MultipartSegment):
                segment = event
                if event.name == CONTENT and event.filename is not None:
                    if form.path is not None:
                        raise Stop(text(400, "the form has more than one file"))
                    form.filename = event.filename
                    form.path = Path(partial.name)
                else:
                    names.append(event.name or "")
                    values.append(bytearray())
            elif not event:
                continue
            elif segment is not None and segment.name == CONTENT and segment.filename is not None:
                form.size_bytes += len(event)
                if form.size_bytes > largest_bytes:
                    raise Stop(too_large(largest_bytes))
                for digest in digests.values():
                    digest.update(event)
                write_all(partial, event)
            else:
                form_bytes += len(event)
                if form_bytes > FORM_BYTES:
                    raise Stop(text(413, f"the form's fields are larger than {FORM_BYTES} bytes"))
                values[-1] += event
    except ParserLimitReached as error:
        raise Stop(text(413, f"the form is too large: {error}")) from error
    except MultipartError as error:
        # also a body that was cut: the server hands it on as one that simply ends
        raise Stop(text(400, f"the body is no complete form: {error}")) from error
    for name, value in zip(names, values, strict=True):
        try:
            decoded = value.decode()
            form.fields.setdefault(name, []).append(decoded)
        except UnicodeDecodeError:
            form.faults.append(f"the form's field {printable(name)!r} is not UTF-8")
    form.digests = {name: digest.hexdigest() for name, digest in digests.items()}
    return form
