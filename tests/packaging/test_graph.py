"""The order of releases: after what one needs, and never stuck on a cycle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pinwheel.packaging.releasing import graph

names = st.sampled_from("abcdefg")
graphs = st.dictionaries(names, st.frozensets(st.sampled_from("abcdefgz"), max_size=3), max_size=7)


@given(graphs)
def test_every_project_comes_after_what_it_needs_or_is_said_to_be_blocked(needs: dict[str, frozenset[str]]) -> None:
    order = graph.arrange(needs)
    assert {*order.names} | {*order.blocked} == {*needs}
    assert not {*order.names} & {*order.blocked}
    for at, name in enumerate(order.names):
        assert needs[name] & needs.keys() - {name} <= {*order.names[:at]}
    assert bool(order.blocked) == bool(order.cycles)
    for cycle in order.cycles:
        assert all(after in needs[before] for before, after in zip(cycle, (*cycle[1:], cycle[0]), strict=True))


def test_equal_input_gives_the_same_order_and_strangers_count_for_nothing() -> None:
    needs = {"shop": frozenset({"greet", "flask"}), "greet": frozenset({"hatchling"}), "admin": frozenset({"shop"})}
    assert graph.arrange(needs).names == ("greet", "shop", "admin")
    assert graph.arrange(dict(reversed(needs.items()))) == graph.arrange(needs)


def test_a_cycle_is_named_and_the_rest_goes_on() -> None:
    needs = {
        "a": frozenset({"b"}),
        "b": frozenset({"c"}),
        "c": frozenset({"a"}),
        "above": frozenset({"a"}),
        "free": frozenset[str](),
    }
    order = graph.arrange(needs)
    assert order.names == ("free",)
    assert order.cycles == (("a", "b", "c"),)
    assert order.blocked["b"] == "it is part of a cycle: a → b → c → a"
    assert order.blocked["above"] == "it needs a"


def test_a_failure_reaches_everything_above_it_and_nothing_beside_it() -> None:
    needs = {"shop": frozenset({"greet"}), "admin": frozenset({"shop"}), "other": frozenset[str]()}
    assert graph.affected(needs, {"greet"}) == {"shop", "admin"}
    assert graph.affected(needs, {"other"}) == frozenset()
