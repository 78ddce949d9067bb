"""Read a wheel or an sdist without trusting it: what it is, its core metadata, its members.

Nothing is unpacked to disk. Memory is bounded by `Limits.metadata_bytes` and the number of members, time by
`Limits.unpacked_bytes`. Rules: PyPA "binary distribution format", PEP 625 (sdist names), PEP 643 (sdist metadata).
"""

from __future__ import annotations

import contextlib
import errno
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
from packaging.version import Version

from pinwheel import tarball
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
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN_METADATA = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError),  # email's parser and packaging's
    *(RecursionError, MemoryError),  # a marker or a licence of a thousand parentheses
)
MOST_ALIKE = 20


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
        folders = {each.filename.partition("/")[0] for each in infos if ".dist-info/" in each.filename}
        if sum(folder.endswith(".dist-info") for folder in folders) > 1:
            reasons.append("the wheel has more than one .dist-info folder")
        documents = [_contents(wheel, each, limits) for each in found[:2]]
        reasons += _damaged(wheel, infos)
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
    except ValueError:
        return False


def _other_folder(member: str, named: Named) -> str:
    return f"{printable(member)} does not belong to {named.name} {named.version}"


def _contents(wheel: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    with _member(wheel, info) as file:
        data = file.read(limits.metadata_bytes + 1)
    if len(data) > limits.metadata_bytes:
        raise _Unreadable(f"{printable(info.filename)} is larger than {limits.metadata_bytes} bytes")
    return data


def _member(wheel: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.compress_type not in _METHODS:
        # not every installer knows others, and LZMA's may ask for 4 GiB of memory
        raise _Unreadable(f"the member {printable(info.filename)!r} is compressed otherwise than by deflate")
    return wheel.open(info)


def _damaged(wheel: zipfile.ZipFile, infos: Iterable[zipfile.ZipInfo]) -> list[str]:
    """The first member that nobody could unpack: a checksum is wrong, or it does not begin where it is said to."""
    for info in infos:
        try:
            with _member(wheel, info) as file:
                while file.read(MEBIBYTE):
                    pass
        except (*_BROKEN_ZIP, _Unreadable) as error:
            return [f"the member {printable(info.filename)!r} is damaged: {error}"]
    return []


def _check_volume(unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.unpacked_bytes:
        raise _Unreadable(f"the archive unpacks to more than {limits.unpacked_bytes // MEBIBYTE} MiB")
    if unpacked > limits.free_bytes and unpacked > packed * limits.ratio:
        raise _Unreadable(f"the archive unpacks to more than {limits.ratio} times its size")


def _sdist(path: Path, limits: Limits, reasons: list[str]) -> tuple[list[Member], list[bytes]]:
    members: list[Member] = []
    documents: list[bytes] = []
    faults: list[str] = []
    tops: set[str] = set()
    packed = path.stat().st_size
    try:
        with path.open("rb", buffering=0) as file:
            stream = tarball.Inflated(file, lambda unpacked: _check_volume(unpacked, packed, limits))
            for count, info in enumerate(tarball.members(stream), 1):
                if count > limits.members:
                    raise _Unreadable(f"the archive has more than {limits.members} members")
                tops.add(info.name.lstrip("/").partition("/")[0])
                faults += _faults_of_member(info)
                if not info.isfile():
                    continue
                members.append(Member(info.name, info.size))
                if info.name.count("/") == 1 and info.name.endswith("/PKG-INFO"):
                    if info.size > limits.metadata_bytes:
                        raise _Unreadable(f"{printable(info.name)} is larger than {limits.metadata_bytes} bytes")
                    if len(documents) < 2:
                        documents.append(stream.read(info.size))
    except tarball.BadTarball as error:
        raise _Unreadable(f"this is not a readable .tar.gz archive: {error}") from error
    finally:
        reasons += few(faults)
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
    return few(faults)


def few(faults: list[str]) -> list[str]:
    """So many of them as a person reads, and how many more there are."""
    return (
        faults
        if len(faults) <= MOST_ALIKE
        else [*faults[:MOST_ALIKE], f"and {len(faults) - MOST_ALIKE} more like that"]
    )


def _metadata(document: bytes, named: Named, reasons: list[str]) -> Metadata | None:
    """Parse METADATA or PKG-INFO, field by field, and compare it with the filename.

    Lenient where installers are: a field that is newer than the stated metadata version is no fault (setuptools
    wrote License-File into 2.1 for years), nor is a metadata version 2.x newer than `packaging` knows.
    """
    try:
        raw, unparsed = parse_email(document)
    except _BROKEN_METADATA as error:
        reasons.append(f"the metadata cannot be read: {type(error).__name__}")
        return None
    metadata = Metadata.from_raw(raw, validate=False)
    faults = {
        key: f"the metadata's {key} cannot be read"
        for key in ("name", "version", "metadata-version", "requires-dist", "requires-python")
        if key in unparsed
    }
    for attribute in ("metadata_version", "name", "version", *raw):
        if attribute == "metadata_version" and _METADATA_2.fullmatch(raw.get("metadata_version", "")):
            continue
        try:
            getattr(metadata, attribute)
        except InvalidMetadata as error:
            faults.setdefault(attribute.replace("_", "-"), f"the metadata is invalid: {error}")
        except _BROKEN_METADATA:
            faults.setdefault(attribute.replace("_", "-"), f"the metadata's {attribute} makes no sense")
    reasons += faults.values()
    if "name" not in faults and canonicalize_name(metadata.name) != named.name:
        reasons.append(f"the filename says {named.name}, the metadata {printable(metadata.name)}")
    if "version" not in faults and metadata.version != named.version:
        reasons.append(f"the filename says version {named.version}, the metadata {metadata.version}")
    return metadata
