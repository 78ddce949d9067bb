"""Whatever the bytes are, `archive.read` finds a sound distribution in them or raises `BadArchive`.

The first byte says what the rest is: a wheel, an sdist, its tar alone, the metadata in a sound wheel, a filename.
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pinwheel", "packaging", "zipfile", "tarfile", "email"]):
    from pinwheel import archive
    from pinwheel.archive import BadArchive, Distribution, Limits

WHEEL, SDIST = "acme_greet-1.0.0-py3-none-any.whl", "acme_greet-1.0.0.tar.gz"
TIGHT = Limits(members=300, unpacked_bytes=2**22, free_bytes=2**21, metadata_bytes=2**17)
INFO = "acme_greet-1.0.0.dist-info"
SCRATCH = Path(tempfile.mkdtemp(prefix="pinwheel-fuzz-"))
FILE = SCRATCH / "file"


def read(content: bytes, filename: str) -> Distribution | None:
    FILE.write_bytes(content)
    try:
        found = archive.read(FILE, filename, TIGHT)
    except BadArchive as error:
        assert error.reasons
        assert all(isinstance(reason, str) and reason for reason in error.reasons)
        return None
    finally:
        archive.wheel_metadata(FILE, TIGHT)
    assert (found.name, str(found.version)) == ("acme-greet", "1.0.0")
    assert found.metadata.version == found.version
    assert isinstance(found.metadata_is_reliable, bool)
    for member in found.members:
        assert ".." not in member.path.split("/")
        assert not member.path.startswith("/")
    return found


def a_wheel(content: bytes) -> None:
    found = read(content, WHEEL)
    if found is not None:
        with zipfile.ZipFile(FILE) as file:
            assert file.testzip() is None
            assert file.read(f"{INFO}/METADATA") == found.core_metadata


def an_sdist(content: bytes) -> None:
    found = read(content, SDIST)
    if found is not None:
        # what installers unpack with sees the same
        with tarfile.open(FILE, "r:gz") as file:
            seen = [(info.name, info.size) for info in file if info.isfile()]
        assert seen == [(member.path, member.size_bytes) for member in found.members], seen


def metadata(content: bytes) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, body in (("METADATA", content), ("WHEEL", b""), ("RECORD", b"")):
            file.writestr(f"{INFO}/{name}", body)
    read(packed.getvalue(), WHEEL)


def a_filename(content: bytes) -> None:
    filename = content.decode("utf-8", "surrogateescape")
    archive.printable(filename)
    try:
        named = archive.name_of(filename)
    except BadArchive:
        return
    assert "/" not in filename
    assert ".." not in filename
    assert filename.isascii()
    again = f"{named.name.replace('-', '_')}-{named.version}.tar.gz"
    assert archive.name_of(again).version == named.version
    assert archive.name_of(again).name == named.name


KINDS = (
    a_wheel,
    an_sdist,
    lambda content: an_sdist(gzip.compress(content, 1, mtime=0)),
    metadata,
    a_filename,
)


def one(data: bytes) -> None:
    if data:
        KINDS[data[0] % len(KINDS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
