"""What a rollout leaves in the ledger: which of its doings become which event, and what stands there."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection

from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.plan import Plan
from pinwheel.deploy.planning.releases import version_of
from pinwheel.deploy.planning.report import Conclusion
from pinwheel.deploy.rolling.pool import Context, Recorder

KINDS = {
    Ending.PREPARED: "prepared",
    Ending.ACTIVATED: "activated",
    Ending.TAKEN_BACK: "activated",
    Ending.RESTARTED: "restarted",
    Ending.REVERTED: "reverted",
    Ending.REMOVED: "reverted",
    Ending.UNHEALTHY: "reverted",
    Ending.FAILED: "failed",
    Ending.UNREACHABLE: "lost",
    Ending.UNKNOWN: "lost",
    Ending.STAYED: "failed",
}
"""The event of each ending. The others left a host as it was."""


class Chronicle:
    """The events of one rollout, which many threads may tell of."""

    def __init__(self, plan: Plan, ledger: Recorder, context: Context) -> None:
        self._plan = plan
        self._planned = {each.host: each for each in plan.hosts}
        self._ledger = ledger
        self._context = context
        self._writing = threading.Lock()

    def started(self) -> None:
        wish, limit = self._plan.wish, self._context.limit
        detail = {
            "act": wish.act,
            "release": wish.release,
            "back": wish.delivery is None,
            "waves": [list(wave) for wave in self._plan.waves],
        }
        about = {"limit": limit, "hosts": [*self._context.targets]} if limit else {}
        self._append("rollout-started", wish.version, detail={**detail, **about})

    def drained(self, kind: str, host: str) -> None:
        """The host is about to be `drained`, or is back (`undrained`)."""
        self._append(kind, self._plan.wish.version, host=host)

    def ended(self, outcome: Outcome) -> None:
        """Something ended on a host; nothing is written when it was left as it was."""
        kind = KINDS.get(outcome.ending)
        if kind is None:
            return
        wish, planned = self._plan.wish, self._planned.get(outcome.host)
        version, release = wish.version, wish.release
        if planned and wish.act == "restart":  # each host has its own
            version, release = planned.prepare.version, planned.wanted
        if outcome.ending is Ending.TAKEN_BACK:
            version, release = version_of(outcome.release), outcome.release
        detail: dict[str, object] = {"release": release, "seconds": outcome.seconds}
        if outcome.reason:
            detail["reason"] = outcome.reason
        if outcome.ending is Ending.TAKEN_BACK:
            detail["taken_back"] = wish.release
        if planned and kind == "reverted":
            detail["previous"] = planned.current or ""
        self._append(kind, version, host=outcome.host, outcome="ok" if outcome.good else outcome.ending, detail=detail)

    def pruned(self, outcome: Outcome) -> None:
        """What a host removed to make room; nothing is written when it was nothing."""
        if outcome.removed:
            detail = {"removed": list(outcome.removed)}
            self._append("pruned", self._plan.wish.version, host=outcome.host, detail=detail)

    def finished(
        self, conclusion: Conclusion, reason: str, outcomes: Collection[Outcome], drained: Collection[str]
    ) -> None:
        """The rollout is over. `drained` are the hosts that are still out of service."""
        wish = self._plan.wish
        counts = dict(Counter(each.ending for each in outcomes))
        detail: dict[str, object] = {"act": wish.act, "release": wish.release, "reason": reason, "hosts": counts}
        if drained:
            detail["drained"] = sorted(drained)
        outcome = "ok" if conclusion is Conclusion.DONE else conclusion
        self._append("rollout-finished", wish.version, outcome=outcome, detail=detail)

    def _append(self, kind: str, version: str, **more: object) -> None:
        wish = self._plan.wish
        with self._writing:
            self._ledger.append(
                kind,
                wish.application,
                version=version,
                commit=wish.commit if version == wish.version else "",
                environment=self._context.environment,
                rollout=self._context.rollout,
                **more,
            )
