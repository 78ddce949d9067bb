"""Admission: judge an upload by its archive; the form only has to agree. All reasons go into one answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import archive
from pinwheel.archive import BadArchive, Distribution, Limits, Named
from pinwheel.errors import PinwheelError
from pinwheel.index.entries import FileEntry, NewFile
from pinwheel.index.intake.upload import CONTENT, Received

_FILETYPES = {"bdist_wheel": "wheel", "sdist": "sdist"}


class Rejected(PinwheelError):
    """The upload is not let in; `reasons` are all that were found."""

    def __init__(self, filename: str, reasons: list[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons), where=archive.printable(filename))


@dataclass(frozen=True, slots=True)
class Admitted:
    """A file that may be published: the archive at `path` was found sound and agrees with its form."""

    path: Path
    sha256: str
    size_bytes: int
    distribution: Distribution

    def record(self, uploader: str, upload_time: str) -> NewFile:
        """What its record says. `upload_time` is RFC 3339 in UTC."""
        found = self.distribution
        requires_python = found.metadata.requires_python
        entry = FileEntry(
            project=found.name,
            filename=found.filename,
            version=str(found.version),
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            core_metadata=self.metadata_sha256 or False,
            requires_python=str(requires_python) if requires_python is not None else "",
            upload_time=upload_time,
        )
        return NewFile(entry, found.kind, found.identity, uploader)

    @property
    def metadata_sha256(self) -> str:
        """The hash of the core metadata, empty where it would mislead resolvers (PEP 643)."""
        if not self.distribution.metadata_is_reliable:
            return ""
        return hashlib.sha256(self.distribution.core_metadata).hexdigest()


def judge(form: Received, limits: Limits) -> Admitted:
    """Let the upload in or raise `Rejected`."""
    reasons = archive.few(form.faults)
    if form.path is None:
        raise Rejected("", [*reasons, f"the form has no file in its field {CONTENT!r}"])
    reasons += [
        f"the form says {name} {archive.printable(stated)}, the file has {found}"
        for name, found in form.digests.items()
        if (stated := form.field(name).lower()) and stated != found
    ]
    distribution = None
    try:
        named = archive.name_of(form.filename)
        reasons += _disagreements(form, named)
        distribution = archive.read(form.path, form.filename, limits)
    except BadArchive as error:
        reasons += error.reasons
    if reasons or distribution is None:
        raise Rejected(form.filename, reasons)
    return Admitted(form.path, form.digests["sha256_digest"], form.size_bytes, distribution)


def judge_file(path: Path, filename: str, sha256: str, limits: Limits) -> Admitted:
    """The same for a file on disk that has no form and claims to be `filename`. Raises `Rejected`."""
    try:
        distribution = archive.read(path, filename, limits)
    except BadArchive as error:
        raise Rejected(filename, list(error.reasons)) from error
    return Admitted(path, sha256, path.stat().st_size, distribution)


def _disagreements(form: Received, named: Named) -> list[str]:
    """Where the form says other things than the filename. Its metadata version is not looked at: flit's differs."""
    reasons = []
    name, version, filetype = form.field("name"), form.field("version"), form.field("filetype")
    if name and canonicalize_name(name) != named.name:
        reasons.append(f"the form says name {archive.printable(name)}, the filename {named.name}")
    if version:
        try:
            if Version(version) != named.version:
                reasons.append(f"the form says version {archive.printable(version)}, the filename {named.version}")
        except ValueError:  # also for a number of more than 4,300 digits, which is no InvalidVersion
            reasons.append(f"the form's version {archive.printable(version)} is no version")
    if filetype and _FILETYPES.get(filetype) != named.kind:
        reasons.append(f"the form says filetype {archive.printable(filetype)}, the filename is that of a {named.kind}")
    return reasons
