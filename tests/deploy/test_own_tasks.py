"""The example of a deploy of one's own, by `inv` as its users run it."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.deploy.deployment import DEADLINE_S, Ended, Site, standing

from pinwheel.deploy import commands
from pinwheel.deploy.planning.plan import Plan
from pinwheel.deploy.planning.report import Report
from pinwheel.deploy.rolling import operate
from pinwheel.deploy.rolling.session import Session
from pinwheel.deploy.showing import watch

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-tasks" / "tasks.py"


def inv(folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Run Invoke in a folder in which the example lies."""
    shutil.copy(EXAMPLE, folder)
    argv = [sys.executable, "-P", "-m", "invoke", *words]
    done = subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=2 * DEADLINE_S
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def test_tasks_of_ones_own_stand_among_those_of_pinwheel(tmp_path: Path) -> None:
    listed = inv(tmp_path, "--list")
    assert listed.code == 0, listed.err
    names = {line.split()[0] for line in listed.out.splitlines() if line.strip()}
    assert {"ship", "deploy.rollout", "packaging.release", "index.serve"} <= names


def test_an_error_of_ones_own_task_is_told_as_those_of_pinwheel_are(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PINWHEEL_")}
    ended = inv(tmp_path, "ship", "shop==1.0.0", "--env", "nowhere", environ=environ)
    assert ended.code == 2
    assert ended.err.startswith("error: there is no environment 'nowhere'")
    assert "Traceback" not in ended.err


def test_the_page_names_pieces_that_there_are() -> None:
    page = (EXAMPLE.parents[2] / "docs" / "deploy-in-python.md").read_text()
    pieces = dict(re.findall(r"^\| (.*?) \| (.*) \|$", page, re.MULTILINE))
    for piece, kind in (("`session`", Session), ("the plan", Plan), ("the report", Report)):
        named = re.findall(r"`\.(\w+)", re.sub(r"\(.*?\)", "", pieces[piece]))
        assert named
        assert [each for each in named if each not in (*kind.__dataclass_fields__, *vars(kind))] == []
    acts = re.findall(r"`(\w+)`", pieces["`pinwheel.deploy.rolling.operate`"].partition(":")[0])
    assert {"planned", "rolled_out"} <= {*acts} <= {*vars(operate)}
    heard = re.findall(r"`(\w+)`", re.findall(r"\(.*?\)", pieces["`pinwheel.deploy.showing.watch`"])[0])
    assert {"said", "ended"} <= {*heard} <= {*dir(watch.Watcher)}
    for function in (commands.session_of, commands.finish):
        (told,) = (each for each in pieces if each.startswith(f"`pinwheel.deploy.commands.{function.__name__}("))
        named = [each.partition("=")[0] for each in told.partition("(")[2].rstrip("`)").split(", ")]
        assert {*named} <= {*inspect.signature(function).parameters}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with standing(tmp_path, "h1") as made:
        assert made.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        yield made


@pytest.mark.slow
def test_it_ships_what_visitors_get_and_takes_back_what_they_do_not_get(site: Site) -> None:
    def ship(version: str) -> Ended:
        return inv(site.folder, "ship", f"tiny=={version}", "--env", "live", environ=site.environ)

    frozen = site.folder / "FREEZE"
    frozen.write_text("stocktaking until Monday\n")
    ended = ship("1.0.0")
    assert (ended.code, set(site.answers().values())) == (1, {""}), ended.err
    assert "error: nothing is shipped now: stocktaking until Monday" in ended.err
    frozen.unlink()

    ended = ship("1.0.0")
    assert (ended.code, set(site.answers().values())) == (0, {"1.0.0"}), ended.err
    assert "done: tiny 1.0.0 runs on 1 host" in ended.err
    assert ship("1.0.0").out == "nothing to do: tiny 1.0.0 runs on every host\n"

    # its host goes back by itself, and the report's exit code is the task's
    ended = ship("1.2.0")
    assert (ended.code, set(site.answers().values())) == (1, {"1.0.0"}), ended.err

    site.publish("1.3.0", says="under construction")
    ended = ship("1.3.0")
    assert (ended.code, set(site.answers().values())) == (1, {"1.0.0"}), ended.err
    assert "visitors do not get tiny==1.3.0 from h1: going back" in ended.err
    assert "done: tiny 1.0.0 runs on 1 host" in ended.err
