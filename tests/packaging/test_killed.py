"""P4: a release that is killed -9 at any moment is completed by the next one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, tiny_files
from tests.packaging.running import RunningIndex

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

ROUNDS = 8
PACKAGES = 5


def test_p4_killed_at_random_moments_and_completed(
    index: RunningIndex, tmp_path: Path, make_repository: Callable[[str], Repository]
) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201
    dice = random.Random(seed)
    home = tmp_path / "home"
    home.mkdir()
    names = [f"acme-killed-{count}" for count in range(PACKAGES)]
    remotes = {name: make_repository(name) for name in names}
    tables = (f'[projects.{name}]\nrepository = "{remote.address}"\n' for name, remote in remotes.items())
    (home / "pinwheel.toml").write_text("".join(tables))
    client = IndexClient(index.url, index.token)
    for number in range(ROUNDS):
        version = f"1.{number}.0"
        for name, remote in remotes.items():
            remote.commit(tiny_files(name, version), f"v{version}")
        child = index.spawn(home, "packaging.release", "--all")
        try:
            child.communicate(timeout=dice.uniform(0.1, 2.5))
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        done = index.document(home, "packaging.release", "--all")
        assert sorted(release["name"] for release in done["releases"]) == names
        for name in names:
            files = [file for file in client.own_files(name) if file.version == version]
            assert len(files) == 2
            for file in files:
                assert client.attachment(name, version, f"{file.filename}.statement.json")
