"""Run steps on hosts: all at once where order does not matter, in waves where it does; record each ending first.

It decides nothing but "halt?", and that by asking `gate`. What to do is in the plan, how to reach a host in `Hosts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning import facts, steps
from pinwheel.deploy.planning.facts import HostFacts, Nonsense
from pinwheel.deploy.planning.gate import Ending, Halt, Outcome, verdict
from pinwheel.deploy.planning.plan import MIB, HostPlan, Plan
from pinwheel.deploy.planning.wish import Wish
from pinwheel.deploy.reaching.hosts import HostLost, Hosts, NotTouched, RunnerFailed, StepRefused

R = TypeVar("R")


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


class Watcher(Protocol):
    """Somebody who looks on. Called from one thread, except `heard`. `said` is for what stops nothing."""

    def phase(self, text: str) -> None: ...
    def ended(self, outcome: Outcome) -> None: ...
    def heard(self, host: str, text: str) -> None: ...
    def said(self, text: str) -> None: ...


class Conclusion(StrEnum):
    """How a rollout ended."""

    DONE = "done"  # every host is as wished
    FAILED = "failed"  # it went through, but within the budget some hosts did not
    HALTED = "halted"  # it was stopped by its gate
    FENCED = "fenced"  # it was stopped because somebody else may hold the environment
    INTERRUPTED = "interrupted"  # it was stopped by its operator


EXIT_CODES = {Conclusion.DONE: 0, Conclusion.FENCED: 3}


class Stop:
    """The operator's word to start nothing more. `number` is the signal that brought it, 0 before."""

    def __init__(self) -> None:
        self.number = 0

    def set(self, number: int) -> None:
        self.number = number

    def is_set(self) -> bool:
        return bool(self.number)

    @property
    def exit_code(self) -> int:
        """What a process exits with that ends because of a signal, by the shell's convention."""
        return 128 + self.number


@dataclass(frozen=True, slots=True)
class Report:
    """How a rollout ended. `outcomes` holds every host of the fleet once; `reason` is empty when it is done."""

    rollout: str
    conclusion: Conclusion
    reason: str
    outcomes: tuple[Outcome, ...]
    exit_code: int


@dataclass(frozen=True, slots=True)
class Context:
    """Where a rollout happens. `index_url` carries the hosts' credential. At most `at_once` hosts are asked at once."""

    environment: str
    rollout: str
    targets: Mapping[str, Target]
    at_once: int = 32
    index_url: str = field(default="", repr=False)


class HostPool:
    """Asks hosts in a bounded pool of threads. `stop` makes it ask nobody any more."""

    def __init__(self, hosts: Hosts, context: Context, watcher: Watcher, stop: Stop) -> None:
        self._hosts = hosts
        self._context = context
        self._watcher = watcher
        self._stop = stop

    def each(
        self, wanted: Sequence[steps.Step], fence: int | None, read: Callable[[str, Any], R]
    ) -> Iterator[R | Outcome]:
        """Ask the host of each step and yield the answers as they come: `read` of it, or how it went wrong."""
        if not wanted:
            return
        with ThreadPoolExecutor(max(1, min(self._context.at_once, len(wanted)))) as threads:
            asked: list[Future[R | Outcome]] = [threads.submit(self._ask, step, fence, read) for step in wanted]
            for future in as_completed(asked):
                yield future.result()

    def _ask(self, step: steps.Step, fence: int | None, read: Callable[[str, Any], R]) -> R | Outcome:
        if self._stop.is_set():
            return Outcome(step.host, Ending.SKIPPED, "interrupted before its turn")
        context = self._context
        request = steps.request(
            step,
            context.targets[step.host],
            environment=context.environment,
            rollout=context.rollout,
            fence=fence,
            index_url=context.index_url,
        )
        try:
            answer = self._hosts.ask(step.host, request, lambda text: self._watcher.heard(step.host, text))
            return read(step.host, answer)
        except (StepRefused, NotTouched, HostLost, Nonsense) as error:
            code = error.code if isinstance(error, StepRefused) else ""
            shown = error.where or context.targets[step.host].where
            return Outcome(step.host, _failed(step, error), error.problem, error.remedy, shown=shown, code=code)


def gather(pool: HostPool, targets: Sequence[Target]) -> dict[str, HostFacts | Outcome]:
    """The facts of every host, in the fleet's order; for a host that told none, why."""
    told: dict[str, HostFacts | Outcome] = {}
    for answer in pool.each([steps.Look(each.name) for each in targets], None, facts.parse):
        told[answer.host] = answer
    return {each.name: told[each.name] for each in targets}


