"""Release projects: from refs to files in the index, each as soon as what it needs is there, and only what is not yet.

A project whose version the index has from the same commit costs one question to its repository and a few to the
index: no clone, no build.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from pinwheel.archive import Distribution
from pinwheel.errors import PinwheelError
from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging import isolation, linkage, normalise, pythons, schedule, source, statement
from pinwheel.packaging.access import Keyring
from pinwheel.packaging.git import Mirror
from pinwheel.packaging.inspection.examine import examine
from pinwheel.packaging.inspection.findings import Allowance, Finding, NotFit, allow, errors, unused
from pinwheel.packaging.inspection.rules import Origin
from pinwheel.packaging.plan import unmet
from pinwheel.packaging.publish import (
    Artifact,
    EventLog,
    Index,
    Upload,
    check_project,
    publish,
    record,
    sha256_of,
    uploader,
)
from pinwheel.packaging.pythons import Interpreter
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.signatures import Signer
from pinwheel.packaging.statement import Paper, Provenance, Statement
from pinwheel.packaging.survey import judged, survey, with_signer
from pinwheel.packaging.work import Blocked, Failure, Job, Release, Wanted
from pinwheel.packaging.workspace import alone, full_disk_explained, logs, shuffle, unless_full, workspace

if TYPE_CHECKING:  # `build` is heavy, and most releases have nothing to build
    from pinwheel.packaging.assemble import Built, Surroundings

OLDEST_GLIBC = (2, 35)


@dataclass(frozen=True, slots=True)
class Tools:
    """What releasing works with. `report` takes a project's name and what happens to it now, empty when that is nothing
    any more, from several threads; `ours` are the names of pinwheel.toml; without a `signer`, statements are not
    signed."""

    index: Index
    upload: Upload
    events: EventLog
    resolver: Resolver
    cache: Path
    report: Callable[[str, str], None]
    oldest_glibc: tuple[int, int] = OLDEST_GLIBC
    ours: frozenset[str] = frozenset()
    signer: Signer | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    keyring: Keyring = field(default_factory=Keyring)

    def paper(self, body: bytes) -> Paper:
        """A statement, signed if we can: what is signed is what is stored."""
        return Paper(body, self.signer.sign(body) if self.signer else b"")

    def mirror(self, wanted: Wanted) -> Mirror:
        """The mirror of the project's repository. Raises `UsageError` when its table in pinwheel.toml is wrong."""
        return self._mirror_of(wanted.repository)

    def submodule(self, address: str, commit: str) -> Mirror | None:
        """The mirror of a submodule's repository, with the commit in it; None when pinwheel.toml does not name it."""
        if not self.keyring.declares(address):
            return None
        mirror = self._mirror_of(address)
        mirror.bring(commit)
        return mirror

    def _mirror_of(self, address: str) -> Mirror:
        return Mirror(address, self.cache / "git", self.environ, self.keyring.way(address))


@dataclass(frozen=True, slots=True)
class Build:
    """What came out of one commit: normalised, inspected files."""

    name: str
    version: Version
    artifacts: tuple[Artifact, ...]
    findings: tuple[Finding, ...]


def release(
    wanted: Sequence[Wanted],
    tools: Tools,
    *,
    jobs: int = 1,
    changed: bool = False,
    tell: Callable[[Release | Failure], None] = lambda _: None,
) -> list[Release | Failure]:
    """Release every project of `wanted`, at most `jobs` at the same time: one outcome for each, in the order in which
    they came to be done. `tell` hears of each at once, from several threads.

    A failure leaves those alone that do not need the failed one. An index that stops answering is a failure of the
    projects at hand and of all that come after them; raises `IndexUnreachable` when it does not answer at the
    beginning, and, when there is something to release, `WrongCredential` for a token that may upload nothing and
    `CannotSign`. `changed` as in `survey`.
    """
    planned = survey(wanted, tools, changed=changed)
    done: list[Release | Failure] = [*planned.done, *planned.failed]
    for outcome in done:
        tell(outcome)
    if not planned.todo:
        return done
    who = uploader(tools.index)  # now, because building takes minutes
    if tools.signer:
        tools.signer.check()
    todo = {job.called: job for job in planned.todo}
    needs = planned.needs()
    for name in todo:
        tools.report(name, f"waits for {', '.join(sorted(needs[name]))}" if needs[name] else "")
    away = threading.Event()

    def one(name: str) -> Release | Failure:
        outcome: Release | Failure
        try:
            if away.is_set():
                raise Blocked("the index stopped answering before", "release again when the index answers")
            if todo[name].name:  # or only the backend knows it
                check_project(tools.index, who, todo[name].name)
            outcome = _release(todo[name], tools)
        except PinwheelError as error:
            if isinstance(error, IndexUnreachable):
                away.set()
            outcome = Failure(name, error)
        except OSError as error:  # the others may well go on
            problem, where = error.strerror or type(error).__name__, str(error.filename or "")
            outcome = Failure(name, PinwheelError(problem, where=where, remedy="correct it, and release again"))
        tell(outcome)
        return outcome

    tried = schedule.when_ready(needs, one, at_once=jobs, good=lambda outcome: isinstance(outcome, Release))
    fallen = {each.name for each in (*planned.failed, *tried.values()) if isinstance(each, Failure)}
    untried = []
    for name, job in todo.items():
        if name not in tried:
            untried.append(Failure(name, unmet(job, fallen)))
            fallen.add(name)
            tell(untried[-1])
    return [*done, *tried.values(), *untried]


