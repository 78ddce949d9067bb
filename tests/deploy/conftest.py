"""Fixtures of the deploy station: a lab of rootless hosts, and commands on them over real SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pinwheel.deploy.lab import Lab, LabHost


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Two hosts, h1 and h2, with nothing on them; stopped at the end."""
    with Lab(tmp_path / "lab", ("h1", "h2")) as started:
        yield started


@pytest.fixture
def one_host(tmp_path: Path) -> Iterator[LabHost]:
    """A lab of one host, with nothing on it; stopped at the end."""
    with Lab(tmp_path / "lab", ("h1",)) as started:
        yield started.hosts["h1"]


Poll = Callable[[Callable[[], bool]], None]


@pytest.fixture
def eventually() -> Poll:
    """Wait until a condition holds; fail after 15 s."""
    import time

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline, "it did not become true within 15 s"
            time.sleep(0.02)

    return wait
