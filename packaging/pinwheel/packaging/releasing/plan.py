"""What there is to release, in which order and why, as far as commits and the index tell. No I/O here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel.packaging.building.pythons import serves
from pinwheel.packaging.releasing import graph
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.work import Blocked, Conflict, Failure, Job, Listed, Published, Release


@dataclass(frozen=True, slots=True)
class Row:
    """What would happen to one project: `action` is "nothing" or "release", `after` names those of the same plan that
    are released before it, `notes` are what else a person should know of it."""

    name: str
    version: str
    tag: str
    commit: str
    action: str
    why: str
    after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @property
    def told(self) -> str:
        """Why, after what, and the notes, on one line for a person."""
        after = [f"after {', '.join(self.after)}"] if self.after else []
        return "; ".join([self.why, *after, *self.notes])


@dataclass(frozen=True, slots=True)
class Plan:
    """Every project is in one of four piles: `done` has the index already, `failed` cannot be released, `untagged`
    has no version to release yet, `todo` is left, each project after those that it needs."""

    done: tuple[Release, ...]
    todo: tuple[Job, ...]
    failed: tuple[Failure, ...]
    untagged: tuple[Failure, ...] = ()

    def needs(self) -> dict[str, frozenset[str]]:
        """Which projects of `todo` each of them comes after."""
        names = {job.called for job in self.todo}
        return {job.called: (job.needs & names) - {job.called} for job in self.todo}

    def rows(self, *, normaliser: str = "") -> list[Row]:
        """The plan for a reader: what stays as it is, then what is to do, in order."""
        versions = {each.name: Version(each.version) for each in self.done}
        versions |= {job.called: job.version for job in self.todo if job.version}
        untagged = [Row(each.name, "", "", "", "nothing", each.error.problem) for each in self.untagged]
        done = [
            Row(
                *(each.name, each.version, each.tag, each.commit),
                action="nothing",
                why="already there" + (" from the same commit" if each.provenance else ""),
                notes=(*each.notes, *outdated(each.provenance, versions, normaliser)),
            )
            for each in self.done
        ]
        needs = self.needs()
        todo = [
            Row(
                *(job.called, str(job.version or ""), job.resolved.tag, job.resolved.commit),
                action="release",
                why=job.why,
                after=tuple(sorted(needs[job.called])),
                notes=job.notes,
            )
            for job in self.todo
        ]
        return [*untagged, *done, *todo]


def plan(jobs: Sequence[Job], settled: Sequence[Release | Failure], untagged: Sequence[Failure] = ()) -> Plan:
    """Order `jobs`, whose manifests are read; `settled` is what is known already of all other projects, and which of
    the jobs cannot be done.

    What stands in a cycle, or needs something that has failed, is failed too. Equal input, equal plan.
    """
    by_name = {job.called: job for job in jobs}
    needs = {name: job.needs for name, job in by_name.items()}
    order = graph.arrange(needs)
    failed = [each for each in settled if isinstance(each, Failure) and each.name not in order.blocked]
    failed += [Failure(name, Blocked(why)) for name, why in order.blocked.items()]
    fallen = {each.name for each in failed}
    lost = graph.affected(needs, fallen)
    failed += [Failure(name, unmet(by_name[name], fallen | lost)) for name in order.names if name in lost]
    return Plan(
        done=tuple(each for each in settled if isinstance(each, Release)),
        todo=tuple(by_name[name] for name in order.names if name not in fallen | lost),
        failed=tuple(failed),
        untagged=tuple(untagged),
    )


def unmet(job: Job, fallen: Set[str]) -> Blocked:
    """Why a job is not tried, some of whose needs are among `fallen`."""
    return Blocked(f"it needs {', '.join(sorted(job.needs & fallen))}, which was not released")


def judge(
    job: Job, there: Mapping[str, Listed], known: Sequence[Version] = (), *, changed: bool = False
) -> Release | Failure | Job:
    """What the index's files of the job's version (by filename) mean for it, where `known` are the project's versions.

    A `Release` when sdist and wheels, for each of its Pythons, are there from the very commit; a `Failure` when its tag
    has moved; else the job with why there is work to do. With `changed`, a wheel without any statement beside its
    version counts as there: somebody else published it, because a release of ours begins with the sdist.
    """
    stated = {name: file.provenance for name, file in there.items() if file.provenance}
    for name, about in stated.items():
        if job.resolved.tag and about.tag == job.resolved.tag and about.commit != job.resolved.commit:
            return Failure(job.called, _moved(job, name, about))
    wheels = [name for name in there if name.endswith(".whl")]
    if changed and wheels and not stated:
        return _release(job, there, "it has no statement, so its commit is not known")
    others = sorted(about.commit for about in stated.values() if about.commit != job.resolved.commit)
    missing = [python for python in job.wanted.pythons if not any(serves(wheel, python) for wheel in wheels)]
    if not there:
        why = f"new version: the index has {max(known)}" if known else "first release"
    elif others:
        why = f"changed commit: the index has it from {others[0][:12]}; it is built and compared"
    elif len(stated) < len(there):
        why = "the index has it without a statement; it is built and compared"
    elif not wheels or len(wheels) == len(there):
        why = f"the index lacks its {'sdist' if wheels else 'wheel'}"
    elif missing:
        why = f"new Python: the index lacks its wheel for {', '.join(missing)}"
    else:
        return _release(job, there)
    return replace(job, why=why)


def outdated(about: Provenance | None, versions: Mapping[str, Version], normaliser: str = "") -> tuple[str, ...]:
    """What a build would be made with today in place of what made this one, as far as it is ours.

    It is news and no work: a published version never changes, so only its next version is built with it.
    """
    if about is None:
        return ()
    used = {each.name: each.version for each in about.dependencies}
    notes = [
        f"changed dependency: built with {name} {used[name]}, now there is {versions[name]}"
        for name in sorted(used.keys() & versions.keys())
        if versions[name] > Version(used[name])
    ]
    if normaliser and about.normaliser and about.normaliser != normaliser:
        notes.append(f"built with normaliser {about.normaliser}, now there is {normaliser}")
    return tuple(notes)


def wanting(job: Job, versions: Mapping[str, Version | None]) -> tuple[Requirement, ...]:
    """What the job needs to run and `versions`, what else is released or there, does not hold; None is a version that
    only a build tells. What depends on a marker is not judged: it may be for another machine."""
    found = []
    for text in job.manifest.requires if job.manifest else ():
        try:
            required = Requirement(text)
        except InvalidRequirement:
            continue  # the backend will say so, in its own words
        name = canonicalize_name(required.name)
        if required.marker is not None or required.url is not None or name == job.name:
            continue
        if name not in versions or not fits(required, [versions[name]]):
            found.append(required)
    return tuple(found)


def fits(required: Requirement, versions: Iterable[Version | None]) -> bool:
    """Whether one of `versions` satisfies the requirement; None may do so."""
    return any(each is None or required.specifier.contains(each, prereleases=True) for each in versions)


def _release(job: Job, there: Mapping[str, Listed], *notes: str) -> Release:
    """The version that is there, as the outcome of the job."""
    ordered = sorted(there, key=lambda filename: (filename.endswith(".whl"), filename))
    return Release(
        *(job.name, str(job.version), job.resolved.commit, job.resolved.tag),
        files=tuple(Published(filename, there[filename].sha256, "already there") for filename in ordered),
        provenance=there[ordered[-1]].provenance,
        notes=(*job.notes, *notes),
    )


def _moved(job: Job, filename: str, provenance: Provenance) -> Conflict:
    return Conflict(
        f"the tag {job.resolved.tag} has moved since {filename} was published from it",
        where=f"published from commit {provenance.commit}\nthe tag names   commit {job.resolved.commit}",
        remedy="a published version never changes: raise the version, commit, tag and release that",
    )
