"""Who holds an environment, whether somebody is behind it, and taking it from them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.deploy.memory_index import MemoryIndex

from pinwheel.deploy.planning.holder import Life, Owner, life, owner
from pinwheel.deploy.rolling.unlock import release
from pinwheel.deploy.showing import holder
from pinwheel.errors import Refused
from pinwheel.index.client import Holder

HERE = socket.gethostname()
NOBODY = 2**22 + 1
"""Above every pid that Linux gives."""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryIndex:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return MemoryIndex()


def held(pid: int, *, machine: str = HERE, expires_in_s: float = 40.0) -> Holder:
    return Holder(str(Owner("ann", machine, pid)), "r1", "2026-01-01T00:00:00Z", 100.0, expires_in_s, 7)


@pytest.mark.parametrize(
    ("machine", "running", "renewed_s_ago", "is_"),
    [
        ("desk", True, 5, Life.ALIVE),
        ("desk", True, 30, Life.SILENT),
        ("desk", False, 5, Life.GONE),
        ("elsewhere", True, 5, Life.RENEWING),
        ("elsewhere", False, 30, Life.SILENT),
    ],
)
def test_a_process_here_is_looked_for_and_one_elsewhere_goes_by_its_renewals(
    machine: str, running: bool, renewed_s_ago: float, is_: Life
) -> None:
    assert life(Owner("ann", machine, 1), "desk", running, renewed_s_ago, 10) is is_


def test_an_owner_is_what_its_text_says() -> None:
    ann = Owner("ann", "desk", 41)
    assert owner(str(ann)) == ann
    assert owner("somebody") is None


def test_a_free_environment_needs_no_unlocking(index: MemoryIndex) -> None:
    assert release(index, "live", force=True) is None  # type: ignore[arg-type]
    assert holder.line("live", None) == "nobody holds live"


@pytest.mark.parametrize(("pid", "says"), [(os.getpid(), "it is alive"), (NOBODY, "it is dead")], ids=["alive", "dead"])
def test_looking_takes_nothing_and_tells_who_since_when_and_whether_alive(
    index: MemoryIndex, pid: int, says: str
) -> None:
    index.holder = held(pid)
    found = release(index, "live", force=False)  # type: ignore[arg-type]
    said = holder.line("live", found)
    for word in (f"ann@{HERE} pid {pid}", "r1", "2026-01-01T00:00:00Z", "renewed 5 s ago", says, "runs out in 40 s"):
        assert word in said
    assert index.holder is not None
    assert index.recorded == []


def test_force_ends_that_lease_and_the_ledger_knows_who_lost_it(index: MemoryIndex) -> None:
    index.holder = held(NOBODY)
    found = release(index, "live", force=True)  # type: ignore[arg-type]
    assert found is not None
    assert found.released
    assert index.holder is None
    (event,) = index.recorded
    assert (event.kind, event.environment, event.rollout) == ("unlocked", "live", "r1")
    assert event.detail["token"] == 7
    assert "live is free" in holder.line("live", found)
    assert holder.document("live", found)["released"] is True


def test_a_lease_that_somebody_else_took_meanwhile_stays(index: MemoryIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.holder = held(NOBODY)
    monkeypatch.setattr(index, "end_lease", lambda environment, token: False)
    with pytest.raises(Refused):
        release(index, "live", force=True)  # type: ignore[arg-type]
    assert index.recorded == []
