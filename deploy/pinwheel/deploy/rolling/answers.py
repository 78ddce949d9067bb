"""What a runner's result means for its host: a `Nonsense` when it does not follow the protocol, else an outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pinwheel.deploy.host.space import MIB
from pinwheel.deploy.planning import facts, steps
from pinwheel.deploy.planning.making import How
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.plan import HostPlan
from pinwheel.deploy.planning.wish import Wish
from pinwheel.deploy.reaching.hosts import HostLost, NotTouched, RunnerFailed, StepRefused
from pinwheel.errors import PinwheelError

Result = Mapping[str, Any]


class Nonsense(PinwheelError):
    """The host's answer does not follow the protocol."""


@contextlib.contextmanager
def legible() -> Iterator[None]:
    """Around the reading of an answer: what it lacks, or has in another shape, raises `Nonsense`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Nonsense(
            f"its answer cannot be read ({type(error).__name__}: {error})",
            remedy="this is a fault of pinwheel; please report it",
        ) from error


def prepared(wish: Wish, host: str, result: Result) -> Outcome:
    """How `prepare` ended."""
    ending = Ending.PREPARED if result["created"] else Ending.UNCHANGED
    how = f"clone of {result['base']}" if result["how"] == How.CLONE else f"by {result['how']}"
    how += f", {result['bytes'] / MIB:.1f} MiB on disk"
    seconds, removed = float(result["seconds"]), tuple(result["removed"])
    return Outcome(host, ending, how, release=wish.release, seconds=seconds, removed=removed)


def activated(wish: Wish, before: HostPlan, result: Result, *, stopped: bool) -> Outcome:
    """How `activate` ended on the host that was planned so; `stopped` by its operator, nothing is to be remedied."""
    ending = Ending(result["outcome"])
    good = ending in (Ending.ACTIVATED, Ending.UNCHANGED)
    release = before.wanted if good else before.current
    if good and before.activate and before.activate.restart is not None:
        ending = Ending.RESTARTED
    return Outcome(
        before.host,
        ending,
        str(result["reason"]),
        "" if good or stopped else _remedy(wish, before, result),
        release="" if ending is Ending.REMOVED else release or "",
        shown="\n".join(text for text in (result["probe"], result["log_tail"]) if text),
        seconds=float(result["seconds"]),
        processes=tuple(facts.process(each) for each in result["processes"]),
    )


def went_back(wish: Wish, before: HostPlan, result: Result) -> Outcome:
    """How `activate` ended that was to take the host back to what it ran before."""
    told = activated(wish, before, result, stopped=False)
    remedy = f"look at it, then pinwheel deploy.rollback {wish.application}"
    match told.ending:
        case Ending.ACTIVATED | Ending.UNCHANGED:
            ending, release, reason, remedy = Ending.TAKEN_BACK, before.current or "", "others did not come through", ""
        case Ending.REVERTED:
            ending, release, reason = Ending.STAYED, wish.release, f"what ran before is not healthy: {told.reason}"
        case _:
            ending, release, reason = Ending.UNHEALTHY, "", f"neither the new release nor the old one: {told.reason}"
    return replace(told, ending=ending, release=release, reason=reason, remedy=remedy)


def failed(step: steps.Step, error: StepRefused | NotTouched | HostLost | Nonsense) -> Ending:
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


def _remedy(wish: Wish, before: HostPlan, result: Result) -> str:
    """What to do about a release that did not pass its gate: its log tells, or else how it is started is in doubt."""
    log = "read the log above" if result["log_tail"] else "it left no log"
    if wish.act == "restart":
        return f"{log}; put right what it lacks on the host, or pinwheel deploy.rollback {wish.application}"
    if wish.delivery is None:
        return f"{log}; put right what it lacks on the host, or name another release with --to"
    if before.current == wish.release:
        where = f"applications.{wish.application} of pinwheel.toml, or its secrets"
        return f"{log}; the release is the same, so look at {where}, and roll out again"
    if result["log_tail"]:
        return f"{log}; correct it and release a new version"
    key = f"applications.{wish.application}.programs"
    if result["program"]:
        key += f".{result['program'].removeprefix(f'{wish.application}-')}"
        key = f"{key}.command and {key}.health" if result["probe"] else f"{key}.command"
    return f"{log}; look at {key} of pinwheel.toml, and roll out again"
