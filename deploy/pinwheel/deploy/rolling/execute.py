"""Run steps on hosts: all at once where order does not matter, in waves where it does; record each ending first.

It decides nothing but "halt?", and that by asking `gate`. What to do is in the plan, how to reach a host in `Hosts`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pinwheel.deploy.planning import steps
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.gate import Halt, verdict
from pinwheel.deploy.planning.outcome import Ending, Outcome, named, so_many
from pinwheel.deploy.planning.plan import HostPlan, Plan
from pinwheel.deploy.planning.report import EXIT_CODES, Conclusion, Report
from pinwheel.deploy.planning.waves import Growing, Service, waves, without
from pinwheel.deploy.rolling import answers
from pinwheel.deploy.rolling.chronicle import Chronicle
from pinwheel.deploy.rolling.drains import DOUBTFUL, Drains, Traffic
from pinwheel.deploy.rolling.pool import Fence, HostPool, Recorder, gather


class Once(Protocol):
    """What happens once for a release, around its activation. `rolling.tasks` is the real one."""

    def run(self, when: str, hosts: Sequence[str]) -> str:
        """Do what is due `when` (before, after) on one of `hosts`. Why the rollout cannot go on; empty when it can."""


def rollout(
    plan: Plan,
    pool: HostPool,
    fence: Fence,
    ledger: Recorder,
    *,
    traffic: Traffic | None = None,
    drained: Collection[str] = frozenset(),
    once: Once | None = None,
) -> Report:
    """Prepare everywhere, then activate in waves; stop when the gate, the lease or the operator says so, and do then
    what the policy says about those that came through. Whoever is healthy is in service at the end; so are those that
    were `drained` before."""
    run = _Run(plan, pool, fence, ledger, traffic, drained, once)
    try:
        ended = run.go()
    finally:
        run.put_back()
    return run.conclude(ended)


def unchanged(host: HostPlan) -> Outcome:
    """The ending of a host with which nothing had to be done."""
    return Outcome(host.host, Ending.UNCHANGED, host.why, release=host.wanted)


@dataclass(frozen=True, slots=True)
class _Stopped:
    """Where a rollout ended, and why."""

    conclusion: Conclusion
    reason: str


class _Run:
    """One rollout. `_outcomes` holds the last ending of each host that has one."""

    def __init__(
        self,
        plan: Plan,
        pool: HostPool,
        fence: Fence,
        ledger: Recorder,
        traffic: Traffic | None,
        drained: Collection[str],
        once: Once | None,
    ) -> None:
        self._plan = plan
        self._by_name = {each.host: each for each in plan.hosts}
        self._pool, self._context, self._watcher, self._stop = pool, pool.context, pool.watcher, pool.stop
        self._fence = fence
        self._chronicle = Chronicle(plan, ledger, pool.context)
        self._drains = Drains(traffic, self._drain, drained)
        self._once = once
        self._outcomes: dict[str, Outcome] = {}

    def go(self) -> _Stopped:
        """The whole way."""
        plan = self._plan
        self._chronicle.started()
        for blocked in plan.blocked:
            self._end(self._drains.ended(blocked, plan.service.serves(blocked.host)))
        for host in plan.hosts:
            if not host.builds and not host.activate:
                self._end(self._drains.ended(unchanged(host), serves=True))
        if stopped := self._judged():
            return stopped
        if plan.changes:
            self._prepare()
        if stopped := self._judged():
            return stopped
        if stopped := self._due(
            "before", [each.host for each in plan.hosts if each.activate and each.host not in self._outcomes]
        ):
            return stopped
        if stopped := self._activate():
            return stopped
        if bad := [each.host for each in self._outcomes.values() if not each.good]:
            return _Stopped(Conclusion.FAILED, f"{named(bad)} did not come through, within the failure budget")
        if stopped := self._due("after", [each.host for each in plan.hosts]):
            return stopped
        return _Stopped(Conclusion.DONE, "")

    def _due(self, when: str, hosts: Sequence[str]) -> _Stopped | None:
        """Do once what is due now on one of `hosts`; why nothing more may start after that."""
        if self._once is None or not hosts:
            return None
        reason = self._once.run(when, hosts)
        return self._barred(_Stopped(Conclusion.HALTED, reason) if reason else None)

    def put_back(self) -> None:
        """Put hosts back into service of which nobody knew how they ended, when they are healthy now."""
        fenced = any(each.code == "fenced" for each in self._outcomes.values())
        doubtful = [
            name
            for name in sorted(self._drains.held)
            if name not in self._outcomes or self._outcomes[name].ending in DOUBTFUL
        ]
        if not doubtful or fenced or self._stop.is_set():  # a stopped pool asks nobody
            return
        self._watcher.phase(f"look at {named(doubtful)} again")
        told = gather(self._pool, [self._context.targets[name] for name in doubtful])
        for name, known in told.items():
            self._drains.seen(name, known.serves(self._plan.wish.application) if isinstance(known, HostFacts) else None)

    def conclude(self, ended: _Stopped) -> Report:
        """Name an ending for every host and write the end down."""
        for host in self._plan.hosts:
            if host.host not in self._outcomes:
                skipped = Outcome(host.host, Ending.SKIPPED, "the rollout stopped before its turn")
                self._outcomes[host.host] = replace(skipped, release=host.current or "")
        for name, outcome in self._outcomes.items():
            self._outcomes[name] = replace(outcome, drained=self._drains.held.get(name, ""))
        outcomes = tuple(self._outcomes[name] for name in self._context.targets if name in self._outcomes)
        self._chronicle.finished(ended.conclusion, ended.reason, outcomes, self._drains.held)
        interrupted = ended.conclusion is Conclusion.INTERRUPTED
        code = self._stop.exit_code if interrupted else EXIT_CODES.get(ended.conclusion, 1)
        return Report(self._context.rollout, ended.conclusion, ended.reason, outcomes, code)

    def _prepare(self) -> None:
        """On every host: also one that has the release learns our token, so that it refuses whoever was here before."""
        hosts = self._plan.hosts
        builds = sum(each.builds for each in hosts)
        self._watcher.phase(f"prepare {so_many(builds)}" if builds else f"take hold of {so_many(len(hosts))}")
        activated_later = {each.host for each in hosts if each.activate}

        def read(host: str, result: answers.Result) -> Outcome:
            return answers.prepared(self._plan.wish, host, result)

        for outcome in self._pool.each([each.prepare for each in hosts], self._fence.token, read):
            self._chronicle.pruned(outcome)
            if not outcome.good:
                self._end(outcome)
            elif outcome.ending is Ending.PREPARED:
                self._chronicle.ended(outcome)
                self._watcher.ended(outcome)
                if outcome.host not in activated_later:
                    self._outcomes[outcome.host] = outcome

    def _activate(self) -> _Stopped | None:
        """In waves, until all are through or something says stop; then the policy decides about those that are."""
        wanted = {
            each.host: each.activate for each in self._plan.hosts if each.activate and each.host not in self._outcomes
        }
        through: list[tuple[str, ...]] = []

        def stopped(batch: tuple[str, ...]) -> _Stopped | None:
            through.append(batch)
            return self._judged(through[0] if self._plan.policy.canary else ())

        def read(host: str, result: answers.Result) -> Outcome:
            return answers.activated(self._plan.wish, self._by_name[host], result, stopped=self._stop.is_set())

        halted = self._in_waves("activate", wanted, read, stopped)
        if halted is None or halted.conclusion is not Conclusion.HALTED or not through:
            return halted
        # who was rolled back stays: what ran before is what somebody wanted to be rid of
        policy = self._plan.policy.policy if self._plan.wish.delivery else "halt"
        reached = {"halt": [], "revert-batch": through[-1:], "revert-all": through}[policy]
        return self._take_back([host for batch in reversed(reached) for host in batch]) or halted

    def _take_back(self, hosts: Sequence[str]) -> _Stopped | None:
        """Bring back what ran before on those of `hosts` that came through, under the same law, each of them gated.
        A host that is worse off ends it; so does what ends everything, which is told."""
        came_through = [host for host in hosts if self._outcomes[host].ending is Ending.ACTIVATED]
        back = {host: step for host in came_through if (step := self._by_name[host].back)}
        for host in without(came_through, back):
            self._outcomes[host] = replace(self._outcomes[host], reason="there is nothing to go back to")

        def stopped(_batch: tuple[str, ...]) -> _Stopped | None:
            if worse := [name for name in back if self._outcomes[name].ending is Ending.UNHEALTHY]:
                return _Stopped(Conclusion.HALTED, f"{named(worse)} did not become healthy on the way back")
            return self._barred()

        def read(host: str, result: answers.Result) -> Outcome:
            return answers.went_back(self._plan.wish, self._by_name[host], result)

        ended = self._in_waves("take back", back, read, stopped)
        for host in back:
            if self._outcomes[host].ending is Ending.ACTIVATED:
                reason = ended.reason if ended else "it was not asked"
                self._end(replace(self._outcomes[host], ending=Ending.STAYED, reason=f"it did not go back: {reason}"))
        return ended if ended and ended.conclusion is not Conclusion.HALTED else None

    def _in_waves(
        self,
        verb: str,
        wanted: Mapping[str, steps.Activate],
        read: Callable[[str, answers.Result], Outcome],
        stopped: Callable[[tuple[str, ...]], _Stopped | None],
    ) -> _Stopped | None:
        """Take one batch after the other until all had their turn; why it ended before, asked after each batch."""
        policy, waiting = self._plan.policy, list(wanted)
        growing, number = Growing(self._service.size, policy), 0
        expected = len(waves(waiting, policy, self._service))
        while waiting:
            batch = self._service.next_wave(waiting, growing.size, policy)
            if not batch:
                return _Stopped(Conclusion.HALTED, self._service.full(policy))
            number += 1
            self._watcher.phase(f"{verb} {named(batch)} (batch {number} of {max(number, expected)})")
            before = self._service

            def turn(host: str, ask: Callable[[], Outcome], before: Service = before) -> Outcome:
                return self._drains.turn(host, before.serves(host), ask)

            for outcome in self._pool.each([wanted[host] for host in batch], self._fence.token, read, turn):
                self._end(outcome if verb == "activate" else self._on_the_way_back(outcome))
            if found := stopped(batch):
                return found
            waiting = without(waiting, batch)
            growing.grow()
        return None

    def _on_the_way_back(self, outcome: Outcome) -> Outcome:
        """An error on the way back, put right: the host runs the new release and runs on with it."""
        release = self._plan.wish.release
        if outcome.ending in (Ending.FAILED, Ending.SKIPPED):
            return replace(
                outcome, ending=Ending.STAYED, release=release, reason=f"it did not go back: {outcome.reason}"
            )
        if outcome.ending is Ending.UNREACHABLE:
            return replace(outcome, release=release, reason=f"it did not go back: {outcome.reason}")
        return outcome

    @property
    def _service(self) -> Service:
        """Who is in service now, as far as is known."""
        service = self._plan.service.after(self._outcomes.values())
        return replace(service, out=service.out | (self._drains.held.keys() - service.idle))

    def _drain(self, kind: str, host: str) -> None:
        """The host is about to be drained, or is back. Called from the hosts' threads."""
        self._chronicle.drained(kind, host)
        if kind == "drained":
            self._watcher.heard(host, "drain")

    def _end(self, outcome: Outcome) -> None:
        """This is how the host ended: written down first, then shown."""
        self._outcomes[outcome.host] = outcome
        self._chronicle.ended(outcome)
        self._watcher.ended(outcome)

    def _judged(self, canary: Sequence[str] = ()) -> _Stopped | None:
        """Why nothing more may start; None when it may."""
        judged = verdict(tuple(self._outcomes.values()), self._plan.policy.failure_budget, canary)
        halted = _Stopped(Conclusion.HALTED, judged.reason) if isinstance(judged, Halt) else None
        return self._barred(halted)

    def _barred(self, halted: _Stopped | None = None) -> _Stopped | None:
        """Why nothing at all may start any more, neither forward nor back; else `halted`, but for a lost lease."""
        if any(each.code == "fenced" for each in self._outcomes.values()):
            return _Stopped(Conclusion.FENCED, "a host has seen a newer rollout than this one")
        if self._stop.is_set():
            return _Stopped(Conclusion.INTERRUPTED, "interrupted; hosts that were under way went back")
        if halted is None and not self._fence.valid():
            return _Stopped(Conclusion.FENCED, "the lease on the environment was lost")
        return halted
