"""What a fleet should run by now, from its ledger and its hosts. Pure.

The ledger tells what was wished last; whether that is still a good idea, the hosts tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinwheel.deploy.planning.facts import HostFacts, Installed, Release
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.wish import Setup, Wish
from pinwheel.errors import PinwheelError

Events = Sequence[Mapping[str, Any]]


class NothingToResume(PinwheelError):
    """Nobody knows what should run."""


class NotAgain(PinwheelError):
    """What should run failed its gate, and some hosts run it: what to do about that is a decision."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an application should be at, and who says so: a rollout that ended as `outcome` (empty: it never said), or
    nobody but the hosts. `back`: it was a rollback, for which hosts need no more than they have kept."""

    application: str
    version: str
    release: str
    back: bool = False
    rollout: str = ""
    outcome: str = ""

    @property
    def told(self) -> str:
        """The same for a person."""
        if not self.rollout:
            return f"{self.release}: the ledger knows no rollout, and this was activated last"
        ended = (
            f"ended as {'done' if self.outcome == 'ok' else self.outcome}"
            if self.outcome
            else "never said how it ended"
        )
        return f"{self.release}: the wish of {'rollback' if self.back else 'rollout'} {self.rollout}, which {ended}"


def applications(events: Events) -> tuple[str, ...]:
    """Every application that was ever rolled out, in the order of the first time."""
    return tuple(dict.fromkeys(each["subject"] for each in events if _wishes(each)))


def intent(application: str, events: Events, facts: Iterable[HostFacts | Outcome], *, force: bool) -> Intent:
    """What `application` should be at: the wish of the newest rollout, or, of one that failed its gate and of which
    nothing is left, of the one before. `force` takes the newest one whatever became of it.

    Raises `NothingToResume`, `NotAgain`.
    """
    installed = [each.installed(application) for each in facts if isinstance(each, HostFacts)]
    known = _intents(application, events)
    for each in known:
        if force or not _rejected(each, events, installed):
            return each
        running = [host for host in installed if host.current == each.release]
        if running:
            hosts = "1 host runs" if len(running) == 1 else f"{len(running)} hosts run"
            raise NotAgain(
                f"{each.release} failed its gate, and {hosts} it; it is not rolled out any further",
                where=application,
                remedy=f"pinwheel deploy.rollback {application} brings them back, deploy.rollout a new version;"
                " --force goes on with this one",
            )
    if known:
        raise NothingToResume(
            f"every release of {application} that was rolled out failed its gate",
            where=application,
            remedy="roll out another version: pinwheel deploy.rollout",
        )
    currents = [found for each in installed if (found := each.release(each.current))]
    if not currents:
        raise NothingToResume(
            f"{application} was never rolled out here, and no host that answers runs it",
            where=application,
            remedy=f"pinwheel deploy.rollout {application}==VERSION",
        )
    newest = max(currents, key=lambda found: found.activated_at)
    return Intent(application, newest.version, newest.release)


def drained(application: str, events: Events) -> frozenset[str]:
    """The hosts that were taken out of service for `application` and never put back."""
    last = {
        each["host"]: each["kind"]
        for each in events
        if each["subject"] == application and each["kind"] in ("drained", "undrained")
    }
    return frozenset(host for host, kind in last.items() if kind == "drained")


def apart(application: str, events: Events) -> frozenset[str]:
    """The hosts whose last rollout was one of some hosts only (`--host`, `--group`): its operator wished for them what
    the others were not to have."""
    found: set[str] = set()
    for each in events:
        if each["subject"] == application and _started(each):
            detail = each["detail"]
            found = found | {*detail.get("hosts", ())} if detail.get("limit") else set()
    return frozenset(found)


def left_alone(wish: Wish, facts: Mapping[str, HostFacts | Outcome]) -> Wish:
    """The same wish, with the conf that it has for every host which runs the release well: a resume restarts nobody
    who is where he should be, whatever `pinwheel.toml` says by now."""
    if wish.delivery is None:
        return wish
    setups = dict(wish.delivery.setups)
    for name, each in facts.items():
        here = each.installed(wish.application) if isinstance(each, HostFacts) else Installed()
        if here.current == wish.release and here.healthy and not here.drift and here.conf is not None:
            setups[name] = Setup(here.conf, setups[name].programs)
    return dataclasses.replace(wish, delivery=dataclasses.replace(wish.delivery, setups=setups))


def without_the_bad(wish: Wish, facts: Mapping[str, HostFacts | Outcome]) -> dict[str, HostFacts | Outcome]:
    """The same facts, but hosts on which the release failed its gate are not asked again."""
    return {name: _bad(name, wish, each) or each for name, each in facts.items()}


def _bad(name: str, wish: Wish, known: HostFacts | Outcome) -> Outcome | None:
    if isinstance(known, Outcome):
        return None
    here = known.installed(wish.application)
    if here.current == wish.release or not _failed(here.release(wish.release)):
        return None
    return Outcome(
        name,
        Ending.FAILED,
        f"{wish.release} failed its gate here before",
        "correct what it lacks there, then pinwheel deploy.resume with --force",
        here.current or "",
    )


def _intents(application: str, events: Events) -> list[Intent]:
    """What was wished, the newest first."""
    mine = [each for each in events if each["subject"] == application]
    ended = {each["rollout"]: each["outcome"] for each in mine if each["kind"] == "rollout-finished"}
    return [
        Intent(
            application,
            each["version"],
            each["detail"]["release"],
            bool(each["detail"].get("back")),
            each["rollout"],
            ended.get(each["rollout"], ""),
        )
        for each in reversed(mine)
        if _wishes(each) and not each["detail"].get("limit")
    ]


def _wishes(event: Mapping[str, Any]) -> bool:
    """Is it the beginning of something that wished for a release? A restart takes what is there."""
    detail = event.get("detail") or {}
    return event["kind"] == "rollout-started" and bool(detail.get("release")) and detail.get("act") != "restart"


def _started(event: Mapping[str, Any]) -> bool:
    return event["kind"] == "rollout-started" and bool(event.get("detail"))


def _rejected(wished: Intent, events: Events, installed: Sequence[Installed]) -> bool:
    """Did the release fail its gate, so that the rollout did not go through?"""
    if wished.outcome in ("ok", "failed"):  # within its budget
        return False
    # an interruption takes hosts back, too, and is no verdict on the release; another conf of it that failed is none
    said = wished.outcome == "halted" and any(
        each["kind"] == "reverted"
        and each["rollout"] == wished.rollout
        and each["subject"] == wished.application
        and each["detail"].get("previous") != wished.release
        for each in events
    )
    return said or any(_failed(each.release(wished.release)) for each in installed)


def _failed(release: Release | None) -> bool:
    return release is not None and release.verdict == "bad"


def lock_changed(wished: Intent, now: str) -> PinwheelError:
    """The version has another lock by now, so that it would be another release."""
    return PinwheelError(
        f"{wished.version} is {now} by now, and what should run is {wished.release}: its lock was made anew",
        where=wished.application,
        remedy=f"bring that everywhere: pinwheel deploy.rollout {wished.application}=={wished.version}",
    )
