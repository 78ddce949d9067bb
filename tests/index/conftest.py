"""One running index for each test process, and indexes without a server."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.index import running
from tests.index.certificates import self_signed
from tests.index.foreign import Home, Tools
from tests.index.running import Server, Upstream

from pinwheel.index.policy import Policy
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.server.assembly import Setup, Stored, application, stored


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers and no upstream. It is shared: use names of projects that nobody else uses."""
    with running.running(tmp_path_factory.mktemp("index") / "data") as found:
        yield found


@pytest.fixture(scope="session")
def token(server: Server) -> str:
    """A token of the shared server that may read, upload and deploy."""
    return server.token("everything", "read", "upload", "deploy")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its holder vouches for; its key is `key.pem` beside it."""
    folder = tmp_path_factory.mktemp("tls")
    self_signed(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem"


@pytest.fixture(scope="session")
def secure_server(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[Server]:
    """A server that speaks https with `certificate`; shared as the other one is."""
    flags = ("--tls-cert", str(certificate), "--tls-key", str(certificate.with_name("key.pem")))
    with running.running(tmp_path_factory.mktemp("secure") / "data", *flags) as found:
        yield found


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty data folder that nobody has opened: a copy of it is made in a fortieth of the time."""
    folder = tmp_path_factory.mktemp("empty") / "data"
    stored(folder, create=True).close()
    return folder


@pytest.fixture
def index(tmp_path: Path, empty: Path) -> Iterator[Stored]:
    """An empty data folder, opened."""
    found = stored(shutil.copytree(empty, tmp_path / "data"))
    yield found
    found.close()


@pytest.fixture
def app(index: Stored) -> Callable[..., Any]:
    """Make the WSGI application over the data folder; fields of `Setup` and `Policy` are given as keywords."""

    def made(log: Callable[[str], None] | None = None, **about: Any) -> object:
        decided = {field.name: about.pop(field.name) for field in fields(Policy) if field.name in about}
        return application(Setup(index.folder, policy=Policy(**decided), **about), log)

    return made


@pytest.fixture
def cached(app: Callable[..., Any], upstream: Upstream) -> Callable[..., Any]:
    """Make an index whose upstream is the fake one."""
    return lambda log=print, **about: app(log, upstreams=Upstreams((upstream.url,)), **about)


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: with the seed that pytest shows when the test fails."""
    seed = int(os.environ.get("PINWHEEL_TEST_SEED") or random.randrange(2**32))
    print(f"PINWHEEL_TEST_SEED={seed}")  # noqa: T201
    return random.Random(seed)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running.upstream() as found:
        yield found


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """Clients that nobody here wrote."""
    return Tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder and an empty folder to work in."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    return Home(tmp_path / "home", tmp_path / "work")