def build(job: Job, tools: Tools, folder: Path, surroundings: Surroundings | None = None) -> Build:
    """Build the commit in the empty folder `folder`; the files end up in its `dist`. Without `surroundings`, the usual.

    Raises `NotFit` with every finding, `BuildFailed`, `NoProject`, `PythonMissing`.
    """
    from pinwheel.packaging.assemble import THIS_PYTHON, USUAL, Workplace, assemble

    started = _now()
    mirror = tools.mirror(job.wanted)
    mirror.fetch(job.resolved)
    job = with_signer(job, mirror)
    laid = source.lay_out(
        mirror, job.resolved, job.wanted.subdirectory, folder / "source", job.wanted.elsewhere, tools.submodule
    )
    source.check_name(laid.manifest, job.wanted.name, job.wanted.repository)
    called = laid.manifest.name or job.wanted.called
    findings = allow(laid.findings, job.wanted.allowed)
    if errors(findings):
        raise NotFit(f"{called} at {job.resolved.tag or job.resolved.commit[:12]}", findings)
    tools.report(called, f"building {laid.version or job.resolved.commit[:12]}")
    output = logs(tools.cache / "logs", f"{job.name or 'project'}-{job.resolved.commit[:12]}")
    epoch = laid.commit.epoch
    wanted_pythons = pythons.oldest_first(job.wanted.pythons, f"the pythons of {called} in pinwheel.toml")
    place = Workplace(
        tools.resolver,
        folder,
        output,
        {"SOURCE_DATE_EPOCH": str(epoch), **laid.variables},
        tools.environ,
        # all of them are looked for before anything is built
        tuple(Interpreter(each, tools.resolver.python(each, cwd=folder)) for each in wanted_pythons) or (THIS_PYTHON,),
        cut_off=() if job.wanted.network else isolation.cut_off(),
        surroundings=surroundings or USUAL,
    )
    if place.surroundings.shuffled:
        shuffle(laid.root, place.surroundings.umask, epoch)
    built = assemble(laid.root, folder / "dist", place)
    provenance = Provenance(
        repository=job.wanted.repository,
        ref=job.resolved.ref,
        commit=job.resolved.commit,
        tag=job.resolved.tag,
        tag_object=job.resolved.tag_object if job.resolved.tag_object != job.resolved.commit else "",
        tree=laid.commit.tree,
        subdirectory=job.wanted.subdirectory,
        epoch=epoch,
        builder=version_of("pinwheel-kit"),
        normaliser=normalise.VERSION,
        network="none" if place.cut_off else "open",
        started=started,
        finished=_now(),
        tag_signer=job.resolved.signer,
    )
    tree = {file.path: file.blob for file in laid.tree}
    origin_of = Origin(tree, (*job.wanted.generated, *laid.manifest.generated), strict=job.wanted.declared)
    name, version = laid.manifest.name, laid.version
    files: list[tuple[Built, Distribution]] = []
    for each in built:
        path = each.path
        try:
            normalise.normalise(path, epoch)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
            cut = PinwheelError(
                f"the backend made a file that cannot be read: {error}",
                where=path.name,
                remedy="`python -m build` in the repository should make the same file; see what its backend does",
            )
            raise unless_full(cut, folder) from error
        sha256_ids = len(job.resolved.commit) == 64
        examined = examine(path, name=name, version=version, origin=origin_of, sha256_ids=sha256_ids)
        read = examined.distribution
        name, version = name or read.name, version or read.version
        inspected = list(examined.findings)
        if path.suffix == ".whl" and not path.name.endswith("-none-any.whl") and (needs := linkage.read(path)):
            inspected += linkage.problems(needs, path.name, tools.oldest_glibc)
        findings += allow(inspected, job.wanted.allowed)
        files.append((each, read))
    findings += unused(findings, job.wanted.allowed)
    if errors(findings) or version is None:
        raise NotFit(f"{name} {version}", findings)
    # once, though both archives have the file
    allowed = dict.fromkeys(Allowance(each.rule, each.allowed, each.file) for each in findings if each.allowed)
    provenance = replace(provenance, allowed=tuple(allowed))
    artifacts = [
        _artifact(each.path, read, replace(provenance, python=each.python, dependencies=each.dependencies), tools)
        for each, read in files
    ]
    shutil.rmtree(output, ignore_errors=True)  # the output of a build that went well interests nobody
    return Build(name, version, tuple(artifacts), tuple(findings))


def _artifact(path: Path, read: Distribution, provenance: Provenance, tools: Tools) -> Artifact:
    """A built file with its statement, written and signed once."""
    sha256 = sha256_of(path)
    paper = tools.paper(statement.write(Statement(path.name, sha256, provenance)))
    return Artifact(path, read.name, str(read.version), sha256, paper)


def _release(job: Job, tools: Tools) -> Release:
    """Build and publish one project, while no other process of this machine does the same."""
    called = job.name or job.resolved.commit
    with (
        full_disk_explained(tools.cache),
        alone(tools.cache / "locks", f"{called}-{job.version or job.resolved.commit}"),
    ):
        # another process may have done it while we waited
        meanwhile = judged(job, tools.index)
        if isinstance(meanwhile, Release):
            return meanwhile
        with workspace() as folder:
            built = build(job, tools, folder)
            tools.report(built.name, f"publishing {built.version}")
            of = built.artifacts[0]
            files = publish(
                tools.index,
                tools.upload,
                built.artifacts,
                lambda brought: record(tools.events, brought, of, of.provenance),
            )
    return Release(built.name, str(built.version), job.resolved.commit, job.resolved.tag, tuple(files), built.findings)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
