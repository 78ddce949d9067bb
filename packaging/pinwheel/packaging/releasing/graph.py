"""In which order projects are released: each after those that it needs. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """`names` in an order in which every project comes after what it needs. What stands in a cycle, or needs a
    project that does, is not among them: `blocked` says why for each, `cycles` has each cycle in its own order."""

    names: tuple[str, ...]
    cycles: tuple[tuple[str, ...], ...]
    blocked: Mapping[str, str]


def arrange(needs: Mapping[str, Set[str]]) -> Order:
    """Order the projects; `needs` maps each to what it needs, names that are no key being somebody else's.

    Equal input, equal order: among those that could come next, the first by name does.
    """
    waiting = {name: {need for need in wanted if need in needs and need != name} for name, wanted in needs.items()}
    names: list[str] = []
    while ready := sorted(name for name, wanted in waiting.items() if wanted <= set(names)):
        names.append(ready[0])
        del waiting[ready[0]]
    cycles = tuple(sorted({_cycle(name, waiting) for name in waiting}))
    inside = {name: cycle for cycle in cycles for name in cycle}
    blocked = {
        name: f"it is part of a cycle: {_drawn(inside[name])}"
        if name in inside
        else f"it needs {', '.join(sorted(waiting[name] - set(names)))}"
        for name in sorted(waiting)
    }
    return Order(tuple(names), cycles, blocked)


def affected(needs: Mapping[str, Set[str]], failed: Set[str]) -> frozenset[str]:
    """Everything that needs one of `failed`, directly or by way of others; `failed` itself is not among them."""
    found: set[str] = set()
    while more := {name for name, wanted in needs.items() if name not in found | failed and wanted & (found | failed)}:
        found |= more
    return frozenset(found)


def _cycle(start: str, waiting: Mapping[str, Set[str]]) -> tuple[str, ...]:
    """The cycle that one comes to from `start`, turned so that its first name comes first."""
    path = [start]
    while True:
        following = min(need for need in waiting[path[-1]] if need in waiting)
        if following in path:
            cycle = path[path.index(following) :]
            turn = cycle.index(min(cycle))
            return (*cycle[turn:], *cycle[:turn])
        path.append(following)


def _drawn(cycle: tuple[str, ...]) -> str:
    return " → ".join((*cycle, cycle[0]))
