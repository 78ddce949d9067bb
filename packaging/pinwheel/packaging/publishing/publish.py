"""Bring built files into the index, so that doing it again changes nothing.

The index is asked first: the same bytes are done, other bytes stop everything before anything is uploaded. The
sdist goes first and the wheel last, because installers look for the wheel; each is read back.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.version import Version

from pinwheel.errors import PinwheelError
from pinwheel.index.client import Identity, IndexFile, WrongCredential
from pinwheel.packaging import statement
from pinwheel.packaging.publishing import papers
from pinwheel.packaging.publishing.papers import Cabinet
from pinwheel.packaging.statement import Paper, Provenance
from pinwheel.packaging.work import Conflict, Listed, Outcome, Published

RELEASED = uuid.UUID("6c6f2a4e-5f0b-4c35-9d0a-0d8d1b7a5e52")
"""Below which the ids of `released` events are derived."""


class Index(Cabinet, Protocol):
    """The part of the index client that publishing needs."""

    url: str

    def whoami(self) -> Identity: ...

    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...

    def files(self, project: str) -> tuple[IndexFile, ...]: ...

    def download(self, file: IndexFile, into: Path) -> Path: ...


class EventLog(Protocol):
    """Where acts are written down; `pinwheel.ledger.Ledger` is the real one."""

    def append(self, kind: str, subject: str, **about: object) -> object: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the index said to an upload: the HTTP status, its reasons as plain text, and whether it had the very
    same file before."""

    status: int
    text: str
    known: bool = False


Upload = Callable[[Path], Answer]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A built file. `paper` is its statement, None when nobody says where it comes from."""

    path: Path
    project: str
    version: str
    sha256: str
    paper: Paper | None = None

    @property
    def provenance(self) -> Provenance | None:
        """What the statement says of a build from git; None when it says nothing of one."""
        said = statement.of_build(self.paper.body) if self.paper else None
        return said.provenance if said else None


class UploadRefused(PinwheelError):
    """The index did not take the file; its reasons are in the problem."""


def sha256_of(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(
    index: Index,
    upload: Upload,
    artifacts: Sequence[Artifact],
    tell: Callable[[Sequence[Published]], None] = lambda _: None,
) -> list[Published]:
    """Bring every file of `artifacts` (all of one version) into the index and its statement beside it.

    `tell` hears of them when we brought one, or completed what another process had not. It comes before the last
    statement: without that the version counts as unfinished, so whoever is killed in between leaves nothing untold.

    Raises `Conflict`, `UploadRefused`, `WrongCredential`, `IndexUnreachable`.
    """
    ordered = sorted(artifacts, key=lambda each: (each.path.suffix == ".whl", each.path.name))
    there = standing(index, ordered[0].project, ordered[0].version)
    for artifact in ordered:  # all of them before the first upload: half a version helps nobody
        _check(index, artifact, there.get(artifact.path.name))
    if any(artifact.path.name not in there for artifact in ordered):
        check_project(index, uploader(index), ordered[0].project)
    done = []
    for artifact in ordered:
        outcome: Outcome = "already there"
        if artifact.path.name not in there:
            outcome = _upload(index, upload, artifact)
        done.append(Published(artifact.path.name, artifact.sha256, outcome))
        if artifact is not ordered[-1]:
            _state(index, artifact)
    last = ordered[-1]
    complete = last.paper is None or papers.paper_of(index, last.project, last.version, last.path.name) is not None
    if any(each.outcome == "published" for each in done) or not complete:
        tell(done)
    if not complete:
        _state(index, last)
    return done


def uploader(index: Index) -> Identity:
    """Who we are to the index. Raises `WrongCredential` when that one may upload nothing."""
    who = index.whoami()
    if "upload" not in who.scopes:
        called = f"the token {who.name}" if who.kind == "token" else "a client without a token"
        raise _may_not(f"{called} may not upload, only {', '.join(who.scopes)}", index)
    return who


def check_project(index: Index, who: Identity, project: str) -> None:
    """Raise `WrongCredential` when `who` is not for `project` (normalised)."""
    if not who.may("upload", project):
        only = ", ".join(who.projects("upload"))
        raise _may_not(f"the token {who.name} is not for {project}, only for {only}", index, project)


def _may_not(problem: str, index: Index, project: str = "") -> WrongCredential:
    only = f", without --projects or with --projects {project}" if project else ""
    return WrongCredential(
        problem,
        where=index.url,
        remedy="PINWHEEL_TOKEN or index.token_file must hold a token that may publish this"
        f" (`pinwheel index.token-create NAME --scope read,upload`{only})",
    )


def standing(index: Index, project: str, version: str) -> dict[str, IndexFile]:
    """The version's files that were published here, by filename."""
    return _of_version(index.own_files(project), version)


