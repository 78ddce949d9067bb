"""Fixtures of the root lab. Tests that use them are marked `root` and skip, with the reason, where it cannot be."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.lab import rootlab


class StartLab(Protocol):
    """Start a lab of hosts called `names`; it is stopped when the test ends."""

    def __call__(self, *names: str, disk_mb: int | None = None) -> rootlab.RootLab: ...


@functools.cache
def missing() -> tuple[str, ...]:
    """What the machine lacks, found out once."""
    return rootlab.requirements()


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[StartLab]:
    """A function that starts labs for this test."""
    if missing():
        pytest.skip(f"the root lab needs {', '.join(missing())}")
    with contextlib.ExitStack() as running:

        def start(*names: str, disk_mb: int | None = None) -> rootlab.RootLab:
            lab = rootlab.RootLab(tmp_path / f"lab-{'-'.join(names)}", names, disk_mb=disk_mb)
            return running.enter_context(lab)

        yield start
