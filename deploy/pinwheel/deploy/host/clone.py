"""A release that begins as another one: what both are to have is verified and hard-linked.

release.json names each distribution with the wheel that it was installed from and a seal over its files, taken when
the release was made. What is still as it was then may be shared. Nothing is ever written into a file that is shared:
installers and Python replace files by new ones.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.means import wheels_of
from pinwheel.deploy.host.runner import Given, Virtualenv

CHUNK_BYTES = 1 << 20
SHEBANG_BYTES = 127
"""What every kernel takes for the first line of a script; installers write longer ones in another way."""

CANNOT_LINK = frozenset({errno.EMLINK, errno.EPERM, errno.EXDEV})

Files = Mapping[str, str]
"""The files of one installed distribution: sha256 by path, relative to the release."""


def shareable(base: Virtualenv, folder: Path, wheels: Sequence[Given]) -> dict[str, Files]:
    """By name, what of `wheels` a release at `folder` can take from `base`: installed there from that very file, and
    unchanged since."""
    known, places, found = wheels_of(base.about()), places_of(base.folder), {}
    for each in wheels:
        about = known.get(each["name"], {})
        if about.get("sha256") == each["sha256"] and each["name"] in places:
            files = files_of(base.folder, places[each["name"]])
            if files and seal(files) == about["seal"] and _movable(base.folder, folder, files):
                found[each["name"]] = files
    return found


def share(base: Path, folder: Path, files: Files) -> Files:
    """Let the release at `folder` have `files` of the one at `base`, and return them as they are there: scripts, and
    the RECORD that has their hashes, name the release that they belong to and are written anew."""
    changed = {path: _moved(base, folder, path) for path in files if _is_script(base, path)}
    if changed:
        (record,) = (path for path in files if path.endswith(".dist-info/RECORD"))
        changed[record] = _record(base, record, changed)
    for each in {path.rpartition("/")[0] for path in files}:
        (folder / each).mkdir(parents=True, exist_ok=True)
    for path in files:
        if path in changed:
            (folder / path).write_bytes(changed[path])
            shutil.copymode(base / path, folder / path)
        else:
            _link(f"{base}/{path}", f"{folder}/{path}")
    return {**files, **{path: hashlib.sha256(data).hexdigest() for path, data in changed.items()}}


def sealed(release: Path, wheels: Sequence[Given], shared: Mapping[str, Files]) -> dict[str, Document]:
    """What release.json says of its distributions; `shared` are known already. One that is not as its RECORD says,
    or that says where it came from (an editable one), is left out: nobody shares it."""
    places, told = places_of(release), {}
    for each in wheels:
        name = each["name"]
        files = shared.get(name) or (files_of(release, places[name]) if name in places else None)
        if files:
            told[name] = {"version": each["version"], "sha256": each["sha256"], "seal": seal(files)}
    return told


def places_of(release: Path) -> dict[str, Path]:
    """The `.dist-info` folders of a release, by the normalised name of their distribution."""
    return {
        re.sub(r"[-_.]+", "-", each.name.partition("-")[0]).lower(): each
        for each in release.glob("lib/python3.*/site-packages/*.dist-info")
    }


def files_of(release: Path, info: Path) -> Files | None:
    """Every file of the distribution, bytecode included; None when it is not whole, or not one that can be shared."""
    site, found = os.path.relpath(info.parent, release), dict[str, str]()
    try:
        for listed, promised, *_ in csv.reader(io.StringIO((info / "RECORD").read_text())):
            path = os.path.normpath(f"{site}/{listed}")
            if path.endswith(("/direct_url.json", ".pth")) or path.startswith(("..", "/")):
                return None  # it points somewhere, and not into an index
            if path.endswith(".pyc"):
                continue  # below, whether listed or not
            found[path] = digest = _sha256(f"{release}/{path}")
            if promised != f"sha256={_record_form(digest)}" and (promised or not path.endswith(".dist-info/RECORD")):
                return None
            compiled = importlib.util.cache_from_source(path) if path.endswith(".py") else ""
            if compiled and os.path.lexists(f"{release}/{compiled}"):
                found[compiled] = _sha256(f"{release}/{compiled}")
    except (OSError, ValueError, csv.Error):  # not there, or not to be understood
        return None
    return found


def seal(files: Files) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def _sha256(file: str) -> str:
    """Raises `OSError`, also for a link: it may lead anywhere."""
    digest, descriptor = hashlib.sha256(), os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _is_script(base: Path, path: str) -> bool:
    if not path.startswith("bin/"):
        return False
    with (base / path).open("rb") as data:
        return data.read(2) == b"#!"


def _moved(base: Path, folder: Path, script: str) -> bytes:
    return (base / script).read_bytes().replace(os.fsencode(base), os.fsencode(folder))


def _movable(base: Path, folder: Path, files: Files) -> bool:
    """Does every script still start, once it names the other folder?"""
    scripts = [_moved(base, folder, path) for path in files if _is_script(base, path)]
    return all(len(each.partition(b"\n")[0]) <= SHEBANG_BYTES for each in scripts)


def _record(base: Path, record: str, changed: Mapping[str, bytes]) -> bytes:
    """The RECORD with the hashes and sizes of what was written anew."""
    site, rows = record.rpartition("/")[0].rpartition("/")[0], []
    for listed, *about in csv.reader(io.StringIO((base / record).read_text())):
        data = changed.get(os.path.normpath(f"{site}/{listed}"))
        if data is not None:
            about = [f"sha256={_record_form(hashlib.sha256(data).hexdigest())}", str(len(data))]
        rows.append([listed, *about])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _record_form(digest: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def _link(file: str, made: str) -> None:
    try:
        os.link(file, made, follow_symlinks=False)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        shutil.copy2(file, made)  # with its times: bytecode is valid for a source of that time only
