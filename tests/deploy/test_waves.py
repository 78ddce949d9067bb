"""The law of `pinwheel.deploy.planning.waves`: who may be taken out of service, and when."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pinwheel.config import Rollout
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.waves import Service, batch_size, most_unavailable, waves

policies = some.builds(
    Rollout,
    canary=some.integers(0, 5),
    batch=some.one_of(some.integers(1, 100).map(lambda share: f"{share}%"), some.integers(1, 50)),
    max_unavailable=some.one_of(some.integers(1, 20), some.integers(1, 100).map(lambda share: f"{share}%")),
)
NAMES = tuple(f"h{number}" for number in range(30))


@some.composite
def services(draw: some.DrawFn) -> tuple[Service, tuple[str, ...]]:
    """A fleet, and those of it that are to be activated."""
    names = NAMES[: draw(some.integers(0, 30))]
    states = draw(some.lists(some.sampled_from(["in", "in", "out", "idle"]), min_size=len(names), max_size=len(names)))
    of = {
        state: frozenset(name for name, is_in in zip(names, states, strict=True) if is_in == state) for state in states
    }
    waiting = tuple(name for name in names if draw(some.booleans()))
    return Service(len(names), of.get("out", frozenset()), of.get("idle", frozenset())), waiting


@given(fleet=services(), policy=policies)
def test_every_batch_keeps_the_law_and_none_is_larger_than_it_may_be(
    fleet: tuple[Service, tuple[str, ...]], policy: Rollout
) -> None:
    service, waiting = fleet
    cut = waves(waiting, policy, service)
    for wave in cut:
        taken = [name for name in wave if service.serves(name)]
        assert not taken or len(service.out) + len(taken) <= most_unavailable(service.size, policy)
        assert 0 < len(wave) <= batch_size(service.size, policy)
        service = service.after(Outcome(name, Ending.ACTIVATED) for name in wave)
    assert all(len(later) <= 2 * len(sooner) for sooner, later in pairwise(cut))
    if policy.canary and cut:
        assert len(cut[0]) <= policy.canary


@given(fleet=services(), policy=policies)
def test_nobody_is_left_out_unless_the_law_says_so(fleet: tuple[Service, tuple[str, ...]], policy: Rollout) -> None:
    service, waiting = fleet
    seen = [name for wave in waves(waiting, policy, service) for name in wave]
    assert len(seen) == len(set(seen))
    left = sorted(set(waiting) - set(seen))
    after = service.after(Outcome(name, Ending.ACTIVATED) for name in seen)
    assert all(after.serves(name) for name in left)
    assert not left or len(after.out) >= most_unavailable(service.size, policy)


@given(hosts=some.integers(0, 30), policy=policies)
def test_where_all_are_in_service_every_host_has_its_turn_in_order(hosts: int, policy: Rollout) -> None:
    cut = waves(NAMES[:hosts], policy, Service(hosts))
    assert [name for wave in cut for name in wave] == list(NAMES[:hosts])


@pytest.mark.parametrize(
    ("fleet", "most", "allowed"),
    [(10, 3, 3), (10, "25%", 2), (3, "25%", 1), (1000, "10%", 100), (10, "100%", 10), (0, "50%", 1)],
)
def test_a_share_is_of_the_whole_fleet_rounded_down_and_never_nothing(
    fleet: int, most: int | str, allowed: int
) -> None:
    assert most_unavailable(fleet, Rollout(max_unavailable=most)) == allowed


@pytest.mark.parametrize(
    ("ending", "is_out"),
    [
        (Ending.ACTIVATED, False),
        (Ending.REVERTED, False),
        (Ending.TAKEN_BACK, False),
        (Ending.FAILED, False),
        (Ending.UNREACHABLE, True),
        (Ending.UNKNOWN, True),
        (Ending.UNHEALTHY, True),
    ],
)
def test_how_a_host_ended_says_whether_it_is_in_service(ending: Ending, is_out: bool) -> None:
    assert (Service(3).after([Outcome("h1", ending)]).out == {"h1"}) == is_out
    assert Service(3).after([Outcome("h1", ending, drained="the balancer does not answer")]).out == {"h1"}


def test_a_host_that_is_out_already_may_be_worked_on_and_makes_room_when_it_is_well() -> None:
    service, policy = Service(4, out=frozenset({"h3"})), Rollout(max_unavailable=1)
    assert waves(("h1", "h2", "h3", "h4"), policy, service) == (("h3",), ("h1",), ("h2",), ("h4",))
    away = Service(4, out=frozenset({"h9"}))
    assert waves(("h1", "h2"), policy, away) == ()


def test_a_host_that_never_ran_anything_counts_for_nothing() -> None:
    service = Service(3, idle=frozenset({"h1", "h2", "h3"}))
    assert waves(("h1", "h2", "h3"), Rollout(max_unavailable=2, batch="100%"), service) == (("h1",), ("h2", "h3"))