def bootstrap(
    pool: HostPool,
    wanted: Sequence[steps.Bootstrap],
    fence: Fence,
    ledger: Recorder,
    watcher: Watcher,
    context: Context,
) -> dict[str, tuple[str, ...] | Outcome]:
    """Make hosts ready. By host: what was changed, () when it was ready before; or how it went wrong."""
    done: dict[str, tuple[str, ...] | Outcome] = {}
    for answer in pool.each(wanted, fence.token, _changes):
        if isinstance(answer, Outcome):
            done[answer.host] = answer
            watcher.ended(answer)
            continue
        host, done[host] = answer
        watcher.ended(Outcome(host, Ending.READY, "; ".join(answer[1]) or "nothing to do"))
        if answer[1]:
            ledger.append(
                "bootstrapped",
                "",
                environment=context.environment,
                host=host,
                rollout=context.rollout,
                detail={"changes": list(answer[1])},
            )
    return {each.host: done[each.host] for each in wanted}


def rollout(
    plan: Plan, pool: HostPool, fence: Fence, ledger: Recorder, watcher: Watcher, context: Context, stop: Stop
) -> Report:
    """Prepare everywhere, then activate in waves; stop when the gate, the lease or the operator says so."""
    run = _Run(plan, pool, fence, ledger, watcher, context, stop)
    return run.conclude(run.go())


def unchanged(host: HostPlan) -> Outcome:
    """The ending of a host with which nothing had to be done."""
    return Outcome(host.host, Ending.UNCHANGED, host.why, release=host.wanted)


