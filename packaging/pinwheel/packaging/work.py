"""What is released: projects, the commits that they came down to, and what became of them. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from packaging.version import Version

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging import refs
from pinwheel.packaging.inspection.findings import Allowance, Finding, NotFit
from pinwheel.packaging.manifest import Manifest, released_version
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.statement import Provenance

Outcome = Literal["published", "already there"]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a project's commit may have in other places than in itself: other repositories, a store of large files."""

    submodules: bool = False
    lfs: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A project to release. `name` is empty when only the repository knows it, `ref` empty for the newest version
    tag; `declared` when pinwheel.toml has the project, and so a place for its exceptions. There are wheels for each of
    `pythons` ("3.12"; none means the one that runs pinwheel). With `tag_signers`, a file of allowed signers, only a tag
    that one of them signed is released; `network` when its build needs one."""

    repository: str
    ref: str = ""
    subdirectory: str = ""
    name: str = ""
    generated: tuple[str, ...] = ()
    declared: bool = False
    pythons: tuple[str, ...] = ()
    allowed: tuple[Allowance, ...] = ()
    elsewhere: Elsewhere = Elsewhere()
    tag_signers: PurePath | None = None
    network: bool = False

    @property
    def called(self) -> str:
        """What to call it in messages."""
        return self.name or self.repository


@dataclass(frozen=True, slots=True)
class Job:
    """A project whose ref has come down to a commit; `manifest` is None until the commit was read.

    `head` is the commit that its default branch names, `why` what there is to do, `notes` what else a person should
    know of it.
    """

    wanted: Wanted
    resolved: Resolved
    manifest: Manifest | None = None
    head: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.wanted.name or (self.manifest.name if self.manifest else "")

    @property
    def called(self) -> str:
        """What to call it in messages, and what other projects that need it call it."""
        return self.name or self.wanted.repository

    @property
    def version(self) -> Version | None:
        if self.manifest:
            return released_version(self.manifest, self.resolved.tag)
        return refs.version_in(self.resolved.tag, self.name) if self.resolved.tag else None

    @property
    def needs(self) -> frozenset[str]:
        """The names of what it needs to run and to be built."""
        return self.manifest.needs if self.manifest else frozenset()


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that the index has, and where it comes from if that is known."""

    sha256: str
    provenance: Provenance | None


@dataclass(frozen=True, slots=True)
class Published:
    """A file that the index has, and whether it was us who brought it there just now."""

    filename: str
    sha256: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Release:
    """A version that is in the index, with its files in the order in which they were published.

    `provenance` is that of its newest statement; `notes` are what else a person should know of it.
    """

    name: str
    version: str
    commit: str
    tag: str
    files: tuple[Published, ...]
    findings: tuple[Finding, ...] = ()
    provenance: Provenance | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """Whether it was us who brought some of it there just now."""
        return "published" if any(file.outcome == "published" for file in self.files) else "already there"

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        files = [{"filename": f.filename, "sha256": f.sha256, "outcome": f.outcome} for f in self.files]
        about = {"name": self.name, "version": self.version, "commit": self.commit, "tag": self.tag, "files": files}
        return about | {"findings": [each.document() for each in self.findings]}


@dataclass(frozen=True, slots=True)
class Failure:
    """A project that was not released, and why."""

    name: str
    error: PinwheelError

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        about = self.error
        findings = [each.document() for each in about.findings] if isinstance(about, NotFit) else []
        told = {"name": self.name, "problem": about.problem, "where": about.where, "remedy": about.remedy}
        return told | {"blocked": isinstance(about, Blocked)} | ({"findings": findings} if findings else {})


class NoVersionTag(UsageError):
    """No tag of the repository names a version of the project, so there is nothing to release yet."""


class Conflict(PinwheelError):
    """The version is in the index from another commit, or with other bytes. Nothing was overwritten."""


class Blocked(PinwheelError):
    """The project was not even tried, because of what it needs."""

    def __init__(self, why: str, remedy: str = "correct the projects named and release again") -> None:
        super().__init__(f"not released: {why}", remedy=remedy)
