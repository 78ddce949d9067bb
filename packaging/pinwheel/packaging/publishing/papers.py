"""Where statements are kept: beside a version in the index, and beside a file in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pinwheel.errors import UsageError
from pinwheel.packaging.statement import Paper, attachment_name, signature_beside, signature_name


class Papers(Protocol):
    """The part of the index client that reads what is beside a version."""

    def attachment(self, project: str, version: str, name: str, sha256: str = "") -> bytes | None: ...


class Cabinet(Papers, Protocol):
    """The part that stores it, too."""

    def put_attachment(self, project: str, version: str, name: str, body: bytes) -> str: ...


def paper_of(index: Papers, project: str, version: str, filename: str) -> Paper | None:
    """The statement that the index has beside a file, with its signature; None without one."""
    body = index.attachment(project, version, attachment_name(filename))
    if body is None:
        return None
    return Paper(body, index.attachment(project, version, signature_name(filename, body)) or b"")


def store(index: Cabinet, project: str, version: str, filename: str, paper: Paper) -> None:
    """Store a statement beside a file, unless it has one: the first one is that of the build that was taken."""
    if index.attachment(project, version, attachment_name(filename)) is not None:
        return
    # first, so that a statement that can be seen has its signature, also when we are killed in between
    if paper.signature:
        index.put_attachment(project, version, signature_name(filename, paper.body), paper.signature)
    index.put_attachment(project, version, attachment_name(filename), paper.body)


def documents(filename: str, paper: Paper) -> dict[str, bytes]:
    """The statement and its signature as files beside `filename` in a folder."""
    signed = {signature_beside(filename): paper.signature} if paper.signature else {}
    return {attachment_name(filename): paper.body, **signed}


def paper_beside(path: Path) -> Paper | None:
    """The statement beside a file in a folder, with its signature; None without one. Raises `UsageError`."""
    body, signature = (path.with_name(name(path.name)) for name in (attachment_name, signature_beside))
    try:
        return Paper(body.read_bytes(), signature.read_bytes() if signature.exists() else b"")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"the statement cannot be read: {error.strerror}", where=str(body), remedy="correct its permissions"
        ) from error
