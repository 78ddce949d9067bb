"""I13: many cold installs at once through the cache, with real processes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import wheel
from tests.index.running import Upstream, environment
from uv import find_uv_bin

from pinwheel.index.client import IndexClient


def uv(url: str, place: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    argv = (find_uv_bin(), "pip", "install", "--python", sys.executable, "--target", str(place / "site"), *packages)
    env = environment(UV_DEFAULT_INDEX=url, UV_CACHE_DIR=str(place / "cache"))
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


def pip(url: str, place: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-P", "-m", "pip", "install", "--no-input", "--target", str(place / "site"), *packages)
    env = environment(PIP_INDEX_URL=url, PIP_CACHE_DIR=str(place / "cache"), PIP_DISABLE_PIP_VERSION_CHECK="1")
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


Installer = Callable[..., "subprocess.CompletedProcess[str]"]


def installed_at_once(upstream: Upstream, folder: Path, installers: list[Installer], packages: int) -> None:
    """Each installs everything into its own place with its own cold cache; every file is fetched once."""
    made = [wheel(f"cold-{number}", code=f"n = {number}", padding=20_000) for number in range(packages)]
    upstream.add(*made)
    with running.running(folder / "data", "--upstream", upstream.url) as server:
        url = IndexClient(server.url, server.token("t", "read")).credentialed_simple_url()
        places = [folder / f"place-{number}" for number in range(len(installers))]
        for place in places:
            place.mkdir()
        with ThreadPoolExecutor(len(installers)) as pool:
            done = list(
                pool.map(
                    lambda install, place: install(url, place, *(one.project for one in made)),
                    installers,
                    places,
                )
            )
    assert [each.returncode for each in done] == [0] * len(done), [each.stderr[-2000:] for each in done]
    for place in places:
        assert len(list((place / "site").glob("cold_*.py"))) == packages
    asked = Counter(upstream.requests)
    assert set(asked.values()) == {1}, {path: count for path, count in asked.items() if count > 1}
    assert len(asked) == 2 * packages


@pytest.mark.slow
def test_two_cold_installs_cause_one_request_for_each_file(upstream: Upstream, tmp_path: Path) -> None:
    installed_at_once(upstream, tmp_path, [uv, uv], 5)


@pytest.mark.slow
def test_ten_cold_installs_of_fifty_packages_cause_one_request_for_each_file(
    upstream: Upstream, tmp_path: Path
) -> None:
    installed_at_once(upstream, tmp_path, [uv] * 9 + [pip], 50)
