"""The tasks of a rollout: commands that run once for a release, before the first activation or after the last.

How a task ended is kept on its host, where it is decided whether it runs; the ledger has the story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinwheel.deploy.planning import steps
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.plan import Plan, PlannedTask
from pinwheel.deploy.rolling.pool import Fence, HostPool, Recorder


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended. `exit_code` None: it was too slow; `ran` false: it was done before; `output`: the end of it."""

    host: str
    done: bool
    ran: bool
    exit_code: int | None
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of one rollout, and who carries them out."""

    plan: Plan
    pool: HostPool
    fence: Fence
    ledger: Recorder

    def run(self, when: str, hosts: Sequence[str]) -> str:
        """Run those that are due `when`, on a host of `hosts`, which have the release; stop at the first that fails.
        Why the rollout cannot go on; empty when it can."""
        for task in self.plan.tasks:
            if task.when == when and (reason := self._run(task, hosts)):
                return reason
        return ""

    def _run(self, task: PlannedTask, hosts: Sequence[str]) -> str:
        delivery = self.plan.wish.delivery
        assert delivery is not None  # noqa: S101 (for the type checker: a rollback has no tasks)
        about = next(each for each in delivery.setups[task.host].tasks if each.name == task.name)
        bound = task.so_far or about.host  # to a host that says how it ended there, or by the configuration
        host = task.host if bound or task.host in hosts else hosts[0]
        if host not in hosts:
            return f"the task {task.name} has to run on {host}, which is not ready for it"
        about = next(each for each in delivery.setups[host].tasks if each.name == task.name)
        step = steps.RunOnce(
            host=host,
            application=self.plan.wish.application,
            release=self.plan.wish.release,
            task=task.name,
            program=about.program,
            command=about.command,
            timeout_s=about.timeout_s,
            mode=self.pool.context.task_modes.get(task.name, "run"),
        )
        self.pool.watcher.phase(f"task {task.name} on {host}")
        (ended,) = self.pool.each([step], self.fence.token, _ended)
        self._record(task, ended)
        match ended:
            case Outcome():
                remedy = f"; {ended.remedy}" if ended.remedy else ""
                return f"the task {task.name} did not come through on {host}: {ended.reason}{remedy}"
            case Ended(ran=False):
                self.pool.watcher.said(f"  {host}: the task {task.name} is done already")
                return ""
        how = "is done" if ended.done else _failure(ended, about.timeout_s)
        lines = [f"  {host}: the task {task.name} {how} in {ended.seconds:.1f} s"]
        self.pool.watcher.said("\n".join([*lines, *(f"    | {line}" for line in ended.output.splitlines())]))
        return "" if ended.done else f"the task {task.name} {how} on {host}"

    def _record(self, task: PlannedTask, ended: Ended | Outcome) -> None:
        failed = "unknown" if isinstance(ended, Outcome) else "failed"
        detail: dict[str, object] = {"task": task.name, "release": self.plan.wish.release, "seconds": ended.seconds}
        if isinstance(ended, Outcome):
            detail["reason"] = ended.reason
        self.ledger.append(
            "task",
            self.plan.wish.application,
            version=self.plan.wish.version,
            commit=self.plan.wish.commit,
            environment=self.pool.context.environment,
            rollout=self.pool.context.rollout,
            host=ended.host,
            outcome="ok" if isinstance(ended, Ended) and ended.done else failed,
            detail=detail,
        )


def _failure(ended: Ended, timeout_s: float) -> str:
    if ended.exit_code is None:
        return f"was killed: it did not end within {timeout_s:g} s,"
    return f"failed with exit code {ended.exit_code}"


def _ended(host: str, result: Mapping[str, Any]) -> Ended:
    return Ended(
        host,
        result["state"] == "done",
        bool(result["ran"]),
        result["exit"],
        str(result["output"]),
        float(result["seconds"]),
    )
