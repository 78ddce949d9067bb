"""The question about unknown keys, asked at a real terminal by the real command."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.deployment import CLI, DEADLINE_S

from pinwheel.demo import toml
from pinwheel.deploy.lab import Lab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), ("h1",)) as made:
        yield made


@pytest.mark.parametrize(("key", "code", "added"), [(b"yes\n", 0, True), (b"no\n", 4, False), (b"\x03", 130, False)])
def test_only_yes_adds_the_keys_and_ctrl_c_ends_it(
    lab: Lab, tmp_path: Path, key: bytes, code: int, added: bool
) -> None:
    known = tmp_path / "known_hosts"
    environment = {**lab.environment(), "known_hosts": str(known)}
    (tmp_path / "pinwheel.toml").write_text("".join(toml({"environments": {"live": environment}})))
    ours, theirs = pty.openpty()
    scan = [*CLI, "deploy.bootstrap", "--env", "live", "--scan-host-keys"]
    environ = {**os.environ, "HOME": str(tmp_path), "PINWHEEL_CONFIG": str(tmp_path / "pinwheel.toml")}
    child = subprocess.Popen(
        scan, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=_control
    )
    os.close(theirs)
    said = b""
    while b"(yes/no)?" not in said:
        said += os.read(ours, 4096)
    assert b"SHA256:" in said
    os.write(ours, key)
    assert child.wait(DEADLINE_S) == code
    os.close(ours)
    assert (known.exists() and lab.hosts["h1"].host_key in known.read_text()) is added


def _control() -> None:
    """Let the terminal be the child's own, so that its Ctrl-C is a signal to it."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))
