"""Work at once: never before what it needs, never more than allowed, and nothing left when it is broken off."""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.packaging.running import eventually, running

from pinwheel import process
from pinwheel.packaging.schedule import each, when_ready

names = st.sampled_from("abcdefg")
acyclic = st.dictionaries(names, st.frozensets(names, max_size=3), max_size=7).map(
    lambda needs: {name: frozenset(need for need in wanted if need < name) for name, wanted in needs.items()}
)


@settings(deadline=None)
@given(acyclic, st.frozensets(names, max_size=2), st.integers(1, 4))
def test_work_begins_after_what_it_needs_ended_well_and_never_else(
    needs: dict[str, frozenset[str]], bad: frozenset[str], at_once: int
) -> None:
    lock, now, most = threading.Lock(), set[str](), [0]
    well: set[str] = set()

    def work(name: str) -> bool:
        with lock:
            now.add(name)
            most[0] = max(most[0], len(now))
            assert needs[name] & needs.keys() <= well
        with lock:
            now.remove(name)
            if name not in bad:
                well.add(name)
        return name not in bad

    outcomes = when_ready(needs, work, at_once=at_once, good=bool)
    assert most[0] <= at_once
    for name, wanted in needs.items():
        assert (name in outcomes) == all(outcomes.get(need) for need in wanted & needs.keys())


def test_two_that_need_nothing_run_at_the_same_time() -> None:
    met = threading.Barrier(2, timeout=30)
    assert each(["a", "b"], lambda _: met.wait() >= 0, at_once=2) == [True, True]


def test_one_that_breaks_off_ends_the_children_of_all(tmp_path: Path) -> None:
    started = tmp_path / "started"
    ends: list[BaseException] = []

    def work(name: str) -> None:
        if name == "breaks":
            eventually(lambda: started.is_file() and started.read_text().endswith("\n"))
            raise KeyboardInterrupt
        try:
            process.run(("sh", "-c", f"sleep 300 & echo $! > {started}; wait"))
        except BaseException as error:
            ends.append(error)
            raise

    with pytest.raises(KeyboardInterrupt):
        each(["sleeps", "breaks"], work, at_once=2)
    assert [type(error) for error in ends] == [process.Stopped]
    eventually(lambda: not running(started.read_text().strip()))


def test_no_child_starts_any_more_after_that() -> None:
    contexts: list[Context] = []

    def broken_off() -> None:
        with process.ending_together():
            contexts.append(copy_context())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    with pytest.raises(process.Stopped):
        contexts[0].run(process.run, ("true",))
