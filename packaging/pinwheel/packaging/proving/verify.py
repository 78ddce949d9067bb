"""Gather the evidence for a file or a version, and prove it.

`prove_version` and `proof.require` are what a deploy asks before it installs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pinwheel.index.client import Attachment, Damaged, IndexFile
from pinwheel.packaging.proving.proof import Evidence, Judge, Proof, prove
from pinwheel.packaging.publishing.papers import Papers, paper_beside, paper_of
from pinwheel.packaging.publishing.publish import sha256_of
from pinwheel.packaging.statement import attachment_name, signature_name


class Shelf(Papers, Protocol):
    """The part of the index client that is needed here."""

    def download(self, file: IndexFile, into: Path) -> Path: ...

    def attachments(self, project: str, version: str) -> list[Attachment]: ...


def prove_version(
    index: Shelf, project: str, version: str, files: Sequence[IndexFile], judge: Judge | None
) -> list[Proof]:
    """Prove `files`, all of one version of `project`, by the hashes that the index lists, which whoever installs them
    has to insist on. The bytes are not fetched."""
    return [prove(each, judge) for each in _evidence(index, project, version, files)]


def prove_bytes(index: Shelf, file: IndexFile, proof: Proof) -> Proof:
    """The same proof, with a fault when the file's bytes are not those that the index lists."""
    with tempfile.TemporaryDirectory(prefix="pinwheel-verify-") as folder:
        try:
            index.download(file, Path(folder))
        except Damaged as error:
            return replace(proof, faults=(*proof.faults, error.problem))
    return proof


def prove_file(path: Path, judge: Judge | None) -> Proof:
    """Prove a file in a folder by the statement and signature beside it. No index is asked."""
    return prove(Evidence(path.name, sha256_of(path), paper_beside(path)), judge)


def _evidence(index: Shelf, project: str, version: str, files: Sequence[IndexFile]) -> list[Evidence]:
    papers = {file.filename: paper_of(index, project, version, file.filename) for file in files}
    # only now: a time must not be older than what it is the time of
    stored = {each.name: each.at for each in index.attachments(project, version)}
    found = []
    for file in files:
        paper = papers[file.filename]
        names = (attachment_name(file.filename), signature_name(file.filename, paper.body)) if paper else ()
        taken = (file.upload_time, *(stored.get(name, "") for name in names))
        found.append(Evidence(file.filename, file.sha256, paper, tuple(filter(None, taken))))
    return found
