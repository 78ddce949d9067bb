"""The demo's stage: what a run started is found and ended, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinwheel import stage


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of the test's own, so that demos of others are not seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(stage.MARK, "")  # restored afterwards
    yield tmp_path
    for folder in [*stage.kept(), *stage.leftovers()]:
        stage.sweep(folder)


def alive(pid: int, for_s: float = 10.0) -> bool:
    """Is `pid` still there? A killed process may take a moment to be gone, so it is given `for_s` seconds."""
    deadline = time.monotonic() + for_s
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except OSError:
            return False
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)


def dead_run(parent: Path) -> Path:
    """The folder of a run whose owner has ended."""
    owner = subprocess.Popen(["true"])
    owner.wait()
    folder = parent / f"pinwheel-demo-{os.getuid()}-{owner.pid}-12345"
    folder.mkdir()
    return folder


def daemon(environ: dict[str, str], *words: str) -> int:
    """Start a process that has left its parent, session and group, and return its pid."""
    script = (
        "import os, subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', *sys.argv[1:]],"
        " start_new_session=True, stdout=subprocess.DEVNULL).pid)"
    )
    return int(subprocess.check_output([sys.executable, "-c", script, *words], env=environ))


def test_a_daemon_that_inherited_the_environment_is_swept(parent: Path) -> None:
    here = stage.Stage.set_up()
    pid = daemon(here.environment())
    stage.sweep(here.folder)
    assert not alive(pid)
    assert not here.folder.exists()


def test_the_shell_of_somebody_who_looks_is_left_alone(parent: Path) -> None:
    here = stage.Stage.set_up()
    pid = daemon({"PATH": os.environ["PATH"], "PWD": str(here.folder)}, f"{here.folder}/index.log")
    try:
        stage.sweep(here.folder)
        assert alive(pid, for_s=0.2)
    finally:
        os.kill(pid, 9)


def test_a_folder_that_is_not_ours_is_no_run(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (parent / f"pinwheel-demo-{os.getuid()}-1-1").symlink_to(elsewhere)
    assert stage.leftovers() == []
    if os.getuid() == 0:
        theirs = parent / f"pinwheel-demo-{os.getuid()}-2-2"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
        assert stage.leftovers() == []


def test_a_run_whose_name_only_begins_alike_is_left_alone(parent: Path) -> None:
    here = stage.Stage.set_up()
    pid = daemon({"PATH": os.environ["PATH"], stage.MARK: f"{here.folder}7"})
    try:
        stage.sweep(here.folder)
        assert alive(pid, for_s=0.2)
    finally:
        os.kill(pid, 9)


def test_the_next_run_finds_what_a_killed_one_left(parent: Path) -> None:
    assert stage.leftovers() == []
    folder = dead_run(parent)
    assert stage.leftovers() == [folder]


def test_a_run_under_way_is_no_leftover(parent: Path) -> None:
    here = stage.Stage.set_up()
    assert here.folder.is_dir()
    assert stage.leftovers() == stage.kept() == []
    stage.sweep(here.folder)


def test_a_kept_run_waits_for_demo_stop(parent: Path) -> None:
    folder = dead_run(parent)
    stage.Stage(folder).keep()
    assert stage.leftovers() == []
    assert stage.kept() == [folder]


def test_children_see_no_setting_of_the_users_own_pinwheel(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "secret")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    here = stage.Stage.set_up()
    environ = here.environment()
    assert "PINWHEEL_TOKEN" not in environ
    assert "XDG_CACHE_HOME" not in environ
    assert environ["HOME"] == str(here.folder / "home")
    stage.sweep(here.folder)
