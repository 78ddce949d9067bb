"""What there is to release, and in which order, as far as commits and the index tell. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

from pinwheel.packaging import graph
from pinwheel.packaging.statement import Provenance
from pinwheel.packaging.work import Blocked, Conflict, Failure, Job, Listed, Published, Release


@dataclass(frozen=True, slots=True)
class Row:
    """What would happen to one project: `action` is "nothing" (the index has it) or "release"."""

    name: str
    version: str
    tag: str
    commit: str
    action: str
    why: str

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every project is in one of three piles: `done` has the index already, `failed` cannot be released, `todo` is
    left, each project after those that it needs."""

    done: tuple[Release, ...]
    todo: tuple[Job, ...]
    failed: tuple[Failure, ...]

    def rows(self) -> list[Row]:
        """The plan for a reader: what is done, then what is to do, in order."""
        done = [
            Row(each.name, each.version, each.tag, each.commit, "nothing", "the index has it") for each in self.done
        ]
        todo = [
            Row(
                job.called, str(job.version or ""), job.resolved.tag, job.resolved.commit, "release", "not in the index"
            )
            for job in self.todo
        ]
        return [*done, *todo]


def plan(jobs: Sequence[Job], settled: Sequence[Release | Failure]) -> Plan:
    """Order `jobs`, whose manifests are read; `settled` is what is known already of all other projects.

    What stands in a cycle, or needs something that has failed, is failed too. Equal input, equal plan.
    """
    by_name = {job.called: job for job in jobs}
    needs = {name: job.needs for name, job in by_name.items()}
    order = graph.arrange(needs)
    failed = [each for each in settled if isinstance(each, Failure)]
    failed += [Failure(name, Blocked(why)) for name, why in order.blocked.items()]
    fallen = {each.name for each in failed}
    lost = graph.affected(needs, fallen)
    failed += [Failure(name, unmet(by_name[name], fallen | lost)) for name in order.names if name in lost]
    return Plan(
        done=tuple(each for each in settled if isinstance(each, Release)),
        todo=tuple(by_name[name] for name in order.names if name not in lost),
        failed=tuple(failed),
    )


def unmet(job: Job, fallen: Set[str]) -> Blocked:
    """Why a job is not tried, some of whose needs are among `fallen`."""
    return Blocked(f"it needs {', '.join(sorted(job.needs & fallen))}, which was not released")


def judge(job: Job, there: Mapping[str, Listed]) -> Release | Failure | None:
    """What the index's files of the job's version (by filename) mean for it: a `Release` when both kinds of file are
    there from the very commit, a `Failure` when its tag has moved, None when there is work to do."""
    for filename, file in there.items():
        provenance = file.provenance
        if provenance and job.resolved.tag and provenance.tag == job.resolved.tag:
            if provenance.commit != job.resolved.commit:
                return Failure(job.called, _moved(job, filename, provenance))
        elif provenance is None or provenance.commit != job.resolved.commit:
            return None
    if {filename.endswith(".whl") for filename in there} != {True, False}:
        return None
    ordered = sorted(there, key=lambda filename: (filename.endswith(".whl"), filename))
    files = tuple(Published(filename, there[filename].sha256, "already there") for filename in ordered)
    return Release(job.name, str(job.version), job.resolved.commit, job.resolved.tag, files)


def _moved(job: Job, filename: str, provenance: Provenance) -> Conflict:
    return Conflict(
        f"the tag {job.resolved.tag} has moved since {filename} was published from it",
        where=f"published from commit {provenance.commit}\nthe tag names   commit {job.resolved.commit}",
        remedy="a published version never changes: raise the version, commit, tag and release that",
    )
