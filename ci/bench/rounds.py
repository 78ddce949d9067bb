"""Rounds: how much is measured, and what was, until it becomes figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL, Figure

REQUESTS, UPLOADS, SECONDS, MEBIBYTES = "requests/s", "uploads/s", "s", "MiB"
MICROSECONDS = "CPU µs each"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. `middle` is the size at which everything is."""

    sizes: tuple[int, ...]
    middle: int
    projects: int
    one_project: int
    parts: int
    rounds: int
    seconds: float
    starts: int
    installs: int
    refusals: int
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class Bench:
    """What was measured so far: the rounds by task, subject and unit; and why what is missing is."""

    folder: Path
    effort: Effort
    rounds: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    missing: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def note(self, task: str, subject: str, unit: str, measure: Callable[[], float]) -> None:
        """Measure once, and keep why it cannot be done if so. Only pinwheel itself must not fail."""
        key = (task, subject, unit)
        if key in self.missing:
            return
        try:
            self.rounds.setdefault(key, []).append(measure())
        except (BenchFailed, OSError) as error:
            if subject == PINWHEEL:
                raise
            self.without(*key, " ".join(str(error).split())[:160])

    def without(self, task: str, subject: str, unit: str, reason: str) -> None:
        self.rounds.pop((task, subject, unit), None)
        self.missing[task, subject, unit] = reason

    def figures(self) -> tuple[Figure, ...]:
        keys = list(dict.fromkeys([*self.rounds, *self.missing]))
        tasks = list(dict.fromkeys((task, unit) for task, _, unit in keys))
        return tuple(
            Figure(*key, tuple(self.rounds.get(key, ())), self.missing.get(key, ""))
            for task, unit in tasks
            for key in keys
            if (key[0], key[2]) == (task, unit)
        )
