"""`python3 tasks.py` on a fresh checkout, and the four ways in which the distribution is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE_PYTHON = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
IMPORT_ALL = "import pinwheel.index, pinwheel.packaging, pinwheel.deploy, pinwheel.config"

without_ensurepip = """
import importlib.util, runpy, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "ensurepip" else real(name, *rest)
sys.argv = ["tasks.py", "test"]
runpy.run_path("tasks.py", run_name="__main__")
"""


def run(argv: Sequence[str], cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(argv), cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, check=False, timeout=300
    )


def good(argv: Sequence[str], cwd: Path, **environ: str) -> str:
    ended = run(argv, cwd, **environ)
    assert ended.returncode == 0, f"{argv}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what git tracks, as it is in the working tree now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    copy = tmp_path / "checkout"
    for name in listed.stdout.splitlines():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def test_a_python_without_ensurepip_is_told_what_to_install(checkout: Path) -> None:
    said = run([BASE_PYTHON, "-c", without_ensurepip], checkout)
    assert said.returncode == 1
    assert "sudo apt-get install python3-venv" in said.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_a_lock_that_does_not_match_leaves_no_stamp_and_names_the_command(checkout: Path) -> None:
    (checkout / "ci" / "requirements.lock").write_text("no-such-project-by-this-name==1.0 --hash=sha256:00\n")
    said = run([BASE_PYTHON, "tasks.py", "--list"], checkout)
    assert said.returncode == 1
    assert "error: .venv could not be made" in said.stderr
    assert not (checkout / ".venv" / "pinwheel-stamp").exists()


@pytest.mark.slow
def test_tasks_py_makes_venv_and_makes_it_anew_only_when_something_changed(checkout: Path) -> None:
    first = run([BASE_PYTHON, "tasks.py", "--list"], checkout)
    assert first.returncode == 0, first.stderr
    assert "deploy.rollout" in first.stdout
    assert "making" in first.stderr
    second = run([BASE_PYTHON, "tasks.py", "--list"], checkout)
    assert second.stderr == ""
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    assert "making" in run([BASE_PYTHON, "tasks.py", "--list"], checkout).stderr


@pytest.mark.slow
def test_an_interrupted_bootstrap_is_finished_by_the_next(checkout: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        child = subprocess.Popen([BASE_PYTHON, "tasks.py", "--list"], cwd=checkout, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        while not child.stderr.readline().startswith("making"):
            assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(3)  # in the middle of making
        child.send_signal(number)
        assert child.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
        assert not (checkout / ".venv" / "pinwheel-stamp").exists()
    # what the killed one had started goes on, and must not work in .venv beside the next
    last = subprocess.run([BASE_PYTHON, "tasks.py", "--list"], cwd=checkout, capture_output=True, text=True, check=True)
    assert last.stderr.startswith("waiting for another run")
    assert "deploy.rollout" in last.stdout


@pytest.mark.slow
def test_four_ways_to_install_give_the_same_commands(checkout: Path, tmp_path: Path) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    home = str(tmp_path / "home")
    build = [sys.executable, "-P", "-m", "build", "--installer", "uv", "--outdir"]
    good([*build, str(tmp_path / "tree"), "--wheel", str(checkout)], tmp_path)
    good([*build, str(tmp_path / "via-sdist"), str(checkout)], tmp_path)  # sdist, then the wheel from it
    from_tree = next((tmp_path / "tree").glob("*.whl"))
    from_sdist = next((tmp_path / "via-sdist").glob("*.whl"))

    lists = []
    for name, what in (("a", ["-e", str(checkout)]), ("b", [str(from_tree)]), ("c", [str(from_sdist)])):
        folder = tmp_path / name
        good([uv, "venv", "--quiet", "--python", BASE_PYTHON, str(folder)], tmp_path)
        good([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *what], tmp_path)
        good([str(folder / "bin/python"), "-c", IMPORT_ALL], tmp_path)
        lists.append(good([str(folder / "bin/pinwheel"), "--list"], tmp_path, HOME=home))

    good([uv, "sync", "--quiet", "--python", BASE_PYTHON], checkout, VIRTUAL_ENV="")
    good([str(checkout / ".venv/bin/python"), "-c", IMPORT_ALL], tmp_path)
    lists.append(good([str(checkout / ".venv/bin/pinwheel"), "--list"], tmp_path, HOME=home))
    assert len(set(lists)) == 1

    def contents(wheel: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}

    assert contents(from_tree) == contents(from_sdist)
    tops = {name.partition("/")[0] for name in contents(from_tree)}
    assert tops == {"pinwheel", "pinwheel_kit-0.1.0.dist-info"}
    assert "pinwheel/__init__.py" not in contents(from_tree)
    information = {name.partition("/")[2] for name in contents(from_tree) if ".dist-info/" in name}
    assert information == {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert {"pinwheel/example.toml", "pinwheel/examples/acme-shop/pyproject.toml"} <= set(contents(from_tree))
