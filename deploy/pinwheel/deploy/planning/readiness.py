"""What makes a host ready, as values: what it lacks (`survey`), and what became of that (`bootstrap`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do on a host, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that could not be done. `where` and `remedy` may be empty."""

    what: str
    problem: str
    where: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What there is to do on a host, in order; `notes` are what an operator should know of it all the same."""

    host: str
    work: tuple[Work, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readied:
    """What was done on a host, and what could not be."""

    host: str
    done: tuple[str, ...]
    lacks: tuple[Lack, ...]


def surveyed(host: str, result: Mapping[str, Any]) -> Surveyed:
    """Read the result of `survey`. Raises `KeyError` and its like."""
    work = tuple(Work(each["what"], each["why"]) for each in result["changes"])
    return Surveyed(host, work, tuple(result["notes"]))


def readied(host: str, result: Mapping[str, Any]) -> Readied:
    """Read the result of `bootstrap`. Raises `KeyError` and its like."""
    lacks = tuple(Lack(each["what"], each["problem"], each["where"], each["remedy"]) for each in result["missing"])
    return Readied(host, tuple(map(str, result["changes"])), lacks)
