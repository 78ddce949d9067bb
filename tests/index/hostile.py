"""Archives that look small and are not, and what a process has taken for them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

from tests.index.making import Made, metadata

MEBIBYTE = 1024 * 1024
NAME, VERSION = "bomb", "1.0.0"
WHEEL, SDIST = f"{NAME}-{VERSION}-py3-none-any.whl", f"{NAME}-{VERSION}.tar.gz"
INFO = f"{NAME}-{VERSION}.dist-info"
DOCUMENT = metadata(NAME, VERSION)


def wheel_of(members: dict[str, bytes], *, compressed: int = zipfile.ZIP_DEFLATED, document: bytes = DOCUMENT) -> Made:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compressed) as file:
        for name, body in (("METADATA", document), ("WHEEL", b""), ("RECORD", b"")):
            file.writestr(f"{INFO}/{name}", body)
        for name, body in members.items():
            file.writestr(name, body)
    return Made(NAME, VERSION, WHEEL, out.getvalue())


def sdist_of(*members: tarfile.TarInfo, tail: bytes = b"") -> Made:
    """An sdist with empty members of these headers; `tail` is compressed already, and follows them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        first = tarfile.TarInfo(f"{NAME}-{VERSION}/PKG-INFO")
        first.size = len(DOCUMENT)
        file.addfile(first, io.BytesIO(DOCUMENT))
        for info in members:
            file.addfile(info)
        end = file.offset
    return Made(NAME, VERSION, SDIST, gzip.compress(out.getvalue()[:end], 1, mtime=0) + tail)


def a_zip_bomb() -> Made:
    """A quarter of a MiB that unpacks to 256 MiB."""
    return wheel_of({"zeros": bytes(256 * MEBIBYTE)})


def a_tar_bomb() -> Made:
    """A hundred KiB that unpack to 8 GiB: one compressed piece of zeros, again and again."""
    zeros = tarfile.TarInfo(f"{NAME}-{VERSION}/zeros")
    zeros.size = 8192 * MEBIBYTE
    return sdist_of(zeros, tail=gzip.compress(bytes(8 * MEBIBYTE), mtime=0) * 1024)


def a_bomb_behind_the_end_of_a_tar() -> Made:
    return sdist_of(tail=gzip.compress(bytes(8 * MEBIBYTE), mtime=0) * 1024)


def a_wheel_of_100_000_members() -> Made:
    return wheel_of({f"{number}": b"" for number in range(100_000)}, compressed=zipfile.ZIP_STORED)


def an_sdist_of_100_000_members() -> Made:
    return sdist_of(*(tarfile.TarInfo(f"{NAME}-{VERSION}/{number}") for number in range(100_000)))


def a_header_of_digits() -> Made:
    """What `tarfile` reads in quadratic time."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, MEBIBYTE
    return sdist_of(info, tail=gzip.compress(b"1" * MEBIBYTE + bytes(1024), mtime=0))


def names_of_a_mebibyte() -> Made:
    """A hundred members, each with a name of nearly a MiB."""
    out = b""
    for number in range(100):
        name = f"{NAME}-{VERSION}/{number}".encode() + b"x" * (MEBIBYTE - 64)
        info, real = tarfile.TarInfo("long"), tarfile.TarInfo("short")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, len(name)
        out += zlib.compress(info.tobuf(tarfile.GNU_FORMAT) + name + bytes(-len(name) % 512) + real.tobuf(), wbits=31)
    return sdist_of(tail=out)


def metadata_without_an_end() -> Made:
    """METADATA of 60 MiB."""
    return wheel_of({}, document=DOCUMENT + bytes(60 * MEBIBYTE))


def a_link_out_of_the_sdist() -> Made:
    info = tarfile.TarInfo(f"{NAME}-{VERSION}/link")
    info.type, info.linkname = tarfile.SYMTYPE, "../../etc/passwd"
    return sdist_of(info)


def a_path_out_of_the_sdist() -> Made:
    return sdist_of(tarfile.TarInfo(f"{NAME}-{VERSION}/../../outside"))


ALL = (
    *(a_zip_bomb, a_tar_bomb, a_bomb_behind_the_end_of_a_tar, a_wheel_of_100_000_members),
    *(an_sdist_of_100_000_members, a_header_of_digits, names_of_a_mebibyte, metadata_without_an_end),
    *(a_link_out_of_the_sdist, a_path_out_of_the_sdist),
)


class Peak:
    """The most memory that processes had since the last `forget`."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids

    def forget(self) -> None:
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def bytes(self) -> int:
        return max(self._peak(pid) for pid in self._pids)

    @staticmethod
    def _peak(pid: int) -> int:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def disk_bytes(folder: Path) -> int:
    """What all files below the folder take, each once however many names it has."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.stat(os.path.join(where, name))  # noqa: PTH116, PTH118 - it may go at any moment
            except FileNotFoundError:
                continue
            found[state.st_ino] = state.st_blocks * 512
    return sum(found.values())
