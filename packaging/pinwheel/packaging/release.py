"""Release projects: from refs to files in the index, in dependency order, doing only what is not done yet.

A project whose version the index has from the same commit costs one question to its repository and a few to the
index: no clone, no build.
"""

from __future__ import annotations

import os
import platform
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

from packaging.version import Version

from pinwheel.archive import Distribution
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging import normalise, refs, source, statement
from pinwheel.packaging.access import Keyring
from pinwheel.packaging.git import Mirror, ask
from pinwheel.packaging.inspection.examine import examine
from pinwheel.packaging.inspection.findings import Allowance, Finding, NotFit, allow, errors, unused
from pinwheel.packaging.inspection.rules import Origin
from pinwheel.packaging.plan import Plan, judge, plan, unmet
from pinwheel.packaging.publish import (
    Artifact,
    EventLog,
    Index,
    Upload,
    check_project,
    origins,
    publish,
    record,
    sha256_of,
    uploader,
)
from pinwheel.packaging.refs import Refs, Resolved
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.signatures import Signer
from pinwheel.packaging.signed_tags import verified
from pinwheel.packaging.statement import Paper, Provenance, Statement
from pinwheel.packaging.work import Blocked, Failure, Job, Release, Wanted
from pinwheel.packaging.workspace import alone, full_disk_explained, logs, unless_full, workspace
from pinwheel.packaging.worktree import check_clean

ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Tools:
    """What releasing works with. `report` takes a project's name and what happens to it now; without a `signer`,
    statements are not signed."""

    index: Index
    upload: Upload
    events: EventLog
    resolver: Resolver
    cache: Path
    report: Callable[[str, str], None]
    signer: Signer | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    keyring: Keyring = field(default_factory=Keyring)

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


def release(wanted: Sequence[Wanted], tools: Tools) -> list[Release | Failure]:
    """Release every project of `wanted`: one outcome for each, in the order in which they came to be done.

    A failure leaves those alone that do not need the failed one. An index that stops answering is a failure of the
    project at hand and of all that come after it; raises `IndexUnreachable` when it does not answer at the beginning,
    and, when there is something to release, `WrongCredential` for a token that may upload nothing and `CannotSign`.
    """
    planned = survey(wanted, tools)
    done: list[Release | Failure] = [*planned.done, *planned.failed]
    if not planned.todo:
        return done
    who = uploader(tools.index)  # now, because building takes minutes
    if tools.signer:
        tools.signer.check()
    fallen = {each.name for each in planned.failed}
    away = False
    for job in planned.todo:
        try:
            if job.needs & fallen:
                raise unmet(job, fallen)
            if away:
                raise Blocked("the index stopped answering before", "release again when the index answers")
            if job.name:  # or only the backend knows it
                check_project(tools.index, who, job.name)
            done.append(_release(job, tools))
        except PinwheelError as error:
            away = away or isinstance(error, IndexUnreachable)
            done.append(Failure(job.called, error))
            fallen.add(job.called)
    return done


def survey(wanted: Sequence[Wanted], tools: Tools) -> Plan:
    """Find out what there is to do. Nothing is built. Raises `IndexUnreachable`."""
    jobs, unresolved = resolve(wanted, tools)
    jobs, settled = _settle(jobs, tools.index)
    jobs, unread = _read(jobs, tools)
    # only now are the names known that fast answers for repositories without a table in pinwheel.toml need
    jobs, settled_later = _settle(jobs, tools.index)
    return plan(jobs, [*unresolved, *settled, *unread, *settled_later])


def resolve(wanted: Sequence[Wanted], tools: Tools, *, publishable: bool = True) -> tuple[list[Job], list[Failure]]:
    """Bring every ref down to a commit; all repositories are asked at the same time, each once."""
    mirrors = {each.repository: tools.mirror(each) for each in wanted}
    with full_disk_explained(tools.cache):
        answers = dict(zip(mirrors, ask(list(mirrors.values())), strict=True))
    jobs, failures = [], []
    for each in wanted:
        mirror, answer = mirrors[each.repository], answers[each.repository]
        try:
            if isinstance(answer, PinwheelError):
                raise answer
            with full_disk_explained(tools.cache):
                resolved = _resolved(each, mirror, answer)
            if publishable and resolved.kind == "branch":
                raise UsageError(
                    f"{each.ref} is a branch, and a branch is never published",
                    where=each.repository,
                    remedy="tag the commit with its version and release the tag; `packaging.build` takes branches",
                )
            check_clean(mirror.local, resolved.commit, tools.environ)
            jobs.append(Job(each, resolved))
        except PinwheelError as error:
            failures.append(Failure(each.called, error))
    return jobs, failures


