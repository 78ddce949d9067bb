"""One running index for each test process, and indexes without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.running import Server, Upstream

from pinwheel.index.assembly import Setup, Stored, application, stored


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers and no upstream. It is shared: use names of projects that nobody else uses."""
    with running.running(tmp_path_factory.mktemp("index") / "data") as found:
        yield found


@pytest.fixture(scope="session")
def token(server: Server) -> str:
    """A token of the shared server that may read, upload and deploy."""
    return server.token("everything", "read", "upload", "deploy")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Stored]:
    """An empty data folder, opened."""
    found = stored(tmp_path / "data", create=True)
    yield found
    found.close()


@pytest.fixture
def app(index: Stored) -> Callable[..., Any]:
    """Make the WSGI application over the data folder; `setup` fields are given as keywords."""
    return lambda log=None, **about: application(Setup(index.folder, **about), log)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running.upstream() as found:
        yield found
