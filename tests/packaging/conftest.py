"""Fixtures of the packaging station."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, repository
from tests.packaging.running import RunningIndex


@pytest.fixture(scope="session")
def registry() -> str:
    """The simple index that pip on this machine is configured for, else the one that pip has built in."""
    argv = [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    if os.environ.get("PIP_INDEX_URL") or configured:
        return os.environ.get("PIP_INDEX_URL") or configured
    from pip._internal.models.index import PyPI

    return PyPI.simple_url


@pytest.fixture(scope="session")
def uv_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all tests have fetched from the registry."""
    return tmp_path_factory.mktemp("uv")


@pytest.fixture
def workshop(tmp_path: Path, registry: str, uv_cache: Path) -> Workshop:
    """Tools with an index in memory."""
    return Workshop(tmp_path / "workshop", registry, uv_cache)


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[[str], Repository]:
    """Make an empty git repository of the given name."""
    return lambda name: repository(tmp_path / "repositories" / name)


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIndex]:
    """A real index on loopback, in front of the machine's registry; `acme-*` is private."""
    running = RunningIndex(tmp_path_factory.mktemp("index"))
    try:
        running.start()
        yield running
    finally:
        running.stop()
