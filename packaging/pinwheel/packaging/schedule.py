"""Do several things at once in threads, each as soon as what it needs is done."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from concurrent.futures import Future
from contextvars import copy_context
from graphlib import TopologicalSorter
from typing import TypeVar

from pinwheel import process

STOP_S = 5.0
"""How long work that was broken off gets to remove its temporary files, once its children are killed."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def when_ready(
    needs: Mapping[Key, Set[Key]],
    work: Callable[[Key], Outcome],
    *,
    at_once: int,
    good: Callable[[Outcome], bool] = lambda _: True,
) -> dict[Key, Outcome]:
    """Do `work` in threads, at most `at_once`, for every key of `needs` whose needs are all done and `good`; of those
    that are ready the first in `needs` is begun first. Returns the outcomes in the order in which they came.

    What needs something that did not end well is never begun, and missing in the answer. What `work` raises, and
    Ctrl-C, ends all children of all threads and goes on from here. Raises `graphlib.CycleError`.
    """
    sorter = TopologicalSorter({key: needs.keys() & wanted for key, wanted in needs.items()})
    sorter.prepare()
    place = {key: at for at, key in enumerate(needs)}
    ended: queue.SimpleQueue[tuple[Key, Future[Outcome]]] = queue.SimpleQueue()
    ready: list[Key] = []
    running: dict[Key, threading.Thread] = {}
    outcomes: dict[Key, Outcome] = {}

    def one(key: Key) -> None:
        future: Future[Outcome] = Future()
        try:
            future.set_result(work(key))
        except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is asked for
            future.set_exception(error)
        ended.put((key, future))

    try:
        with process.ending_together():
            while True:
                ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
                while ready and len(running) < at_once:
                    key = ready.pop(0)
                    # daemons, because an upload that hangs must not keep an interrupted command alive
                    running[key] = threading.Thread(target=copy_context().run, args=(one, key), daemon=True)
                    running[key].start()
                if not running:
                    return outcomes
                key, future = ended.get()
                del running[key]
                outcomes[key] = future.result()
                if good(outcomes[key]):
                    sorter.done(key)
    finally:
        deadline = time.monotonic() + STOP_S
        for thread in running.values():
            thread.join(max(0.0, deadline - time.monotonic()))


def each(items: Sequence[Item], work: Callable[[Item], Outcome], *, at_once: int) -> list[Outcome]:
    """The outcomes of `work` for every item, in the order of `items`, as `when_ready` does it."""
    outcomes = when_ready(
        {at: frozenset[int]() for at in range(len(items))}, lambda at: work(items[at]), at_once=at_once
    )
    return [outcomes[at] for at in range(len(items))]
