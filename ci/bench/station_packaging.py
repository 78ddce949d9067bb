"""Packaging: ten packages released again with nothing changed, against the loop of clone, build and upload."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ci.bench import children, machine, peers
from ci.bench.children import timed
from ci.bench.figures import PINWHEEL, Figure, Table
from ci.bench.index_for_bench import pinwheel_index, token

PACKAGES, QUICK_PACKAGES = 10, 3
ROUNDS, QUICK_ROUNDS = 3, 1
TAG = "v1.0.0"

LOOP = "clone, build, twine"
LOOP_UV = "clone, build --installer uv, twine"

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
description = "A package to measure with."
requires-python = ">=3.10"
"""


@dataclass(slots=True)
class Taken:
    """Seconds of wall time and of CPU, one of each for each round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def table(folder: Path, *, quick: bool) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove."""
    names = [f"bench-part-{number}" for number in range(QUICK_PACKAGES if quick else PACKAGES)]
    repositories = {name: make_repository(folder / "repositories" / name, name) for name in names}
    first: dict[str, Taken] = {}
    again: dict[str, Taken] = {}
    with contextlib.ExitStack() as running:
        index = running.enter_context(pinwheel_index(folder, "--upstream", "auto"))
        stock = {
            installer: running.enter_context(peers.pypiserver(_made(folder / installer), folder / f"{installer}.log"))
            for installer in ("uv", "pip")
        }
        env = os.environ | {
            "PINWHEEL_TOKEN": token(index.data, folder / "token.log"),
            "PINWHEEL_CONFIG": str(write_configuration(folder, index.url, repositories)),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        subjects: dict[str, Callable[[], children.Spent]] = {
            PINWHEEL: lambda: release_all(folder, env),
            LOOP_UV: lambda: loop(folder, repositories, stock["uv"], "uv"),
            LOOP: lambda: loop(folder, repositories, stock["pip"], "pip"),
        }
        for subject, work in subjects.items():
            _note(first, subject, work())
        for _ in range(QUICK_ROUNDS if quick else ROUNDS):
            for subject, work in subjects.items():
                _note(again, subject, work())
        said = release_all(folder, env).output
        if "published" in said:
            raise children.BenchFailed(f"a release of what is there already published something:\n{said}")
    count = len(names)
    figures = [
        Figure(f"release of {count}, {when}", subject, unit, tuple(getattr(taken[subject], what)))
        for when, taken, what, unit in (
            ("nothing changed", again, "wall_s", "s"),
            ("nothing changed", again, "cpu_s", "CPU s"),
            ("all for the first time", first, "wall_s", "s"),
        )
        for subject in subjects
    ]
    return Table(
        "packaging",
        tuple(figures),
        (
            f"{count} packages of one module, hatchling, each in a repository of its own on this disk",
            "the loop uploads to stock pypiserver and takes its refusal for «already there», as --skip-existing would",
            "its isolated builds ask the registry what there is, each time; the first round is not counted",
            "CPU without the index's",
        ),
    )


def release_all(folder: Path, env: dict[str, str]) -> children.Spent:
    """pinwheel's way: one command for all."""
    return timed((machine.program("pinwheel"), "packaging.release", "--all"), folder / "release.log", env=env)


def loop(folder: Path, repositories: dict[str, Path], stock: str, installer: str) -> children.Spent:
    """The shell's way: the same three commands for each repository."""
    wall_s = cpu_s = 0.0
    work = folder / "loop"
    python = machine.program("python")
    for name, repository in repositories.items():
        clone = work / name
        commands = (
            ("git", "clone", "--quiet", "--depth", "1", "--branch", TAG, f"file://{repository}", str(clone)),
            (python, "-P", "-m", "build", "--installer", installer, str(clone)),
            (
                *(python, "-P", "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"),
                *("--repository-url", stock, "--username", "bench", "--password", "bench"),
                *(str(clone / "dist" / f"{name.replace('-', '_')}-1.0.0{end}") for end in ENDS),
            ),
        )
        for command in commands:
            spent = timed(command, folder / "loop.log", accept=_done_or_there)
            wall_s += spent.wall_s
            cpu_s += spent.cpu_s
    removed = timed(("rm", "-rf", str(work)), folder / "loop.log")
    return children.Spent(wall_s + removed.wall_s, cpu_s, "")


ENDS = ("-py3-none-any.whl", ".tar.gz")


def _done_or_there(code: int, output: str) -> bool:
    # stock pypiserver tells twine 400 where it tells others 409
    return code == 0 or "HTTPError: 400 Bad Request" in output


def _note(taken: dict[str, Taken], subject: str, spent: children.Spent) -> None:
    of = taken.setdefault(subject, Taken())
    of.wall_s.append(spent.wall_s)
    of.cpu_s.append(spent.cpu_s)


def make_repository(folder: Path, name: str) -> Path:
    """A git repository with one module, tagged."""
    module = folder / name.replace("-", "_") / "__init__.py"
    module.parent.mkdir(parents=True)
    module.write_text(f'"""A package to measure with."""\n\nNAME = "{name}"\n')
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name).lstrip())
    (folder / "README.md").write_text(f"# {name}\n")
    someone = {"GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@example.invalid"}
    someone |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in someone.items()}
    env = os.environ | someone | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for words in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("add", "."),
        ("commit", "--quiet", "-m", "Start"),
        ("tag", TAG),
    ):
        timed(("git", "-C", str(folder), *words), folder.with_suffix(".log"), env=env)
    return folder


def write_configuration(folder: Path, url: str, repositories: dict[str, Path]) -> Path:
    """A pinwheel.toml for these repositories."""
    lines = ["[index]", f'url = "{url}"', "", "[packaging]", f'cache = "{folder / "cache"}"']
    for name, repository in repositories.items():
        lines += ["", f"[projects.{name}]", f'repository = "{repository}"']
    file = folder / "pinwheel.toml"
    file.write_text("\n".join([*lines, ""]))
    return file


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