def build(job: Job, tools: Tools, folder: Path) -> Build:
    """Build the commit in the empty folder `folder`; the files end up in its `dist`.

    Raises `NotFit` with every finding, `BuildFailed`, `NoProject`.
    """
    from pinwheel.packaging.assemble import Workplace, assemble

    started = _now()
    mirror = tools.mirror(job.wanted)
    mirror.fetch(job.resolved)
    job = _verified(job, mirror)
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
    variables = {"SOURCE_DATE_EPOCH": str(epoch), **laid.variables}
    place = Workplace(tools.resolver, folder, output, variables, tools.environ)
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
        python=platform.python_version(),
        builder=version_of("pinwheel-kit"),
        normaliser=normalise.VERSION,
        dependencies=built.dependencies,
        started=started,
        finished=_now(),
        tag_signer=job.resolved.signer,
    )
    tree = {file.path: file.blob for file in laid.tree}
    origin_of = Origin(tree, (*job.wanted.generated, *laid.manifest.generated), strict=job.wanted.declared)
    name, version = laid.manifest.name, laid.version
    built_files = []
    for path in (built.sdist, built.wheel):
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
        findings += allow(examined.findings, job.wanted.allowed)
        built_files.append((path, read))
    findings += unused(findings, job.wanted.allowed)
    if errors(findings) or version is None:
        raise NotFit(f"{name} {version}", findings)
    # once, though both archives have the file
    allowed = dict.fromkeys(Allowance(each.rule, each.allowed, each.file) for each in findings if each.allowed)
    provenance = replace(provenance, allowed=tuple(allowed))
    artifacts = [_artifact(path, read, provenance, tools) for path, read in built_files]
    shutil.rmtree(output, ignore_errors=True)  # the output of a build that went well interests nobody
    return Build(name, version, tuple(artifacts), tuple(findings))


def _artifact(path: Path, read: Distribution, provenance: Provenance, tools: Tools) -> Artifact:
    """A built file with its statement, written and signed once: what is signed is what is stored."""
    sha256 = sha256_of(path)
    body = statement.write(Statement(path.name, sha256, provenance))
    paper = Paper(body, tools.signer.sign(body) if tools.signer else b"")
    return Artifact(path, read.name, str(read.version), sha256, paper)


def _resolved(wanted: Wanted, mirror: Mirror, refs_there: Refs) -> Resolved:
    if wanted.ref:
        return mirror.resolve(refs_there, wanted.ref)
    tag = refs.newest(refs_there.tags, wanted.name)
    if tag is None and not wanted.name and refs_there.tags and refs_there.head:
        # tags like NAME-1.2.0, and only the project itself knows its name
        head = mirror.resolve(refs_there, "HEAD")
        mirror.fetch(head)
        tag = refs.newest(refs_there.tags, source.read_manifest(mirror, head, wanted.subdirectory).name)
    if tag is None:
        raise UsageError(
            "no tag names a version",
            where=wanted.repository,
            remedy="tag a commit (git tag v1.0.0, git push --tags), or name another ref with --ref",
        )
    return mirror.resolve(refs_there, tag)


def _settle(jobs: Sequence[Job], index: Index) -> tuple[list[Job], list[Release | Failure]]:
    """Take out what the index has already; it is asked about all projects at the same time."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda job: _judged(job, index), jobs))
    left = [job for job, outcome in zip(jobs, outcomes, strict=True) if outcome is None]
    return left, [outcome for outcome in outcomes if outcome is not None]


def _judged(job: Job, index: Index) -> Release | Failure | None:
    """The job, judged by what the index has of its version now; None when there is work to do."""
    if not job.name or job.version is None:
        return None
    try:
        return judge(job, origins(index, job.name, str(job.version)))
    except IndexUnreachable:
        raise
    except PinwheelError as error:
        return Failure(job.called, error)


def _read(jobs: Sequence[Job], tools: Tools) -> tuple[list[Job], list[Failure]]:
    """Fetch what is left to do and read what each project says of itself."""
    ready, failures = [], []
    for job in jobs:
        try:
            tools.report(job.wanted.called, f"reading {job.resolved.tag or job.resolved.commit[:12]}")
            mirror = tools.mirror(job.wanted)
            with full_disk_explained(tools.cache):
                mirror.fetch(job.resolved)
                signed = _verified(job, mirror)
                found = source.read_manifest(mirror, job.resolved, job.wanted.subdirectory)
            source.check_name(found, job.wanted.name, job.wanted.repository)
            ready.append(replace(signed, manifest=found))
        except PinwheelError as error:
            failures.append(Failure(job.wanted.called, error))
    return ready, failures


def _verified(job: Job, mirror: Mirror) -> Job:
    """The job, with who signed its tag when the project asks for it. Raises `NotSigned`."""
    if job.wanted.tag_signers is None:
        return job
    return replace(job, resolved=verified(mirror, job.resolved, job.wanted.tag_signers))


def _release(job: Job, tools: Tools) -> Release:
    """Build and publish one project, while no other process of this machine does the same."""
    called = job.name or job.resolved.commit
    with (
        full_disk_explained(tools.cache),
        alone(tools.cache / "locks", f"{called}-{job.version or job.resolved.commit}"),
    ):
        # another process may have done it while we waited
        meanwhile = _judged(job, tools.index)
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
