"""Tiny distributions and upload forms, made by hand."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import urllib3

from pinwheel.index.entries import FileEntry, NewFile


@dataclass(frozen=True)
class Made:
    """A distribution as a file's name and bytes."""

    project: str
    version: str
    filename: str
    content: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def metadata(name: str, version: str, requires: Sequence[str] = (), requires_python: str = "") -> bytes:
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    extras = [match[1] for each in requires if (match := re.search(r"extra == ['\"]([a-z-]+)", each))]
    lines += [f"Provides-Extra: {each}" for each in dict.fromkeys(extras)]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    return ("\n".join(lines) + "\n\nMade by hand.\n").encode()


def wheel(
    name: str,
    version: str = "1.0.0",
    *,
    code: str = "",
    requires: Sequence[str] = (),
    requires_python: str = "",
    padding: int = 0,
) -> Made:
    """A pure wheel that pip and uv install: its RECORD is right. `code` makes its bytes differ."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = {
        f"{module}.py": code.encode(),
        f"{info}/METADATA": metadata(name, version, requires, requires_python),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if padding:
        members[f"{module}.bin"] = bytes(padding)
    record = "".join(f"{path},sha256={_digest(body)},{len(body)}\n" for path, body in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for path, body in members.items():
            file.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), body)
    return Made(name, version, f"{module}-{version}-py3-none-any.whl", out.getvalue())


def sdist(name: str, version: str = "1.0.0", *, code: str = "") -> Made:
    module = name.replace("-", "_")
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as file:
        for path, body in {"PKG-INFO": metadata(name, version), f"{module}.py": code.encode()}.items():
            info = tarfile.TarInfo(f"{module}-{version}/{path}")
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return Made(name, version, f"{module}-{version}.tar.gz", out.getvalue())


def form(made: Made, filename: str = "", **fields: str) -> tuple[str, bytes]:
    """The upload form of a distribution, as content type and body; empty fields are left out."""
    usual = {":action": "file_upload", "protocol_version": "1", "name": made.project, "version": made.version}
    given = {key.replace("action", ":action"): value for key, value in fields.items()}
    parts: Mapping[str, object] = {key: value for key, value in (usual | given).items() if value} | {
        "content": (filename or made.filename, made.content, "application/octet-stream")
    }
    body, content_type = urllib3.encode_multipart_formdata(parts)  # type: ignore[arg-type]
    return content_type, body


def new_file(made: Made, *, identity: str = "", at: str = "2024-01-02T03:04:05.000000Z") -> NewFile:
    """What a record says of a distribution."""
    entry = FileEntry(made.project, made.filename, made.version, made.sha256, len(made.content), upload_time=at)
    return NewFile(entry, "wheel", identity or made.filename, "tester")


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
