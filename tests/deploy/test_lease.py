"""A lease is held while it is surely ours, and never a moment longer."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pinwheel.deploy.rolling.lease import Held, hold, seconds
from pinwheel.errors import PinwheelError, Refused
from pinwheel.ledger import SinkUnreachable


@dataclass(frozen=True)
class Granted:
    token: int


@dataclass
class Leases:
    """The index in memory: `away` makes it unreachable, `taken` gives the lease to somebody else."""

    away: bool = False
    taken: bool = False
    forbidden: bool = False
    renewed: threading.Event = field(default_factory=threading.Event)
    released: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def acquire_lease(
        self, environment: str, owner: str, rollout: str, ttl_s: float, projects: Sequence[str] = ()
    ) -> Granted:
        self.asked.append((environment, owner, rollout))
        if self.taken:
            raise Refused("held by another")
        return Granted(7)

    def renew_lease(self, lease: Granted, ttl_s: float) -> Granted:
        self.renewed.set()
        if self.away:
            raise SinkUnreachable("away")
        if self.forbidden:
            raise PinwheelError("the token has expired")
        if self.taken:
            raise Refused("fenced")
        return lease

    def release_lease(self, lease: Granted) -> None:
        if self.away:
            raise SinkUnreachable("away")
        if self.forbidden:
            raise PinwheelError("the token has expired")
        self.released.append(lease.token)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def held(leases: Leases, clock: Clock) -> Held[Granted]:
    return Held(leases.acquire_lease("live", "me", "r1", 45), clock(), 45, clock)


def test_it_is_valid_until_its_time_has_run_out() -> None:
    clock = Clock()
    lease = held(Leases(), clock)
    assert (lease.token, lease.valid()) == (7, True)
    clock.now += 44.9
    assert lease.valid()
    clock.now += 0.2
    assert not lease.valid()


def test_a_renewal_counts_from_before_it_was_asked() -> None:
    clock, leases = Clock(), Leases()
    lease = held(leases, clock)
    clock.now += 30
    assert lease.renew(leases)
    clock.now += 44.9
    assert lease.valid()


def test_an_index_that_is_away_takes_nothing_before_the_time_is_out() -> None:
    clock, leases = Clock(), Leases(away=True)
    lease = held(leases, clock)
    clock.now += 30
    assert lease.renew(leases)
    clock.now += 20
    assert not lease.renew(leases)
    assert not lease.valid()


@pytest.mark.parametrize("leases", [Leases(taken=True), Leases(forbidden=True)], ids=["fenced", "credential"])
def test_a_lost_lease_stays_lost(leases: Leases) -> None:
    clock = Clock()
    lease = Held(Granted(7), clock(), 45, clock)
    assert not lease.renew(leases)
    leases.taken = leases.forbidden = False
    assert not lease.valid()


def test_a_lease_runs_out_also_while_the_machine_sleeps() -> None:
    """CLOCK_MONOTONIC stands still in suspend, the index's clock does not."""
    assert inspect.signature(hold).parameters["clock"].default is seconds
    assert seconds() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=5)


def test_it_is_renewed_meanwhile_and_given_back_at_the_end() -> None:
    leases = Leases()
    with hold(leases, "live", "me", "r1", said=leases.said.append, renew_s=0.01) as lease:
        assert leases.renewed.wait(10)
        assert lease.valid()
    assert leases.asked == [("live", "me", "r1")]
    assert leases.released == [7]


def test_it_is_given_back_also_after_a_failure() -> None:
    leases = Leases()
    with pytest.raises(ZeroDivisionError), hold(leases, "live", "me", "r1", said=leases.said.append):
        raise ZeroDivisionError
    assert leases.released == [7]


@pytest.mark.parametrize("fault", ["away", "forbidden"])
def test_a_lease_that_cannot_be_given_back_is_said_and_hides_nothing(fault: str) -> None:
    """What was done under it is done; the lease ends by itself."""
    leases = Leases()
    with hold(leases, "live", "me", "r1", said=leases.said.append):
        setattr(leases, fault, True)
    (said,) = leases.said
    assert "the lease of live ends by itself within 45 s" in said
    with pytest.raises(ZeroDivisionError), hold(Leases(), "live", "me", "r1", said=leases.said.append):
        raise ZeroDivisionError


def test_a_lease_that_somebody_else_holds_is_refused_before_anything() -> None:
    with pytest.raises(Refused) as caught, hold(Leases(taken=True), "live", "me", "r1", said=print):
        pytest.fail("it must not come here")
    assert caught.value.exit_code == 3
