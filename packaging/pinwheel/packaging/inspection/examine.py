"""Open a wheel or an sdist, search what it holds, and gather the findings of every rule."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from pinwheel import archive
from pinwheel.archive import Distribution
from pinwheel.packaging.inspection import leaks, readme, rules
from pinwheel.packaging.inspection.findings import Finding
from pinwheel.packaging.inspection.rules import Content, Origin

MEBIBYTE = 1024 * 1024
SEARCHED_OF_A_FILE_BYTES = 8 * MEBIBYTE
SEARCHED_BYTES = 256 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Examined:
    """What an archive says of itself, and all that was found in it."""

    distribution: Distribution
    findings: tuple[Finding, ...]


def examine(
    path: Path,
    *,
    name: str = "",
    version: Version | None = None,
    origin: Origin | None = None,
    sha256_ids: bool = False,
) -> Examined:
    """Judge the archive at `path`; `name`, `version` and `origin` as for `rules.inspect`, `sha256_ids` when git's ids
    in `origin` are of that format. Raises `BadArchive`."""
    read = archive.read(path, path.name)
    found = rules.inspect(read, contents(path, sha256_ids=sha256_ids), name=name, version=version, origin=origin)
    return Examined(read, (*found, *readme.findings(read)))


def contents(path: Path, *, sha256_ids: bool = False) -> tuple[Content, ...]:
    """Every file in a wheel or sdist with git's id for its bytes (`sha256_ids` in a repository of that format), and
    the secrets in it. The search is bounded; what it did not come to is counted."""
    found, left = [], SEARCHED_BYTES
    for name, body in _of_wheel(path) if path.suffix == ".whl" else _of_sdist(path):
        # hashes of what is searched itself; chance gives one the shape of a token now and then
        searched = 0 if name.endswith(".dist-info/RECORD") else min(len(body), SEARCHED_OF_A_FILE_BYTES, left)
        left -= searched
        unsearched = 0 if name.endswith(".dist-info/RECORD") else len(body) - searched
        found.append(Content(name, _blob_id(body, sha256_ids), leaks.search(body[:searched]), unsearched))
    return tuple(found)


def _of_wheel(path: Path) -> Iterable[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                yield member.filename, opened.read(member)


def _of_sdist(path: Path) -> Iterable[tuple[str, bytes]]:
    with tarfile.open(path, "r:gz") as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() or member.islnk() else None
            if file is not None:
                yield member.name.partition("/")[2], file.read()


def _blob_id(body: bytes, sha256_ids: bool) -> str:
    framed = b"blob %d\0" % len(body) + body
    # git's own hash: an identity, not a proof
    return hashlib.sha256(framed).hexdigest() if sha256_ids else hashlib.sha1(framed, usedforsecurity=False).hexdigest()
