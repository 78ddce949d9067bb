"""A plan in a file: it holds what decides, no secret, and whoever has moved is named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from tests.deploy.test_plan import NEW, OLD, conf, fleets, host, package, policies, release, wish

from pinwheel.config import Rollout
from pinwheel.deploy.planning import plan_file
from pinwheel.deploy.planning.facts import HostFacts, Process
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.plan import plan
from pinwheel.deploy.planning.plan_file import Document, Moved
from pinwheel.deploy.planning.wish import Delivery, Setup, Wish
from pinwheel.errors import UsageError

AWAY = Outcome("h2", Ending.UNREACHABLE, "nobody listens")


Fleet = dict[str, HostFacts | Outcome]


def planned(facts: Fleet, of: Wish | None = None, policy: Rollout | None = None) -> Document:
    made = plan(of or wish(facts), facts, policy or Rollout(max_unavailable=2))
    return plan_file.document(made, "live")


def written(document: Document) -> Document:
    return plan_file.read(json.dumps(document), "shop.plan")


@given(fleet=fleets(), policy=policies)
def test_what_has_not_changed_may_be_done(fleet: Fleet, policy: Rollout) -> None:
    document = planned(fleet, policy=policy)
    plan_file.hold(written(document), document)


BOTH: Fleet = {"h1": host("h1", OLD), "h2": host("h2", OLD)}


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({"h2": host("h2", NEW)}, f"h2: it runs {NEW}, planned was for {OLD}"),
        ({"h2": host("h2")}, f"h2: it runs nothing, planned was for {OLD}"),
        ({"h2": host("h2", OLD, conf_sha256="0")}, "h2: its conf on the host is another one"),
        ({"h2": AWAY}, "h2: nobody listens"),
        (
            {"h3": host("h3", OLD)},
            "h3: the plan does not know it; it is new, or was not among those of --host and --group",
        ),
    ],
)
def test_a_host_that_moved_is_named_with_what_it_did(now: Fleet, says: str) -> None:
    with pytest.raises(Moved) as caught:
        plan_file.hold(written(planned(BOTH)), planned(BOTH | now))
    assert caught.value.where == says
    assert "deploy.plan shop==1.1.0 --env live" in caught.value.remedy
    assert caught.value.exit_code == 1


def test_a_host_that_is_gone_and_one_that_came_back_are_named() -> None:
    with pytest.raises(Moved, match="nothing was touched") as caught:
        plan_file.hold(written(planned(BOTH)), planned({"h1": BOTH["h1"]}))
    assert caught.value.where == "h2: it is not among the hosts any more, or not among those of --host and --group"
    with pytest.raises(Moved) as caught:
        plan_file.hold(written(planned(BOTH | {"h2": AWAY})), planned(BOTH))
    assert caught.value.where.startswith("h2: it can be worked on by now")


def test_another_release_lock_setup_or_order_is_refused() -> None:
    before = written(planned(BOTH))
    other = replace(wish(BOTH), release="1.1.0-cccccccc", lock_sha256="c" * 64)
    with pytest.raises(Moved) as caught:
        plan_file.hold(before, planned(BOTH, other))
    assert caught.value.where.startswith("the release is 1.1.0-cccccccc")
    assert "its lock is" in caught.value.where
    setups = {name: Setup(conf(name), ({"name": "shop-web", "health": {"tcp": "h:1"}},)) for name in BOTH}
    with pytest.raises(Moved) as caught:
        plan_file.hold(before, planned(BOTH, replace(wish(BOTH), delivery=Delivery(setups))))
    assert "h1: pinwheel.toml, or what its secrets are, sets it up otherwise" in caught.value.where
    with pytest.raises(Moved) as caught:
        plan_file.hold(before, planned(BOTH, policy=Rollout(canary=2, batch="2", max_unavailable=2)))
    assert caught.value.where == "the order is h1, h2, planned was h1 → h2"


def test_a_host_that_went_down_meanwhile_is_refused() -> None:
    right: Fleet = {"h1": host("h1", NEW)}
    down: Fleet = {"h1": host("h1", NEW, processes=(Process("shop-web", 0, "FATAL"),))}
    with pytest.raises(Moved, match="nothing was touched") as caught:
        plan_file.hold(written(planned(right)), planned(down))
    assert caught.value.where == "h1: it would be activated"


def test_that_the_release_stands_there_already_is_no_reason_to_refuse() -> None:
    ready: Fleet = {"h1": host("h1", OLD, has=(release(OLD), release(NEW, "prepared")))}
    plan_file.hold(written(planned({"h1": host("h1", OLD)})), planned(ready))


def test_more_is_not_removed_than_was_planned() -> None:
    old = ("0.8.0-dddddddd", "0.9.0-eeeeeeee", "0.9.5-ffffffff")
    facts: Fleet = {"h1": host("h1", OLD, has=tuple(map(release, (*old, OLD))))}
    some, more = (plan_file.document(plan(wish(facts), facts, Rollout(), keep), "live") for keep in (4, 3))
    assert (some["hosts"][0]["removes"], more["hosts"][0]["removes"]) == ([old[0]], [old[1], old[0]])
    plan_file.hold(written(more), some)
    with pytest.raises(Moved) as caught:
        plan_file.hold(written(some), more)
    assert caught.value.where == f"h1: {old[1]} would be removed"


def test_no_value_of_a_conf_gets_into_the_file() -> None:
    setups = {"h1": Setup('environment=PASSWORD="hunter2"', ())}
    facts: Fleet = {"h1": host("h1", OLD, conf='environment=PASSWORD="hunter1"')}
    document = planned(facts, replace(wish(facts), delivery=Delivery(setups, (package("shop"),))))
    assert "hunter" not in json.dumps(document)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"plan": 2}', '{"plan": 1, "hosts": [{}], "blocked": []}', "no json"]
)
def test_what_is_no_plan_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="no plan"):
        plan_file.read(text, "shop.plan")


@pytest.mark.parametrize("damage", [{"waves": [[5]]}, {"waves": None}, {"tasks": ["x"]}, {"blocked": 5}])
def test_a_plan_that_somebody_has_damaged_is_wrong_usage_before_any_host_is_asked(damage: Document) -> None:
    with pytest.raises(UsageError, match="no plan"):
        written({**planned({"h1": host("h1", OLD)}), **damage})
