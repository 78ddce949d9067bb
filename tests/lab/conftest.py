"""Fixtures of the root lab. Tests that use them are marked `root` and skip, with the reason, where it cannot be."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.lab import debian_base, rootlab
from tests.lab.debian_base import OWN, Recipe


class StartLab(Protocol):
    """Start a lab of hosts called `names`; it is stopped when the test (or its module) ends."""

    def __call__(self, *names: str, disk_mb: int | None = None, recipe: Recipe = OWN) -> rootlab.RootLab: ...


@functools.cache
def missing(recipe: Recipe) -> tuple[str, ...]:
    """What the machine lacks for a lab of that base, found out once; the base is built for it."""
    if lacks := rootlab.requirements(recipe):
        return lacks
    try:
        debian_base.ready(recipe)
    except debian_base.NoBase as error:
        return (f"a base of {recipe.suite or 'its own suite'}: {error}",)
    return ()


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[StartLab]:
    """A function that starts labs for this test."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartLab]:
    """A function that starts labs that the tests of a module share."""
    with starting(tmp_path_factory.mktemp("labs")) as start:
        yield start


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[StartLab]:
    """Labs below `folder`, stopped at the end. They skip, where the machine cannot have them."""
    with contextlib.ExitStack() as running:

        def start(*names: str, disk_mb: int | None = None, recipe: Recipe = OWN) -> rootlab.RootLab:
            if lacks := missing(recipe):
                pytest.skip(f"the root lab needs {', '.join(lacks)}")
            lab = rootlab.RootLab(folder / f"lab-{'-'.join(names)}", names, disk_mb=disk_mb, recipe=recipe)
            return running.enter_context(lab)

        yield start