class _Run:
    """One rollout. `_outcomes` holds the last ending of each host that has one."""

    def __init__(
        self,
        plan: Plan,
        pool: HostPool,
        fence: Fence,
        ledger: Recorder,
        watcher: Watcher,
        context: Context,
        stop: Stop,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._fence = fence
        self._ledger = ledger
        self._watcher = watcher
        self._context = context
        self._stop = stop
        self._outcomes: dict[str, Outcome] = {}

    def go(self) -> tuple[Conclusion, str]:
        """The whole way; where it ended and why."""
        plan, budget = self._plan, self._plan.policy.failure_budget
        waiting = [each.host for each in plan.hosts if each.activate]
        self._record("rollout-started", detail={"release": plan.wish.release, "waves": [list(w) for w in plan.waves]})
        for blocked in plan.blocked:
            self._end(blocked)
        for host in plan.hosts:
            if not host.builds and not host.activate:
                self._end(unchanged(host))
        if stopped := self._stopped(verdict(tuple(self._outcomes.values()), budget)):
            return stopped
        if plan.changes:
            self._prepare()
        if stopped := self._stopped(verdict(tuple(self._outcomes.values()), budget)):
            return stopped
        batches = plan.waves_of([host for host in waiting if host not in self._outcomes])
        for number, batch in enumerate(batches, 1):
            self._watcher.phase(f"activate {', '.join(batch)} (batch {number} of {len(batches)})")
            self._activate(batch)
            canary = batches[0] if plan.policy.canary else ()
            if stopped := self._stopped(verdict(tuple(self._outcomes.values()), budget, canary)):
                return stopped
        if bad := [each.host for each in self._outcomes.values() if not each.good]:
            return Conclusion.FAILED, f"{', '.join(bad)} did not come through, within the failure budget"
        return Conclusion.DONE, ""

    def conclude(self, ended: tuple[Conclusion, str]) -> Report:
        """Name an ending for every host and write the end down."""
        conclusion, reason = ended
        for host in self._plan.hosts:
            if host.host not in self._outcomes:
                skipped = Outcome(host.host, Ending.SKIPPED, "the rollout stopped before its turn")
                self._outcomes[host.host] = replace(skipped, release=host.current or "")
        counts: dict[str, int] = {}
        for outcome in self._outcomes.values():
            counts[outcome.ending] = counts.get(outcome.ending, 0) + 1
        self._record(
            "rollout-finished",
            outcome="ok" if conclusion is Conclusion.DONE else conclusion,
            detail={"release": self._plan.wish.release, "reason": reason, "hosts": counts},
        )
        order = [name for name in self._context.targets if name in self._outcomes]
        interrupted = conclusion is Conclusion.INTERRUPTED
        code = self._stop.exit_code if interrupted else EXIT_CODES.get(conclusion, 1)
        return Report(self._context.rollout, conclusion, reason, tuple(self._outcomes[name] for name in order), code)

    def _prepare(self) -> None:
        """On every host: also one that has the release learns our token, so that it refuses whoever was here before."""
        hosts = self._plan.hosts
        builds = sum(each.builds for each in hosts)
        self._watcher.phase(f"prepare {_hosts(builds)}" if builds else f"take hold of {_hosts(len(hosts))}")
        activated_later = {each.host for each in hosts if each.activate}
        for outcome in self._pool.each([each.prepare for each in hosts], self._fence.token, self._prepared):
            if not outcome.good:
                self._end(outcome)
            elif outcome.ending is Ending.PREPARED:
                self._record("prepared", outcome)
                self._watcher.ended(outcome)
                if outcome.host not in activated_later:
                    self._outcomes[outcome.host] = outcome

    def _activate(self, batch: Sequence[str]) -> None:
        wanted = [each.activate for each in self._plan.hosts if each.activate and each.host in batch]
        for outcome in self._pool.each(wanted, self._fence.token, self._activated):
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        """This is how the host ended: written down first, then shown."""
        self._outcomes[outcome.host] = outcome
        match outcome.ending:
            case Ending.ACTIVATED:
                self._record("activated", outcome)
            case Ending.REVERTED | Ending.REMOVED | Ending.UNHEALTHY:
                self._record("reverted", outcome)
            case Ending.FAILED | Ending.UNREACHABLE | Ending.UNKNOWN:
                self._record("failed", outcome)
        self._watcher.ended(outcome)

    def _stopped(self, judged: object) -> tuple[Conclusion, str] | None:
        """Why nothing more may start; None when it may."""
        if any(each.code == "fenced" for each in self._outcomes.values()):
            return Conclusion.FENCED, "a host has seen a newer rollout than this one"
        if self._stop.is_set():
            return Conclusion.INTERRUPTED, "interrupted; hosts that were under way went back"
        if isinstance(judged, Halt):
            return Conclusion.HALTED, judged.reason
        if not self._fence.valid():
            return Conclusion.FENCED, "the lease on the environment was lost"
        return None

    def _record(self, kind: str, about: Outcome | None = None, **more: object) -> None:
        wish = self._plan.wish
        if about is not None:
            detail: dict[str, object] = {"release": wish.release, "seconds": about.seconds}
            if about.reason:
                detail["reason"] = about.reason
            more = {"host": about.host, "outcome": "ok" if about.good else about.ending, "detail": detail}
        self._ledger.append(
            kind,
            wish.application,
            version=wish.version,
            commit=wish.commit,
            environment=self._context.environment,
            rollout=self._context.rollout,
            **more,
        )

    def _prepared(self, host: str, result: Mapping[str, Any]) -> Outcome:
        try:
            ending = Ending.PREPARED if result["created"] else Ending.UNCHANGED
            how = f"by {result['how']}, {result['bytes'] / MIB:.1f} MiB"
            return Outcome(host, ending, how, release=self._plan.wish.release, seconds=float(result["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense(host, error) from error

    def _activated(self, host: str, result: Mapping[str, Any]) -> Outcome:
        try:
            ending = Ending(result["outcome"])
            current = next(each.current for each in self._plan.hosts if each.host == host)
            good = ending in (Ending.ACTIVATED, Ending.UNCHANGED)
            release = self._plan.wish.release if good else current
            return Outcome(
                host,
                ending,
                str(result["reason"]),
                "" if good or self._stop.is_set() else _remedy(self._plan.wish, result),
                release="" if ending is Ending.REMOVED else release or "",
                shown="\n".join(text for text in (result["probe"], result["log_tail"]) if text),
                seconds=float(result["seconds"]),
                processes=tuple(facts.process(each) for each in result["processes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense(host, error) from error


def _hosts(number: int) -> str:
    return "1 host" if number == 1 else f"{number} hosts"


def _failed(step: steps.Step, error: StepRefused | NotTouched | HostLost | Nonsense) -> Ending:
    """What an error means for the host: nearly always that nothing has changed there."""
    activating = isinstance(step, steps.Activate)  # nothing else touches what runs
    match error:
        case StepRefused(code="aborted"):
            return Ending.SKIPPED
        case StepRefused(code="in-doubt") if activating:
            return Ending.UNHEALTHY
        case StepRefused(code="unexpected") if activating:
            return Ending.UNKNOWN
        case StepRefused() | RunnerFailed():
            return Ending.FAILED
        case NotTouched():
            return Ending.UNREACHABLE
    return Ending.UNKNOWN if activating else Ending.UNREACHABLE


def _remedy(wish: Wish, result: Mapping[str, Any]) -> str:
    """What to do about a release that did not pass its gate: its log tells, or else how it is started is in doubt."""
    log = "read the log above" if result["log_tail"] else "it left no log"
    if wish.delivery is None:
        return f"{log}; put right what it lacks on the host, or name another release with --to"
    if result["log_tail"]:
        return f"{log}; correct it and release a new version"
    key = f"applications.{wish.application}.programs"
    if result["program"]:
        key += f".{result['program'].removeprefix(f'{wish.application}-')}"
        key = f"{key}.command and {key}.health" if result["probe"] else f"{key}.command"
    return f"{log}; look at {key} of pinwheel.toml, and roll out again"


def _changes(host: str, result: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    try:
        return host, tuple(str(each) for each in result["changes"])
    except (KeyError, TypeError) as error:
        raise _nonsense(host, error) from error


def _nonsense(host: str, error: Exception) -> Nonsense:
    return Nonsense(
        f"its answer cannot be read ({type(error).__name__}: {error})",
        remedy="see what it did with pinwheel deploy.status, and report this as a fault of pinwheel",
    )
