"""The rollout's gate: what stops it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pinwheel.deploy.planning.gate import Continue, Halt, verdict
from pinwheel.deploy.planning.outcome import GOOD, Ending, Outcome

outcomes = some.lists(some.builds(Outcome, host=some.uuids().map(str), ending=some.sampled_from(Ending)), max_size=12)


@given(outcomes=outcomes, budget=some.integers(0, 12))
def test_it_goes_on_exactly_while_the_budget_lasts_and_nobody_is_worse_off(
    outcomes: list[Outcome], budget: int
) -> None:
    bad = [each for each in outcomes if each.ending not in GOOD]
    worse = any(each.ending is Ending.UNHEALTHY for each in outcomes)
    assert isinstance(verdict(outcomes, budget), Continue) == (len(bad) <= budget and not worse)


@pytest.mark.parametrize("ending", [each for each in Ending if each not in GOOD])
def test_a_canary_that_did_not_come_through_stops_it_whatever_the_budget(ending: Ending) -> None:
    judged = verdict([Outcome("h1", ending)], 100, canary=("h1",))
    assert isinstance(judged, Halt)
    assert "h1" in judged.reason
