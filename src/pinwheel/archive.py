"""Read a wheel or an sdist without trusting it: what it is, its core metadata, its members.

Nothing is unpacked to disk. Memory is bounded by `Limits.metadata_bytes` and the number of members, time by
`Limits.unpacked_bytes`. Rules: PyPA "binary distribution format", PEP 625 (sdist names), PEP 643 (sdist metadata).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import lzma
import posixpath
import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from packaging.metadata import InvalidMetadata, Metadata, parse_email
from packaging.utils import canonicalize_name, canonicalize_version, parse_sdist_filename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pinwheel.errors import PinwheelError

MEBIBYTE = 1024 * 1024
LONGEST_FILENAME = 250
LARGEST_DIRECTORY_BYTES = 16 * MEBIBYTE
_DIRECTORY_ENTRY = struct.Struct("<4s24x3H12x")  # signature; lengths of name, extra field and comment
_ZIP64_END_BYTES = 56 + 20  # the two records that precede the end of the directory in a large archive
_BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError),
    *(NotImplementedError, RuntimeError),  # an unknown method; an encrypted member
)
_METADATA_2 = re.compile(r"2\.[0-9]{1,3}")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_HEADERS_ABOUT_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an archive may go. A small file may unpack to `free_bytes` whatever its ratio."""

    members: int = 50_000
    unpacked_bytes: int = 4096 * MEBIBYTE
    ratio: int = 200
    free_bytes: int = 64 * MEBIBYTE
    metadata_bytes: int = 4 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; `path` is as the archive has it, `size_bytes` unpacked."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Named:
    """What a filename says. `name` is normalised; `identity` is the same for two names of the same thing
    (`Foo_Bar` 1.0, `foo-bar` 1.0.0)."""

    kind: Literal["wheel", "sdist"]
    name: str
    version: Version
    identity: str


@dataclass(frozen=True, slots=True)
class Distribution(Named):
    """A wheel or an sdist that was found sound, as its filename says. `core_metadata` is METADATA or PKG-INFO."""

    filename: str
    core_metadata: bytes = field(repr=False)
    metadata: Metadata = field(repr=False)
    members: tuple[Member, ...] = field(repr=False)

    @property
    def metadata_is_reliable(self) -> bool:
        """Whether a wheel built from this has the same dependencies (PEP 643): always for a wheel itself."""
        if self.kind == "wheel":
            return True
        # as it stands there: `Metadata` refuses to tell a version that it does not know
        stated = parse_email(self.core_metadata)[0].get("metadata_version", "")
        if not _METADATA_2.fullmatch(stated) or int(stated.partition(".")[2]) < 2:
            return False
        dynamic = {name.lower() for name in self.metadata.dynamic or ()}
        return not dynamic & {"requires-dist", "requires-python", "provides-extra"}


