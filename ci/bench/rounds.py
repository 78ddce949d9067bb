"""Rounds: how much is measured, and what was, until it becomes figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
class Taken:
    """What was measured so far: the rounds by task, subject and unit; and why what is missing is."""

    rounds: dict[tuple[str, str, str], list[float]] = field(default_factory=dict, kw_only=True)
    missing: dict[tuple[str, str, str], str] = field(default_factory=dict, kw_only=True)

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

    def note_all(self, task: str, subject: str, unit: str, measure: Callable[[], Mapping[str, float]]) -> bool:
        """The same of a measure that tells several figures, by unit; what fails is missing at `unit`."""
        if (task, subject, unit) in self.missing:
            return False
        try:
            figures = measure()
        except (BenchFailed, OSError) as error:
            if subject == PINWHEEL:
                raise
            for key in [key for key in self.rounds if key[:2] == (task, subject)]:
                del self.rounds[key]
            self.without(task, subject, unit, " ".join(str(error).split())[-160:])
            return False
        for one, figure in figures.items():
            self.rounds.setdefault((task, subject, one), []).append(figure)
        return True

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


@dataclass(slots=True)
class Bench(Taken):
    """What was measured of the index, where, and how much was to be."""

    folder: Path
    effort: Effort
