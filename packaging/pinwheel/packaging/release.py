"""Release projects: from refs to files in the index, each as soon as what it needs is there, and only what is not yet.

A project whose version the index has from the same commit costs one question to its repository and a few to the
index: no clone, no build.
"""

from __future__ import annotations

import os
import platform
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

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import archive
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging import inspection, normalise, refs, schedule, source
from pinwheel.packaging.git import Mirror, ask
from pinwheel.packaging.inspection import Finding, NotFit, Origin
from pinwheel.packaging.plan import Plan, fits, judge, plan, unmet, wanting
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
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.work import Blocked, Failure, Job, NoVersionTag, Release, Wanted
from pinwheel.packaging.workspace import alone, full_disk_explained, logs, unless_full, workspace
from pinwheel.packaging.worktree import check_clean

ASKED_AT_ONCE = 8
FETCHED_AT_ONCE = 8  # an SSH server turns away more than ten that have not said yet who they are


@dataclass(frozen=True, slots=True)
class Tools:
    """What releasing works with. `report` takes a project's name and what happens to it now, empty when that is nothing
    any more, from several threads; `ours` are the names of pinwheel.toml."""

    index: Index
    upload: Upload
    events: EventLog
    resolver: Resolver
    cache: Path
    report: Callable[[str, str], None]
    ours: frozenset[str] = frozenset()
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def mirror(self, wanted: Wanted) -> Mirror:
        """The mirror of the project's repository."""
        return Mirror(wanted.repository, self.cache / "git", self.environ)


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
    beginning, and `WrongCredential` when there is something to release and our token may upload nothing. `changed` as
    in `survey`.
    """
    planned = survey(wanted, tools, changed=changed)
    done: list[Release | Failure] = [*planned.done, *planned.failed]
    for outcome in done:
        tell(outcome)
    if not planned.todo:
        return done
    who = uploader(tools.index)  # now, because building takes minutes
    todo = {job.called: job for job in planned.todo}
    needs = planned.needs()
    for name in todo:
        tools.report(name, f"waits for {', '.join(sorted(needs[name]))}" if needs[name] else "waits")
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


def survey(wanted: Sequence[Wanted], tools: Tools, *, changed: bool = False, count: bool = False) -> Plan:
    """Find out what there is to do. Nothing is built. Raises `IndexUnreachable`.

    With `changed`, a project without a version tag is no failure, and a version that somebody else published is left
    alone. With `count`, commits that no tag releases yet are counted, which fetches them.
    """
    jobs, unresolved = resolve(wanted, tools)
    if count:
        jobs = schedule.each(jobs, lambda job: _counted(job, tools), at_once=FETCHED_AT_ONCE)
    jobs, settled = _settle(jobs, tools.index, changed=changed)
    jobs, unread = _read(jobs, tools)
    # only now are the names known that fast answers for repositories without a table in pinwheel.toml need
    unjudged, settled_later = _settle([job for job in jobs if not job.why], tools.index, changed=changed)
    jobs = [*(job for job in jobs if job.why), *unjudged]
    known = [*unresolved, *settled, *unread, *settled_later]
    untagged = [each for each in unresolved if changed and isinstance(each.error, NoVersionTag)]
    known = [each for each in known if each not in untagged]
    return plan(jobs, [*known, *_unsupplied(jobs, known, tools)], untagged)


def resolve(wanted: Sequence[Wanted], tools: Tools, *, publishable: bool = True) -> tuple[list[Job], list[Failure]]:
    """Bring every ref down to a commit; all repositories are asked at the same time, each once."""
    mirrors = {each.repository: tools.mirror(each) for each in wanted}
    with full_disk_explained(tools.cache):
        answers = dict(zip(mirrors, ask(list(mirrors.values())), strict=True))

    def one(each: Wanted) -> Job | Failure:
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
        except PinwheelError as error:
            return Failure(each.called, error)
        return Job(each, resolved, head=answer.head)

    outcomes = schedule.each(wanted, one, at_once=ASKED_AT_ONCE)
    jobs = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    return jobs, [outcome for outcome in outcomes if isinstance(outcome, Failure)]


def build(job: Job, tools: Tools, folder: Path) -> Build:
    """Build the commit in the empty folder `folder`; the files end up in its `dist`.

    Raises `NotFit` with every finding, `BuildFailed`, `NoProject`.
    """
    from pinwheel.packaging.assemble import Workplace, assemble

    started = _now()
    mirror = tools.mirror(job.wanted)
    mirror.fetch(job.resolved)
    laid = source.lay_out(mirror, job.resolved, job.wanted.subdirectory, folder / "source")
    source.check_name(laid.manifest, job.wanted.name, job.wanted.repository)
    called = laid.manifest.name or job.wanted.called
    if inspection.errors(laid.findings):
        raise NotFit(f"{called} at {job.resolved.tag or job.resolved.commit[:12]}", laid.findings)
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
    )
    tree = {file.path: file.blob for file in laid.tree}
    origin_of = Origin(tree, (*job.wanted.generated, *laid.manifest.generated), strict=job.wanted.declared)
    name, version = laid.manifest.name, laid.version
    artifacts, findings = [], list(laid.findings)
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
        read = archive.read(path, path.name)
        name, version = name or read.name, version or read.version
        contents = normalise.contents(path, sha256_ids=len(job.resolved.commit) == 64)
        findings += inspection.inspect(read, contents, name=name, version=version, origin=origin_of)
        artifacts.append(Artifact(path, read.name, str(read.version), sha256_of(path), provenance))
    if inspection.errors(findings) or version is None:
        raise NotFit(f"{name} {version}", findings)
    shutil.rmtree(output, ignore_errors=True)  # the output of a build that went well interests nobody
    return Build(name, version, tuple(artifacts), tuple(findings))


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
        raise NoVersionTag(
            "no tag names a version",
            where=wanted.repository,
            remedy="tag a commit (git tag v1.0.0, git push --tags), or name another ref with --ref",
        )
    return mirror.resolve(refs_there, tag)


def _counted(job: Job, tools: Tools) -> Job:
    """The job with a note of the commits that came after its tag."""
    if not job.wanted.ref and job.resolved.tag and job.head not in ("", job.resolved.commit):
        mirror = tools.mirror(job.wanted)
        try:
            with full_disk_explained(tools.cache):
                for each in (job.resolved, Resolved("branch", "HEAD", job.head)):
                    mirror.fetch(each)
                number = mirror.commits_between(job.resolved.commit, job.head, job.wanted.subdirectory)
        except PinwheelError:
            return job  # it is said when that is in the way of a release
        if number:
            note = f"{number} commit{'' if number == 1 else 's'} since {job.resolved.tag}, untagged"
            return replace(job, notes=(*job.notes, note))
    return job


def _settle(jobs: Sequence[Job], index: Index, *, changed: bool) -> tuple[list[Job], list[Release | Failure]]:
    """Take out what the index has already; it is asked about all projects at the same time."""
    outcomes = schedule.each(jobs, lambda job: _judged(job, index, changed=changed), at_once=ASKED_AT_ONCE)
    left = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    return left, [outcome for outcome in outcomes if not isinstance(outcome, Job)]


def _judged(job: Job, index: Index, *, changed: bool = False) -> Release | Failure | Job:
    """The job, judged by what the index has of its version now; the job itself when there is work to do."""
    if not job.name or job.version is None:
        return job if job.manifest is None else replace(job, why="only its build tells which version it is")
    try:
        files = index.own_files(job.name)
        versions = [Version(file.version) for file in files if file.version]
        return judge(job, origins(index, job.name, str(job.version), files), versions, changed=changed)
    except IndexUnreachable:
        raise
    except PinwheelError as error:
        return Failure(job.called, error)


def _read(jobs: Sequence[Job], tools: Tools) -> tuple[list[Job], list[Failure]]:
    """Fetch what is left to do and read what each project says of itself, many at the same time."""
    outcomes = schedule.each(jobs, lambda job: _with_manifest(job, tools), at_once=FETCHED_AT_ONCE)
    ready = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    return ready, [outcome for outcome in outcomes if isinstance(outcome, Failure)]


def _with_manifest(job: Job, tools: Tools) -> Job | Failure:
    tools.report(job.wanted.called, f"reading {job.resolved.tag or job.resolved.commit[:12]}")
    try:
        mirror = tools.mirror(job.wanted)
        with full_disk_explained(tools.cache):
            mirror.fetch(job.resolved)
            found = source.read_manifest(mirror, job.resolved, job.wanted.subdirectory)
        source.check_name(found, job.wanted.name, job.wanted.repository)
        if not job.wanted.name and found.name:
            tools.report(job.wanted.called, "")  # it has a name now
        return replace(job, manifest=found)
    except PinwheelError as error:
        return Failure(job.wanted.called, error)


def _unsupplied(jobs: Sequence[Job], others: Sequence[Release | Failure], tools: Tools) -> list[Failure]:
    """Those of `jobs` that could not be installed, because something that they need to run is neither released along
    with them nor to be had from the index."""
    versions: dict[str, Version | None] = {
        each.name: Version(each.version) if isinstance(each, Release) else None for each in others
    }
    versions |= {job.called: job.version for job in jobs}
    lacking = {job.called: wanting(job, versions) for job in jobs}
    names = sorted({canonicalize_name(required.name) for wants in lacking.values() for required in wants})
    offered = dict(zip(names, schedule.each(names, lambda n: _offered(n, tools), at_once=ASKED_AT_ONCE), strict=True))
    failures = []
    for name, wants in lacking.items():
        nowhere = [str(each) for each in wants if not fits(each, offered[canonicalize_name(each.name)])]
        if nowhere:
            problem = f"it needs {', '.join(nowhere)}, and the index has none that fits"
            remedy = "release it first (--all finds the order), bring it into the index, or correct the requirement"
            failures.append(Failure(name, Blocked(problem, remedy)))
    return failures


def _offered(name: str, tools: Tools) -> tuple[Version | None, ...]:
    """The versions of a project that installers get from the index; None stands for one that is not known."""
    try:
        # no upstream shall hear a name that is ours
        files = tools.index.own_files(name) if name in tools.ours else tools.index.files(name)
    except PinwheelError:
        return (None,)  # an upstream that is away: whoever builds or installs will hear of it
    return tuple(Version(file.version) if file.version else None for file in files)


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
            files = publish(tools.index, tools.upload, built.artifacts)
    record(tools.events, files, built.artifacts[0], built.artifacts[0].provenance)
    return Release(built.name, str(built.version), job.resolved.commit, job.resolved.tag, tuple(files), built.findings)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
