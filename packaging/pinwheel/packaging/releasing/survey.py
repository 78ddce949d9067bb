"""Find out what there is to release: what repositories offer, what the index has, what each project needs.

Everything is asked at the same time, and nothing is built.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging import refs, schedule
from pinwheel.packaging.publishing.publish import Index, origins
from pinwheel.packaging.refs import Refs, Resolved
from pinwheel.packaging.releasing.plan import Plan, fits, judge, plan, wanting
from pinwheel.packaging.repositories import source
from pinwheel.packaging.repositories.git import Mirror, ask
from pinwheel.packaging.repositories.signed_tags import with_signer
from pinwheel.packaging.repositories.worktree import check_clean
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Blocked, Failure, Job, NoVersionTag, Release, Wanted
from pinwheel.packaging.workspace import full_disk_explained

ASKED_AT_ONCE = 8
FETCHED_AT_ONCE = 8  # an SSH server turns away more than ten that have not said yet who they are


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
    untagged = [each for each in unresolved if changed and isinstance(each.error, NoVersionTag)]
    known = [*(each for each in unresolved if each not in untagged), *settled, *unread, *settled_later]
    return plan(jobs, [*known, *_unsupplied(jobs, known, tools)], untagged)


def resolve(wanted: Sequence[Wanted], tools: Tools, *, publishable: bool = True) -> tuple[list[Job], list[Failure]]:
    """Bring every ref down to a commit; all repositories are asked at the same time, each once."""
    mirrors: dict[str, Mirror] = {}
    answers: dict[str, Refs | PinwheelError] = {}
    for each in wanted:
        try:
            mirrors[each.repository] = tools.mirror(each)
        except PinwheelError as error:  # its key is missing, say; the others may well be there
            answers[each.repository] = error
    with full_disk_explained(tools.cache):
        answers |= zip(mirrors, ask(list(mirrors.values())), strict=True)

    def one(each: Wanted) -> Job | Failure:
        answer = answers[each.repository]
        try:
            if isinstance(answer, PinwheelError):
                raise answer
            mirror = mirrors[each.repository]
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


def judged(job: Job, index: Index, *, changed: bool = False) -> Release | Failure | Job:
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
    outcomes = schedule.each(jobs, lambda job: judged(job, index, changed=changed), at_once=ASKED_AT_ONCE)
    left = [outcome for outcome in outcomes if isinstance(outcome, Job)]
    return left, [outcome for outcome in outcomes if not isinstance(outcome, Job)]


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
            signed = with_signer(job, mirror)
            found = source.read_manifest(mirror, job.resolved, job.wanted.subdirectory)
        source.check_name(found, job.wanted.name, job.wanted.repository)
        if not job.wanted.name and found.name:
            tools.report(job.wanted.called, "")  # it has a name now
        return replace(signed, manifest=found)
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
    found: list[Version | None] = []
    for file in files:
        with contextlib.suppress(InvalidVersion):  # from before PEP 440: no installer takes it
            found.append(Version(file.version) if file.version else None)
    return tuple(found)
