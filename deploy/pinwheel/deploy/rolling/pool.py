"""Hosts asked at once: a bounded number of threads, one step for each host, answers as they come.

Where it happens and on whose behalf is in `Context`, by which right in `Fence`; `Watcher` looks on, and `Recorder`
writes down what has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning import facts, steps
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.secret_set import SecretSet
from pinwheel.deploy.reaching.hosts import Files, HostLost, Hosts, NotTouched, StepRefused, no_files
from pinwheel.deploy.rolling import answers
from pinwheel.deploy.rolling.stop import Stop

R = TypeVar("R")

Around = Callable[[str, Callable[[], R | Outcome]], R | Outcome]


class Watcher(Protocol):
    """Somebody who looks on. Called from one thread, except `heard`. `said` is for what stops nothing."""

    def phase(self, text: str) -> None: ...
    def ended(self, outcome: Outcome) -> None: ...
    def heard(self, host: str, text: str) -> None: ...
    def said(self, text: str) -> None: ...


class Recorder(Protocol):
    """Where acts are written down. `pinwheel.ledger.Ledger` is the real one.

    It raises nothing because of where it writes: the act that it is told of is done.
    """

    def append(self, kind: str, subject: str, **about: object) -> object: ...


class Fence(Protocol):
    """The right to change the environment."""

    @property
    def token(self) -> int: ...

    def valid(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Context:
    """Where a rollout happens, and on behalf of whom. `index_url` carries the hosts' credential, `secrets` the values
    for the programs of each application; `files` are for hosts that do not reach the index. At most `at_once` hosts are
    asked at once. `limit` is empty when it is about every host of the environment, else the flags that say about which.
    `task_modes` says of tasks what the operator says: again or done."""

    environment: str
    rollout: str
    targets: Mapping[str, Target]
    at_once: int = 32
    index_url: str = field(default="", repr=False)
    by: str = ""
    limit: str = ""
    launcher: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, SecretSet] = field(default_factory=dict, repr=False)
    task_modes: Mapping[str, str] = field(default_factory=dict)
    files: Files = no_files


@dataclass(frozen=True, slots=True)
class HostPool:
    """Asks hosts in a bounded pool of threads. `stop` makes it ask nobody any more."""

    hosts: Hosts
    context: Context
    watcher: Watcher
    stop: Stop

    def each(
        self,
        wanted: Sequence[steps.Step],
        fence: int | None,
        read: Callable[[str, Any], R],
        around: Around[R] | None = None,
    ) -> Iterator[R | Outcome]:
        """Ask the host of each step and yield the answers as they come: `read` of it, or how it went wrong. `around`
        does it in the host's thread, with what belongs before and after; it is not called for who is not asked."""
        if not wanted:
            return

        def ask(step: steps.Step) -> R | Outcome:
            if self.stop.is_set():
                return Outcome(step.host, Ending.SKIPPED, "interrupted before its turn")
            return around(step.host, lambda: self._ask(step, fence, read)) if around else self._ask(step, fence, read)

        with ThreadPoolExecutor(max(1, min(self.context.at_once, len(wanted)))) as threads:
            asked: list[Future[R | Outcome]] = [threads.submit(ask, step) for step in wanted]
            for future in as_completed(asked):
                yield future.result()

    def _ask(self, step: steps.Step, fence: int | None, read: Callable[[str, Any], R]) -> R | Outcome:
        context = self.context
        request = steps.request(
            step,
            context.targets[step.host],
            environment=context.environment,
            rollout=context.rollout,
            fence=fence,
            index_url=context.index_url,
            by=context.by,
            launcher=context.launcher,
            secrets={name: each.document() for name, each in context.secrets.items()},
        )
        try:
            answer = self.hosts.ask(
                step.host, request, lambda text: self.watcher.heard(step.host, text), files=context.files
            )
            with answers.legible():
                return read(step.host, answer)
        except (StepRefused, NotTouched, HostLost, answers.Nonsense) as error:
            code = error.code if isinstance(error, StepRefused) else ""
            shown = error.where or context.targets[step.host].where
            return Outcome(step.host, answers.failed(step, error), error.problem, error.remedy, shown=shown, code=code)


def gather(pool: HostPool, targets: Sequence[Target]) -> dict[str, HostFacts | Outcome]:
    """The facts of every host, in the fleet's order; for a host that told none, why."""
    told: dict[str, HostFacts | Outcome] = {}
    for answer in pool.each([steps.Look(each.name) for each in targets], None, facts.parse):
        told[answer.host] = answer
    return {each.name: told[each.name] for each in targets}
