"""Make a wheel or an sdist byte-reproducible: what depends on the machine, and not on the commit, is taken out.

Members are ordered by name, owned by nobody, dated by the commit, with one of two modes; a wheel's RECORD is
sorted, gzip's header says nothing. Contents stay as the backend wrote them.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import zipfile
from pathlib import Path

VERSION = "1"
"""Changes when the same input would give other bytes; statements name it."""

EARLIEST = 315532800  # 1980-01-01: a zip archive knows no earlier time
PLAIN, EXECUTABLE = 0o644, 0o755


def normalise(path: Path, epoch: int) -> None:
    """Rewrite the wheel or sdist at `path` in place; `epoch` is the commit's time in seconds since 1970.

    A build that is killed meanwhile leaves half a file, in a folder that nobody looks into again.
    """
    data = path.read_bytes()
    path.write_bytes(wheel(data, epoch) if path.suffix == ".whl" else sdist(data, epoch))


def wheel(data: bytes, epoch: int) -> bytes:
    """The same wheel, normalised."""
    date = time.gmtime(max(epoch, EARLIEST))[:6]
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as new,
    ):
        # .dist-info last, and RECORD at the very end, as PEP 427 asks: installers may then read as they unpack
        members = sorted(
            (each for each in old.infolist() if not each.is_dir()),
            key=lambda each: (_is_record(each.filename), ".dist-info/" in each.filename, each.filename),
        )
        for member in members:
            body = old.read(member)
            if _is_record(member.filename):
                body = b"".join(sorted(line + b"\n" for line in body.splitlines() if line))
            info = zipfile.ZipInfo(member.filename, date)
            info.create_system = 3  # Unix, so that the mode below counts
            mode = EXECUTABLE if (member.external_attr >> 16) & 0o111 else PLAIN
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, body)
    return out.getvalue()


def sdist(data: bytes, epoch: int) -> bytes:
    """The same sdist, normalised."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as old,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=out, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            info = tarfile.TarInfo(member.name)
            info.type, info.linkname, info.mtime = member.type, member.linkname, epoch
            info.mode = EXECUTABLE if member.isdir() or member.mode & 0o111 else PLAIN
            if member.isreg() or member.islnk():
                # a hard link becomes a file: in the new order it could come before the one it links to
                body = old.extractfile(member)
                data = body.read() if body else b""
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", len(data)
                new.addfile(info, io.BytesIO(data))
            else:
                new.addfile(info)
    return out.getvalue()


def _is_record(name: str) -> bool:
    return name.endswith(".dist-info/RECORD")
