"""Whatever the body is, `upload.received` reads a complete form or stops with 400 or 413, and leaves nothing behind.

The first byte says how the body comes: its announced length, and in which pieces.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["pinwheel", "multipart", "packaging"]):
    from pinwheel.archive import Limits
    from pinwheel.index.answers import Stop
    from pinwheel.index.intake import upload
    from pinwheel.index.intake.admission import Rejected, judge
    from pinwheel.index.intake.upload import Received, received

SCRATCH = Path(tempfile.mkdtemp(prefix="pinwheel-fuzz-"))
MOST_BYTES = 10_000
upload.FORM_BYTES = 5_000
PIECES = (1, 7, 64, 100_000)


class InPieces(io.BytesIO):
    """A body of which each read gives at most so much."""

    def __init__(self, body: bytes, most: int) -> None:
        super().__init__(body)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, self._most) if size is not None and size >= 0 else self._most)


def taken(content_type: str, body: bytes, length: str, most: int) -> Received | None:
    """The form, judged, or None when it was refused."""
    environ: dict[str, Any] = {
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": length,
        "wsgi.input": InPieces(body, most),
    }
    try:
        with received(environ, SCRATCH, MOST_BYTES) as form:
            if form.path is not None:
                content = form.path.read_bytes()
                assert len(content) == form.size_bytes <= MOST_BYTES
                assert hashlib.sha256(content).hexdigest() == form.digests["sha256_digest"]
            try:
                judge(form, Limits(members=300, unpacked_bytes=2**22, metadata_bytes=2**17))
            except Rejected as error:
                assert error.reasons
    except Stop as stop:
        assert stop.answer.status in (400, 413), stop.answer
        form = None
    assert not list(SCRATCH.iterdir())
    return form


def is_odd(body: bytes) -> bool:
    """Whether there is something before the first boundary, or a line feed alone in headers: the parser minds these
    only when they come in one piece with what follows."""
    return not body.startswith(b"--b\r\n") or any(
        b"\n" in part.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"") for part in body.split(b"--b")
    )


def one(data: bytes) -> None:
    if not data:
        return
    how, body = data[0], data[1:]
    content_type = "multipart/form-data; boundary=b"
    if how & 0x80:
        line, _, body = body.partition(b"\n")
        content_type = line.decode("latin-1")
    most = PIECES[how & 3]
    length = ("", str(len(body)), str(len(body) + 1), str(max(0, len(body) - 1)))[(how >> 2) & 3]
    form = taken(content_type, body, length, most)
    if form is None or is_odd(body):
        return
    # however the pieces fall, it is the same form
    again = taken(content_type, body, length, PIECES[(how + 1) & 3])
    assert again is not None
    assert (again.fields, again.filename, again.digests) == (form.fields, form.filename, form.digests)
    if how & 0x80 == 0:
        # a client that hung up before it had sent the last boundary has sent nothing
        cut = body.find(b"\r\n--b--")
        if cut > 0:
            assert taken(content_type, body[: cut + 5], length, most) is None


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
