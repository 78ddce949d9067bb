"""Import a pypiserver folder: each file goes through admission, what is known already is skipped."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pinwheel.archive import BadArchive, Limits, name_of
from pinwheel.index.admission import Rejected, judge_file
from pinwheel.index.blobs import sha256_of
from pinwheel.index.disk import full_disk_told
from pinwheel.index.engine import refusal
from pinwheel.index.entries import CHUNK_BYTES, AlreadyThere, Taken
from pinwheel.index.publisher import Publisher
from pinwheel.index.records import Records


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file of the folder; `reason` says why it was refused."""

    filename: str
    became: Literal["published", "known", "refused"]
    reason: str = ""


def distributions(folder: Path) -> list[Path]:
    """The files that pypiserver would list: at any depth, none whose name or folder begins with a dot."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name.endswith((".whl", ".tar.gz", ".zip", ".tar.bz2", ".egg"))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found)


def import_folder(
    folder: Path, temporary: Path, records: Records, publisher: Publisher, limits: Limits
) -> Iterator[Imported]:
    """Publish what is in `folder` and not known. The folder itself is left as it is, and nothing done to it later
    touches what was published: each file is copied through `temporary`, the blob store's own. Raises `NoSpace`."""
    for path in distributions(folder):
        try:
            yield _import(path, temporary, records, publisher, limits)
        except PermissionError as error:
            yield Imported(path.name, "refused", f"it cannot be read: {error.strerror}")


def _import(path: Path, temporary: Path, records: Records, publisher: Publisher, limits: Limits) -> Imported:
    try:
        known = records.by_identity(name_of(path.name).identity)
    except BadArchive as error:
        return Imported(path.name, "refused", error.problem)
    if known is not None:
        with path.open("rb") as file:
            sha256 = sha256_of(file)
        if known.sha256 == sha256 or known.removed:
            return Imported(path.name, "known")
        return Imported(path.name, "refused", refusal(path.name, sha256, known))
    copy = temporary / f"import-{secrets.token_hex(8)}"
    try:
        sha256 = _copied(path, copy)
        outcome = publisher.publish(judge_file(copy, path.name, sha256, limits), "import")
    except Rejected as error:
        return Imported(path.name, "refused", error.problem)
    finally:
        copy.unlink(missing_ok=True)
    if isinstance(outcome, Taken):
        return Imported(path.name, "refused", refusal(path.name, sha256, outcome))
    return Imported(path.name, "known" if isinstance(outcome, AlreadyThere) else "published")


def _copied(source: Path, copy: Path) -> str:
    """Copy the bytes and give their sha256: what is judged and published is what was hashed."""
    digest = hashlib.sha256()
    with full_disk_told(copy.parent), source.open("rb") as file, copy.open("xb") as out:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()
