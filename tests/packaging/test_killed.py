"""P4: a release that is killed -9 at any moment is completed by the next one, and nothing is there twice or half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, tiny_files
from tests.packaging.running import RunningIndex
from tests.packaging.signing import make_key, needs_ssh_keygen

from pinwheel.index.client import IndexClient
from pinwheel.packaging.proving.proof import require
from pinwheel.packaging.proving.signatures import AllowedSigners
from pinwheel.packaging.proving.verify import prove_version

pytestmark = [pytest.mark.slow, needs_ssh_keygen]

SEEDS = 2
PACKAGES = 10
KILLS = 3
"""So often in a row, before a release is left to end."""


def test_p4_killed_at_random_moments_and_completed(
    index: RunningIndex, tmp_path: Path, make_repository: Callable[[str], Repository]
) -> None:
    first = random.randrange(10**9)
    home = tmp_path / "home"
    home.mkdir()
    key = make_key(home / "key")
    (home / "allowed").write_text(f"ci {key.public}\n")
    names = [f"acme-killed-{count}" for count in range(PACKAGES)]
    remotes = {name: make_repository(name) for name in names}
    tables = (f'[projects.{name}]\nrepository = "{remote.address}"\n' for name, remote in remotes.items())
    settings = '[packaging]\nsigning_key = "key"\n'
    (home / "pinwheel.toml").write_text(settings + "".join(tables))
    client = IndexClient(index.url, index.token)
    whole_s = 0.0
    for seed in range(first, first + SEEDS + 1):
        print(f"seed {seed}")  # noqa: T201
        dice = random.Random(seed)
        version = f"1.{seed - first}.0"
        for count, (name, remote) in enumerate(remotes.items()):
            needs = (f"{names[count - 1]}=={version}",) if count % 2 else ()
            remote.commit(tiny_files(name, version, needs=needs), f"v{version}")
        begun = time.monotonic()
        for _ in range(KILLS if whole_s else 0):
            killed_after(index.spawn(home, "packaging.release", "--all"), dice.uniform(0.05, 1) * whole_s)
        done = index.document(home, "packaging.release", "--all")
        whole_s = whole_s or time.monotonic() - begun
        assert sorted(release["name"] for release in done["releases"]) == names
        for name in names:
            whole_and_once(client, name, version, AllowedSigners(home / "allowed"))


def killed_after(child: subprocess.Popen[str], seconds: float) -> None:
    """Kill the release alone: what it has started ends by itself, later, as after any kill -9."""
    try:
        child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
    child.communicate()


def whole_and_once(client: IndexClient, name: str, version: str, allowed: AllowedSigners) -> None:
    files = [file for file in client.own_files(name) if file.version == version]
    assert len(files) == 2
    told = [event for event in client.events(subject=name) if event["version"] in (version, version.removesuffix(".0"))]
    assert Counter(event["kind"] for event in told) == {"published": 2, "released": 1}
    require(prove_version(client, name, version, files, allowed))
    beside = [each.name for each in client.attachments(name, version)]
    assert sum(each.endswith(".statement.json") for each in beside) == 2
