"""Figures and the tables they make: frozen values and pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PINWHEEL = "pinwheel"


@dataclass(frozen=True, slots=True)
class Figure:
    """What one subject reached at one task. `rounds` are in the order taken; `missing` says why there are none.

    The n-th rounds of all subjects were taken one after the other, so they compare under the same load.
    """

    task: str
    subject: str
    unit: str
    rounds: tuple[float, ...] = ()
    missing: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Table:
    """The figures of one station, and what to know about how they came about."""

    station: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


COLUMNS = ("task", "subject", "median", "least", "most", "unit", "pinwheel / this")


def ratio(figures: Sequence[Figure], figure: Figure) -> float | None:
    """How many times this figure pinwheel's is: the median of the ratios of the rounds. None without both."""
    for own in figures:
        same = (own.task, own.unit) == (figure.task, figure.unit)
        if own.subject == PINWHEEL and same and own.rounds and figure.rounds:
            pairs = zip(own.rounds, figure.rounds, strict=False)
            return statistics.median(_times(mine, theirs) for mine, theirs in pairs)
    return None


def _times(mine: float, theirs: float) -> float:
    if mine == theirs:
        return 1.0  # also of nothing at all
    return mine / theirs if theirs else float("inf")


def rows(table: Table) -> list[tuple[str, ...]]:
    """The table's lines as text, in the order of `COLUMNS`."""
    lines: list[tuple[str, ...]] = []
    for figure in table.figures:
        if not figure.rounds:
            lines.append((figure.task, figure.subject, f"not measured: {figure.missing}", "", "", "", ""))
            continue
        of = None if figure.subject == PINWHEEL else ratio(table.figures, figure)
        numbers = (figure.median, min(figure.rounds), max(figure.rounds))
        shown = "" if of is None else significant(of)
        lines.append((figure.task, figure.subject, *map(significant, numbers), figure.unit, shown))
    return lines


def document(table: Table) -> dict[str, Any]:
    """The table as JSON carries it."""
    return {
        "station": table.station,
        "notes": list(table.notes),
        "figures": [
            {
                "task": figure.task,
                "subject": figure.subject,
                "unit": figure.unit,
                "rounds": list(figure.rounds),
                "median": figure.median if figure.rounds else None,
                "pinwheel_over_this": ratio(table.figures, figure),
                "missing": figure.missing,
            }
            for figure in table.figures
        ],
    }


def significant(number: float) -> str:
    """Three significant digits, thousands apart; more would be noise."""
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
