"""Release projects: from refs to files in the index, each as soon as what it needs is there, and only what is not yet.

A project whose version the index has from the same commit costs one question to its repository and a few to the
index: no clone, no build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pinwheel.errors import PinwheelError
from pinwheel.index.client import IndexUnreachable
from pinwheel.packaging import schedule
from pinwheel.packaging.building.commit import build
from pinwheel.packaging.publishing.publish import check_project, publish, record, uploader
from pinwheel.packaging.releasing.plan import unmet
from pinwheel.packaging.releasing.survey import judged, survey
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Blocked, Failure, Job, Release, Wanted
from pinwheel.packaging.workspace import alone, full_disk_explained, workspace


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
