"""Packaging: twenty packages of which none, one or all have changed, against the loop of clone, build and upload."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci.bench import children, machine, peers
from ci.bench.children import timed
from ci.bench.figures import PINWHEEL, Figure, Table
from ci.bench.index_for_bench import pinwheel_index, token

PACKAGES, QUICK_PACKAGES = 20, 3
ROUNDS, QUICK_ROUNDS = 2, 1

FIRST = "all for the first time"
LOOP = "clone, build, twine"
LOOP_UV = "clone, build --installer uv, twine"

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "A package to measure with."
requires-python = ">=3.10"
"""


@dataclass(slots=True)
class Taken:
    """Seconds of wall time and of CPU, one of each for each round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def note(self, spent: children.Spent) -> None:
        self.wall_s.append(spent.wall_s)
        self.cpu_s.append(spent.cpu_s)


@dataclass(slots=True)
class Repositories:
    """Packages in a git repository each; `versions` has the newest version of each, which is tagged."""

    folder: Path
    versions: dict[str, int]

    def path(self, name: str) -> Path:
        return self.folder / name

    def change(self, names: Sequence[str]) -> None:
        """Commit and tag a new version of each."""
        for name in names:
            self.versions[name] += 1
            commit_version(self.path(name), name, f"{self.versions[name]}.0.0")


def table(folder: Path, *, quick: bool) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove."""
    names = [f"bench-part-{number}" for number in range(QUICK_PACKAGES if quick else PACKAGES)]
    repositories = Repositories(folder / "repositories", dict.fromkeys(names, 0))
    repositories.change(names)
    rounds = (
        (FIRST, []),
        *(
            (when, changed)
            for _ in range(QUICK_ROUNDS if quick else ROUNDS)
            for when, changed in (("nothing changed", []), ("one changed", names[:1]), ("all changed", names))
        ),
    )
    taken: dict[tuple[str, str], Taken] = {}
    with contextlib.ExitStack() as running:
        index = running.enter_context(pinwheel_index(folder, "--upstream", "auto"))
        env = os.environ | {
            "PINWHEEL_TOKEN": token(index.data, folder / "token.log"),
            "PINWHEEL_CONFIG": str(write_configuration(folder, index.url, repositories)),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        subjects: dict[str, Callable[[], children.Spent]] = {PINWHEEL: lambda: release_all(folder, env)}
        for subject, installer in ((LOOP_UV, "uv"), (LOOP, "pip")):
            if installer == "uv" or not quick:
                stock = running.enter_context(peers.pypiserver(_made(folder / installer), folder / f"{installer}.log"))
                subjects[subject] = functools.partial(loop, folder, repositories, stock, installer)
        for when, changed in rounds:
            repositories.change(changed)
            for subject, work in subjects.items():
                spent = work()
                taken.setdefault((when, subject), Taken()).note(spent)
                wrong = spent.output.count(": released ") != len(changed)
                if subject == PINWHEEL and wrong and when != FIRST:
                    raise children.BenchFailed(f"{when}, and pinwheel did otherwise:\n{spent.output}")
    figures = [
        Figure(f"release of {len(names)}, {when}", subject, unit, tuple(getattr(taken[when, subject], what)))
        for when in dict.fromkeys(when for when, _ in rounds)
        for what, unit in (("wall_s", "s"), ("cpu_s", "CPU s"))
        for subject in subjects
    ]
    return Table(
        "packaging",
        tuple(figures),
        (
            f"{len(names)} packages of one module, hatchling, each in a repository of its own on this disk",
            "the loop uploads to stock pypiserver and takes its refusal for «already there», as --skip-existing would",
            "its isolated builds ask the registry what there is, each time; it does all packages whatever has changed",
            "pinwheel builds as many at the same time as there are cores; CPU without the index's",
        ),
    )


def release_all(folder: Path, env: dict[str, str]) -> children.Spent:
    """pinwheel's way: one command for all."""
    return timed(
        (machine.program("pinwheel"), "packaging.release", "--all", "--changed"), folder / "release.log", env=env
    )


def loop(folder: Path, repositories: Repositories, stock: str, installer: str) -> children.Spent:
    """The shell's way: the same three commands for each repository."""
    wall_s = cpu_s = 0.0
    work = folder / "loop"
    python = machine.program("python")
    for name, version in repositories.versions.items():
        clone, address = work / name, f"file://{repositories.path(name)}"
        commands = (
            ("git", "clone", "--quiet", "--depth", "1", "--branch", f"v{version}.0.0", address, str(clone)),
            (python, "-P", "-m", "build", "--installer", installer, str(clone)),
            (
                *(python, "-P", "-m", "twine", "upload", "--non-interactive", "--disable-progress-bar"),
                *("--repository-url", stock, "--username", "bench", "--password", "bench"),
                *(str(clone / "dist" / f"{name.replace('-', '_')}-{version}.0.0{end}") for end in ENDS),
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


def commit_version(folder: Path, name: str, version: str) -> None:
    """Commit the version of a package of one module to its git repository, made if need be, and tag it."""
    first = not folder.exists()
    module = folder / name.replace("-", "_") / "__init__.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(f'"""A package to measure with."""\n\nNAME = "{name}"\nVERSION = "{version}"\n')
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name, version=version).lstrip())
    (folder / "README.md").write_text(f"# {name}\n")
    someone = {"GIT_AUTHOR_NAME": "bench", "GIT_AUTHOR_EMAIL": "bench@example.invalid"}
    someone |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in someone.items()}
    env = os.environ | someone | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for words in (
        *([("init", "--quiet", "--initial-branch", "main")] if first else []),
        ("add", "."),
        ("commit", "--quiet", "-m", version),
        ("tag", f"v{version}"),
    ):
        timed(("git", "-C", str(folder), *words), folder.with_suffix(".log"), env=env)


def write_configuration(folder: Path, url: str, repositories: Repositories) -> Path:
    """A pinwheel.toml for these repositories."""
    lines = ["[index]", f'url = "{url}"', "", "[packaging]", f'cache = "{folder / "cache"}"']
    for name in repositories.versions:
        lines += ["", f"[projects.{name}]", f'repository = "{repositories.path(name)}"']
    file = folder / "pinwheel.toml"
    file.write_text("\n".join([*lines, ""]))
    return file


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
