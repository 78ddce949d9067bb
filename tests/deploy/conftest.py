"""Fixtures of the deploy station: a folder as a host, and a lab of rootless hosts that are reached over real SSH."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.deploy.bare import BareHost

from pinwheel.deploy.lab import Lab, LabHost
from pinwheel.deploy.lab_host import MARK


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


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BareHost]:
    """A folder as a host, with nothing on it and no supervisor; the runner is asked without SSH."""
    made = BareHost(tmp_path)
    yield made
    made.close()


@pytest.fixture
def host_with_uv(host: BareHost, monkeypatch: pytest.MonkeyPatch) -> BareHost:
    """The same with uv; whatever starts on it carries its mark, and ends with it."""
    monkeypatch.setenv(MARK, str(host.root))
    (host.root / "bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    return host


Poll = Callable[[Callable[[], bool]], None]


@pytest.fixture
def eventually() -> Poll:
    """Wait until a condition holds; fail after a minute."""
    import time

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it did not become true within a minute"
            time.sleep(0.02)

    return wait
