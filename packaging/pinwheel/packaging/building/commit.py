"""Build one commit: from its mirror to normalised, inspected files, each with its statement."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from pinwheel.archive import Distribution
from pinwheel.errors import PinwheelError
from pinwheel.packaging import statement
from pinwheel.packaging.building import isolation, linkage, normalise
from pinwheel.packaging.building.pythons import Interpreter
from pinwheel.packaging.inspection.examine import examine
from pinwheel.packaging.inspection.findings import Allowance, Finding, NotFit, allow, errors, unused
from pinwheel.packaging.inspection.rules import Origin
from pinwheel.packaging.publishing.publish import Artifact, sha256_of
from pinwheel.packaging.repositories import source
from pinwheel.packaging.repositories.signed_tags import with_signer
from pinwheel.packaging.repositories.source import Source
from pinwheel.packaging.statement import Provenance, Statement
from pinwheel.packaging.targets import oldest_first
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Job
from pinwheel.packaging.workspace import logs, shuffle, unless_full

if TYPE_CHECKING:  # `build` is heavy, and most releases have nothing to build
    from pinwheel.packaging.building.assemble import Built, Surroundings, Workplace


@dataclass(frozen=True, slots=True)
class Build:
    """What came out of one commit: normalised, inspected files."""

    name: str
    version: Version
    artifacts: tuple[Artifact, ...]
    findings: tuple[Finding, ...]


def build(job: Job, tools: Tools, folder: Path, surroundings: Surroundings | None = None) -> Build:
    """Build the commit in the empty folder `folder`; the files end up in its `dist`. Without `surroundings`, the usual.

    Raises `NotFit` with every finding, `BuildFailed`, `NoProject`, `PythonMissing`.
    """
    from pinwheel.packaging.building.assemble import USUAL, assemble

    started = _now()
    job, laid = _laid_out(job, tools, folder / "source")
    called = laid.manifest.name or job.wanted.called
    found = allow(laid.findings, job.wanted.allowed)
    if errors(found):
        raise NotFit(f"{called} at {job.resolved.tag or job.resolved.commit[:12]}", found)
    again = " once more, to compare" if surroundings else ""
    tools.report(called, f"building {laid.version or job.resolved.commit[:12]}{again}")
    place = _workplace(job, laid, tools, folder, surroundings or USUAL)
    if place.surroundings.shuffled:
        shuffle(laid.root, place.surroundings.umask, laid.commit.epoch)
    built = assemble(laid.root, folder / "dist", place)
    finished = _now()
    name, version = laid.manifest.name, laid.version
    files: list[tuple[Built, Distribution]] = []
    for each in built:
        _normalise(each.path, laid.commit.epoch, folder)
        read, of_it = _inspected(each.path, job, laid, tools, name, version)
        name, version = name or read.name, version or read.version
        found += of_it
        files.append((each, read))
    found += unused(found, job.wanted.allowed)
    if errors(found) or version is None:
        raise NotFit(f"{name} {version}", found)
    provenance = replace(
        _provenance(job, laid, found),
        network="none" if place.cut_off else "open",
        started=started,
        finished=finished,
    )
    artifacts = [
        _artifact(each.path, read, replace(provenance, python=each.python, dependencies=each.dependencies), tools)
        for each, read in files
    ]
    shutil.rmtree(place.logs, ignore_errors=True)  # the output of a build that went well interests nobody
    return Build(name, version, tuple(artifacts), tuple(found))


def _laid_out(job: Job, tools: Tools, into: Path) -> tuple[Job, Source]:
    """The job, with who signed its tag, and its commit below the folder `into`."""
    mirror = tools.mirror(job.wanted)
    mirror.fetch(job.resolved)
    job = with_signer(job, mirror)
    wanted = job.wanted
    laid = source.lay_out(mirror, job.resolved, wanted.subdirectory, into, wanted.elsewhere, tools.submodule)
    source.check_name(laid.manifest, wanted.name, wanted.repository)
    return job, laid


def _workplace(job: Job, laid: Source, tools: Tools, folder: Path, surroundings: Surroundings) -> Workplace:
    """Where it is built and by which Pythons: all of them are looked for before anything is built."""
    from pinwheel.packaging.building.assemble import THIS_PYTHON, Workplace

    called = laid.manifest.name or job.wanted.called
    # a wheel for the stable ABI that the oldest makes serves those after it
    wanted = oldest_first(job.wanted.pythons, f"the pythons of {called} in pinwheel.toml")
    return Workplace(
        tools.resolver,
        folder,
        logs(tools.cache / "logs", f"{job.name or 'project'}-{job.resolved.commit[:12]}"),
        {"SOURCE_DATE_EPOCH": str(laid.commit.epoch), **laid.variables},
        tools.environ,
        tuple(Interpreter(each, tools.resolver.python(each, cwd=folder)) for each in wanted) or (THIS_PYTHON,),
        cut_off=() if job.wanted.network else isolation.cut_off(),
        surroundings=surroundings,
    )


def _normalise(path: Path, epoch: int, folder: Path) -> None:
    try:
        normalise.normalise(path, epoch)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        cut = PinwheelError(
            f"the backend made a file that cannot be read: {error}",
            where=path.name,
            remedy="`python -m build` in the repository should make the same file; see what its backend does",
        )
        raise unless_full(cut, folder) from error


def _inspected(
    path: Path, job: Job, laid: Source, tools: Tools, name: str, version: Version | None
) -> tuple[Distribution, list[Finding]]:
    """What the file is, and what there is to say against it, in view of what the project allows itself."""
    generated = (*job.wanted.generated, *laid.manifest.generated)
    origin = Origin({file.path: file.blob for file in laid.tree}, generated, strict=job.wanted.declared)
    sha256_ids = len(job.resolved.commit) == 64
    examined = examine(path, name=name, version=version, origin=origin, sha256_ids=sha256_ids)
    found = list(examined.findings)
    if path.suffix == ".whl" and not path.name.endswith("-none-any.whl") and (needs := linkage.read(path)):
        found += linkage.problems(needs, path.name, tools.oldest_glibc)
    return examined.distribution, allow(found, job.wanted.allowed)


def _provenance(job: Job, laid: Source, found: Sequence[Finding]) -> Provenance:
    """What is true of every file of the commit."""
    resolved = job.resolved
    # once, though both archives have the file
    allowed = dict.fromkeys(Allowance(each.rule, each.allowed, each.file) for each in found if each.allowed)
    return Provenance(
        repository=job.wanted.repository,
        ref=resolved.ref,
        commit=resolved.commit,
        tag=resolved.tag,
        tag_object=resolved.tag_object if resolved.tag_object != resolved.commit else "",
        tree=laid.commit.tree,
        subdirectory=job.wanted.subdirectory,
        epoch=laid.commit.epoch,
        builder=version_of("pinwheel-kit"),
        normaliser=normalise.VERSION,
        allowed=tuple(allowed),
        tag_signer=resolved.signer,
    )


def _artifact(path: Path, read: Distribution, provenance: Provenance, tools: Tools) -> Artifact:
    """A built file with its statement, written and signed once."""
    sha256 = sha256_of(path)
    paper = tools.paper(statement.write(Statement(path.name, sha256, provenance)))
    return Artifact(path, read.name, str(read.version), sha256, paper)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
