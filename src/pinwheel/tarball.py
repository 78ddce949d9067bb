"""Read a .tar.gz of unknown origin once, as a stream: its members one after the other.

`tarfile` is made for archives that one trusts. It keeps what headers say for as long as the archive is open, recurses
from header to header, makes lists of a sparse file's holes, and before Python 3.12.6 looked at some headers in
quadratic time: a few kilobytes kept a process busy for a quarter of an hour. What it reads as the end of an archive
(a damaged header) is refused here. Formats: ustar, pax (POSIX.1-2001), GNU's long names.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

CHUNK_BYTES = 256 * 1024
LARGEST_HEADER_BYTES = 1024 * 1024
LARGEST_NAMES_BYTES = 16 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_ABOUT_HEADERS = (*_LONG, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE)
_RENAMING = ("path", "linkpath", "size")


class BadTarball(Exception):
    """This is no .tar.gz that can be read to its end; the text is the reason."""


class Inflated:
    """The decompressed stream of a gzip file, of one or several parts. `grown` is called with its length so far."""

    def __init__(self, file: IO[bytes], grown: Callable[[int], None]) -> None:
        self._file = file
        self._grown = grown
        self._inflater = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._inflated = 0
        self._ready = b""
        self._taken = 0

    @property
    def position(self) -> int:
        """How much was read."""
        return self._inflated - len(self._ready) + self._taken

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, less only at the end. Raises `BadTarball`, and whatever `grown` raises."""
        while len(self._ready) - self._taken < size and (piece := self._piece()):
            self._ready = self._ready[self._taken :] + piece
            self._taken = 0
        found = self._ready[self._taken : self._taken + size]
        self._taken += len(found)
        return found

    def skip(self, size: int) -> None:
        """Read on without looking. Raises `BadTarball` when there is less."""
        while size > 0:
            if not (piece := self.read(min(size, CHUNK_BYTES))):
                raise BadTarball("it ends within a member")
            size -= len(piece)

    def _piece(self) -> bytes:
        while True:
            packed = self._packed or self._file.read(CHUNK_BYTES)
            if self._inflater.eof:
                if not packed:
                    return b""
                # after a part may come zeros, and another part
                self._packed = packed = packed.lstrip(b"\0")
                if not packed:
                    continue
                self._inflater = zlib.decompressobj(_GZIP)
            try:
                piece = self._inflater.decompress(packed, CHUNK_BYTES)
            except zlib.error as error:
                raise BadTarball(str(error)) from error
            self._packed = self._inflater.unconsumed_tail or self._inflater.unused_data
            if piece:
                self._inflated += len(piece)
                self._grown(self._inflated)
                return piece
            if not packed and not self._inflater.eof:
                raise BadTarball("it ends within the compressed data")


def members(stream: Inflated) -> Iterator[tarfile.TarInfo]:
    """The members in their order, then the rest of the stream is read, for at its end are gzip's checksums. While a
    file is at hand, up to `size` bytes of content can be read from `stream`. Raises `BadTarball`."""
    names_bytes = 0
    said: dict[str, str] = {}
    while block := stream.read(tarfile.BLOCKSIZE):
        if not any(block):
            break  # the end of the archive
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadTarball(f"a header is damaged: {error}") from error
        if info.size < 0:
            raise BadTarball("a member has a negative size")
        if info.type in _ABOUT_HEADERS:
            more = _header_about_header(stream, info)
            if more.keys() & said.keys():
                raise BadTarball("a member has two names")
            said |= more
            names_bytes += info.size
        else:
            _apply(said, info)
            said = {}
            names_bytes += len(info.name)
            has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
            end = stream.position + (_padded(info.size) if has_content else 0)
            yield info
            stream.skip(end - stream.position)
        if names_bytes > LARGEST_NAMES_BYTES:
            raise BadTarball(f"its names are longer than {LARGEST_NAMES_BYTES // (1024 * 1024)} MiB")
    if said:
        raise BadTarball("it ends within a header")
    while stream.read(CHUNK_BYTES):
        pass


def _header_about_header(stream: Inflated, info: tarfile.TarInfo) -> dict[str, str]:
    """What it says of the member that follows: path, linkpath, size."""
    if info.size > LARGEST_HEADER_BYTES:
        raise BadTarball(f"a member's header is larger than {LARGEST_HEADER_BYTES // (1024 * 1024)} MiB")
    content = stream.read(_padded(info.size))
    if len(content) < info.size:
        raise BadTarball("it ends within a header")
    content = content[: info.size]
    if info.type in _LONG:
        return {_LONG[info.type]: content.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    found = {}
    for key, value in _records(content):
        if key.startswith("GNU.sparse."):
            raise BadTarball("a member is a sparse file")
        if key in _RENAMING:
            found[key] = value
    if found and info.type == tarfile.XGLTYPE:
        raise BadTarball("a header renames all members that follow it")
    return found


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """The records of a pax header: `LENGTH KEY=VALUE` and a line feed, of which LENGTH counts everything."""
    start = 0
    while start < len(content):
        digits = content[start : start + 12].partition(b" ")[0]
        end = start + int(digits) if digits.isdigit() else 0
        key, equals, value = content[start + len(digits) + 1 : max(0, end - 1)].partition(b"=")
        if not equals or content[end - 1 : end] != b"\n":
            raise BadTarball("a member's header makes no sense")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        start = end


def _apply(said: dict[str, str], info: tarfile.TarInfo) -> None:
    """Complete a member's own header by what headers before it said."""
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise BadTarball("a member is a sparse file")
    size = said.get("size", str(info.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise BadTarball("a member's size is no number")
    info.size = int(size)
    info.name = said.get("path", info.name).rstrip("/")
    info.linkname = said.get("linkpath", info.linkname)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