class BadArchive(PinwheelError):
    """The file is no sound wheel or sdist; `reasons` are all that were found."""

    def __init__(self, filename: str, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(
            "; ".join(self.reasons), where=printable(filename), remedy="build the distribution again with `build`"
        )


class _Unreadable(Exception):
    """The archive cannot be looked at any further; the text is the reason."""


def printable(filename: str) -> str:
    """A filename of unknown origin, safe to show: escaped and cut."""
    return filename.encode("ascii", "backslashreplace").decode()[:LONGEST_FILENAME]


def name_of(filename: str) -> Named:
    """What `filename` says about its content. Raises `BadArchive` for every name that is not exactly a wheel's
    or an sdist's (`.tar.gz`)."""
    if len(filename) > LONGEST_FILENAME:
        raise BadArchive(filename, [f"the filename is longer than {LONGEST_FILENAME} characters"])
    if not _FILENAME.fullmatch(filename) or ".." in filename:
        raise BadArchive(filename, ["the filename has characters that no distribution's has"])
    try:
        if filename.endswith(".whl"):
            name, version, build, tags = parse_wheel_filename(filename)
            rest = f"{build[0]}{build[1]}" if build else ""
            flavour = f"{rest}:{'.'.join(sorted(str(tag) for tag in tags))}"
            return Named("wheel", name, version, f"{name}=={canonicalize_version(version)}:{flavour}")
        if filename.endswith(".tar.gz"):
            name, version = parse_sdist_filename(filename)
            return Named("sdist", name, version, f"{name}=={canonicalize_version(version)}:sdist")
    except ValueError as error:
        raise BadArchive(filename, [str(error)]) from error
    raise BadArchive(filename, ["the filename ends neither in .whl nor in .tar.gz"])


def read(path: Path, filename: str, limits: Limits = Limits()) -> Distribution:
    """Read the archive at `path` that claims to be `filename`. Raises `BadArchive` with all reasons."""
    named = name_of(filename)
    reasons: list[str] = []
    try:
        if named.kind == "wheel":
            members, documents = _wheel(path, named, limits, reasons)
        else:
            members, documents = _sdist(path, limits, reasons)
    except _Unreadable as error:
        raise BadArchive(filename, [*reasons, str(error)]) from error
    reasons += _faults_of_paths(members)
    wanted = "METADATA" if named.kind == "wheel" else "PKG-INFO"
    if len(documents) != 1:
        found = "no" if not documents else f"{len(documents)}"
        raise BadArchive(filename, [*reasons, f"the archive has {found} {wanted} where exactly one belongs"])
    metadata = _metadata(documents[0], named, reasons)
    if reasons or metadata is None:
        raise BadArchive(filename, reasons)
    return Distribution(
        named.kind, named.name, named.version, named.identity, filename, documents[0], metadata, tuple(members)
    )


def wheel_metadata(path: Path, limits: Limits = Limits()) -> bytes | None:
    """METADATA of a wheel that was verified by its hash, as its publisher wrote it; None when it has none."""
    try:
        with _opened(path, limits) as wheel:
            infos = [each for each in wheel.infolist() if _in_dist_info(each.filename, "METADATA")]
            return _contents(wheel, infos[0], limits) if len(infos) == 1 else None
    except _Unreadable:
        return None


def _wheel(path: Path, named: Named, limits: Limits, reasons: list[str]) -> tuple[list[Member], list[bytes]]:
    with _opened(path, limits) as wheel:
        infos = wheel.infolist()
        unpacked = sum(each.file_size for each in infos)
        _check_volume(unpacked, path.stat().st_size, limits)
        reasons += [
            f"the wheel has no .dist-info/{needed}"
            for needed in ("WHEEL", "RECORD")
            if not any(_in_dist_info(each.filename, needed) for each in infos)
        ]
        found = [each for each in infos if _in_dist_info(each.filename, "METADATA")]
        reasons += [_other_folder(each.filename, named) for each in found if not _fits(each.filename, named)]
        documents = [_contents(wheel, each, limits) for each in found[:2]]
        return [Member(each.filename, each.file_size) for each in infos if not each.filename.endswith("/")], documents


@contextlib.contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """A zip archive of bounded size, where everything that zipfile says of a broken one is `_Unreadable`."""
    try:
        _check_directory(path, limits)
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _BROKEN_ZIP as error:
        raise _Unreadable(f"this is not a readable zip archive: {error}") from error
    except OSError as error:
        # bz2 gives no number, and a seek to before the beginning EINVAL; all else is the disk's
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _Unreadable(f"this is not a readable zip archive: {error}") from error


def _check_directory(path: Path, limits: Limits) -> None:
    """Count the members before zipfile makes an object of each: a small archive can list a million of them.

    It looks where zipfile will look (APPNOTE 4.3.16, 4.3.14), and every member that zipfile would list is counted,
    whatever number the archive itself states.
    """
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if not end:
            raise _Unreadable("this is not a readable zip archive: it has no directory")
        signature, size_bytes, at = end[0], end[5], end[9]
        if size_bytes > LARGEST_DIRECTORY_BYTES:
            raise _Unreadable(f"the archive's directory is larger than {LARGEST_DIRECTORY_BYTES // MEBIBYTE} MiB")
        # of a large archive, Pythons with the mend of CVE-2025-8291 give where the two further records begin, older
        # ones where they end; no other place is read as a directory, so counting at both misses nothing
        ends = {at, at - _ZIP64_END_BYTES} if signature == b"PK\6\6" else {at}
        starts = [end - size_bytes for end in ends if end >= size_bytes]
        if not starts:
            raise _Unreadable("this is not a readable zip archive: its directory would begin before it")
        for start in starts:
            file.seek(start)
            if _members(file.read(size_bytes), limits.members) > limits.members:
                raise _Unreadable(f"the archive has more than {limits.members} members")


def _members(directory: bytes, most: int) -> int:
    """How many members a zip's directory lists; the count ends just above `most`, and where it makes no sense."""
    offset = members = 0
    while offset + _DIRECTORY_ENTRY.size <= len(directory) and members <= most:
        marker, name, extra, comment = _DIRECTORY_ENTRY.unpack_from(directory, offset)
        if marker != b"PK\1\2":
            break  # zipfile says what is wrong
        offset += _DIRECTORY_ENTRY.size + name + extra + comment
        members += 1
    return members


def _in_dist_info(member: str, document: str) -> bool:
    folder, _, rest = member.partition("/")
    return rest == document and folder.endswith(".dist-info")


def _fits(member: str, named: Named) -> bool:
    """Whether a `.dist-info` folder belongs to what the filename says."""
    name, _, version = member.partition(".dist-info/")[0].partition("-")
    try:
        return canonicalize_name(name) == named.name and Version(version) == named.version
    except InvalidVersion:
        return False


def _other_folder(member: str, named: Named) -> str:
    return f"{printable(member)} does not belong to {named.name} {named.version}"


def _contents(wheel: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    with wheel.open(info) as file:
        return _bounded(file, printable(info.filename), limits)


def _bounded(file: IO[bytes], name: str, limits: Limits) -> bytes:
    data = file.read(limits.metadata_bytes + 1)
    if len(data) > limits.metadata_bytes:
        raise _Unreadable(f"{name} is larger than {limits.metadata_bytes} bytes")
    return data


def _check_volume(unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise _Unreadable(f"the archive unpacks to more than {limits.unpacked_bytes // MEBIBYTE} MiB")
    if unpacked > limits.free_bytes and unpacked > packed * limits.ratio:
        raise _Unreadable(f"the archive unpacks to more than {limits.ratio} times its size")


class _Inflated(io.RawIOBase):
    """The decompressed stream of a gzip file, which stops with `_Unreadable` where `limits` end."""

    def __init__(self, file: gzip.GzipFile, packed: int, limits: Limits) -> None:
        self._file = file
        self._packed = packed
        self._limits = limits
        self._unpacked = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if size >= 0 else MEBIBYTE)
        self._unpacked += len(data)
        _check_volume(self._unpacked, self._packed, self._limits)
        return data


class _Header(tarfile.TarInfo):
    """A tar header that refuses to read a huge header about a header: tarfile would hold all of it in memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS_ABOUT_HEADERS and self.size > MEBIBYTE:
            raise _Unreadable("a member's header is larger than 1 MiB")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def _sdist(path: Path, limits: Limits, reasons: list[str]) -> tuple[list[Member], list[bytes]]:
    members: list[Member] = []
    documents: list[bytes] = []
    tops: set[str] = set()
    try:
        with (
            gzip.open(path) as inflating,
            tarfile.open(
                fileobj=_Inflated(inflating, path.stat().st_size, limits),
                mode="r|",
                tarinfo=_Header,
                errorlevel=2,
            ) as archive,
        ):
            for count, info in enumerate(archive, 1):
                if count > limits.members:
                    raise _Unreadable(f"the archive has more than {limits.members} members")
                archive.members = []  # type: ignore[attr-defined] # or tarfile keeps every header
                tops.add(info.name.lstrip("/").partition("/")[0])
                reasons += _faults_of_member(info)
                if not info.isfile():
                    continue
                members.append(Member(info.name, info.size))
                if info.name.count("/") == 1 and info.name.endswith("/PKG-INFO"):
                    file = archive.extractfile(info)
                    if file is not None:
                        documents.append(_bounded(file, printable(info.name), limits))
            while inflating.read(MEBIBYTE):
                pass  # to the end, for gzip's own checksum: a cut file must not pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeError) as error:
        raise _Unreadable(f"this is not a readable .tar.gz archive: {error}") from error
    if len(tops) > 1:
        reasons.append("the sdist has more than one folder at its top")
    return members, documents


def _faults_of_member(info: tarfile.TarInfo) -> list[str]:
    """What is wrong with a tar member that is not a plain file: devices, and links that lead out of the folder."""
    if info.issym() or info.islnk():
        base = posixpath.dirname(info.name) if info.issym() else ""
        target = posixpath.normpath(posixpath.join(base, info.linkname))
        top = info.name.partition("/")[0]
        if info.linkname.startswith("/") or not (target == top or target.startswith(top + "/")):
            return [f"the link {printable(info.name)} leads out of the archive"]
    elif not (info.isfile() or info.isdir()):
        return [f"{printable(info.name)} is neither a file nor a folder"]
    elif info.isdir():
        return _faults_of_paths([Member(info.name, 0)])
    return []


def _faults_of_paths(members: Iterable[Member]) -> list[str]:
    """Paths that would leave the folder they are unpacked into, and paths that are there twice."""
    paths = [member.path for member in members]
    faults = [
        f"the member {printable(path)!r} leads out of the archive"
        for path in paths
        if not path or path.startswith("/") or "\\" in path or "\0" in path or ".." in path.split("/")
    ]
    faults += [f"the member {printable(path)!r} is there twice" for path, times in Counter(paths).items() if times > 1]
    return faults if len(faults) <= 20 else [*faults[:20], f"and {len(faults) - 20} more like that"]


def _metadata(document: bytes, named: Named, reasons: list[str]) -> Metadata | None:
    """Parse METADATA or PKG-INFO, field by field, and compare it with the filename.

    Lenient where installers are: a field that is newer than the stated metadata version is no fault (setuptools
    wrote License-File into 2.1 for years), nor is a metadata version 2.x newer than `packaging` knows.
    """
    raw, unparsed = parse_email(document)
    metadata = Metadata.from_raw(raw, validate=False)
    faults: dict[str, str] = {}
    for key in ("metadata_version", "name", "version", *raw, *unparsed):
        attribute = key.replace("-", "_")
        if attribute == "metadata_version" and _METADATA_2.fullmatch(raw.get("metadata_version", "")):
            continue
        if key in unparsed and key in ("name", "version", "metadata-version", "requires-dist", "requires-python"):
            faults[attribute] = f"the metadata's {key} cannot be read"
        try:
            getattr(metadata, attribute, None)
        except InvalidMetadata as error:
            faults.setdefault(attribute, f"the metadata is invalid: {error}")
    reasons += faults.values()
    if "name" not in faults and canonicalize_name(metadata.name) != named.name:
        reasons.append(f"the filename says {named.name}, the metadata {printable(metadata.name)}")
    if "version" not in faults and metadata.version != named.version:
        reasons.append(f"the filename says version {named.version}, the metadata {metadata.version}")
    return metadata