def _of_version(files: Sequence[IndexFile], version: str) -> dict[str, IndexFile]:
    return {file.filename: file for file in files if _same(file.version, version)}


def _same(one: str, other: str) -> bool:
    return bool(one) and Version(one) == Version(other)


def _check(index: Index, artifact: Artifact, there: IndexFile | None) -> None:
    """Raise `Conflict` when the index has other bytes under the file's name."""
    if there is None or there.sha256 == artifact.sha256:
        return
    theirs = origin(index, artifact.project, artifact.version, artifact.path.name)
    ours = artifact.provenance
    raise Conflict(
        f"{artifact.path.name} is in the index already with other bytes",
        where=f"in the index: sha256 {there.sha256}, {_from_commit(theirs)}\n"
        f"built here:   sha256 {artifact.sha256}, {_from_commit(ours)}",
        remedy="a published version never changes: raise the version, commit, tag and release that",
    )


def origin(index: Index, project: str, version: str, filename: str) -> Provenance | None:
    """Where a file in the index comes from, as its statement says; None without a statement that can be read."""
    body = index.attachment(project, version, statement.attachment_name(filename))
    if body is None:
        return None
    try:
        return statement.read(body).provenance
    except ValueError:
        return None


def origins(index: Index, project: str, version: str, files: Sequence[IndexFile] | None = None) -> dict[str, Listed]:
    """The version's files in the index, by filename; `files` are all of the project's, when they are known."""
    there = standing(index, project, version) if files is None else _of_version(files, version)
    return {name: Listed(file.sha256, origin(index, project, version, name)) for name, file in there.items()}


def record(events: EventLog, files: Sequence[Published], of: Artifact, provenance: Provenance | None) -> None:
    """Write down that a version was released and from which commit.

    One event for the version: the index itself writes down each file, and knows no commit.
    """
    commit = provenance.commit if provenance else ""
    tag = provenance.tag if provenance else ""
    named = {file.filename: file.sha256 for file in sorted(files, key=lambda each: each.filename)}
    # of two releases at the same time each may bring a file: both tell of the same act, so the id is the same
    about = json.dumps((of.project, of.version, commit, tag, named))
    known_by = uuid.uuid5(RELEASED, about).hex
    detail = {"tag": tag, "files": named}
    events.append("released", of.project, id=known_by, version=of.version, commit=commit, detail=detail)


def _from_commit(provenance: Provenance | None) -> str:
    return f"from commit {provenance.commit}" if provenance else "from an unknown commit"


def _upload(index: Index, upload: Upload, artifact: Artifact) -> Outcome:
    answer = upload(artifact.path)
    listed = {file.filename: file for file in index.own_files(artifact.project)} if answer.status in (200, 409) else {}
    there = listed.get(artifact.path.name)
    if answer.status == 200:
        if there is None:
            raise UploadRefused(
                f"the index took {artifact.path.name} and does not list it",
                where=index.url,
                remedy="`pinwheel index.verify` on the index's machine says what is wrong",
            )
        _check(index, artifact, there)
        with tempfile.TemporaryDirectory(prefix="pinwheel-read-back-") as folder:
            index.download(there, Path(folder))  # raises when the bytes are not those promised
        return "already there" if answer.known else "published"
    # somebody else may have been faster: with the same bytes that is as good
    _check(index, artifact, there)
    if there is not None:
        return "already there"
    if answer.status in (401, 403):
        problem = f"the index refused the credential for an upload ({answer.status}): {answer.text[:500]}"
        raise _may_not(problem, index, artifact.project)
    raise UploadRefused(
        f"the index did not take {artifact.path.name} ({answer.status}): {answer.text[:2000]}",
        where=index.url,
        remedy="its reasons are above; correct the project, or the index when it is full or broken",
    )


def _state(index: Index, artifact: Artifact) -> None:
    if artifact.paper:
        papers.store(index, artifact.project, artifact.version, artifact.path.name, artifact.paper)
