"""The stores that indexes are measured over: folders of small wheels, as pypiserver serves them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ci.bench import wheels

ASKED = "asked"
"""The project whose page is asked for. It is the same in each store, so that only the store's size differs."""
ASKED_VERSIONS = 10
BIG = "big"
BIG_BYTES = 2**20
INSTALLED = "part"
"""The first of the packages that an install brings; the others are its dependencies."""


@dataclass(frozen=True, slots=True)
class Store:
    """`wheels` is about how many there are in `folder`: those few that are measured come on top."""

    wheels: int
    projects: int
    folder: Path

    @property
    def label(self) -> str:
        return f"{self.wheels:,} wheels"


def many_projects(folder: Path, count: int, projects: int, parts: int) -> Store:
    """`count` small wheels of `projects` projects; one of 1 MiB; `parts` that depend on one another."""
    store = _with_asked(folder, count, projects, ASKED_VERSIONS)
    for number in range(count):
        project, version = number % projects, number // projects
        name = f"project-{project:04d}"
        wheels.write(folder, name, f"1.{version}", {f"project_{project:04d}.py": b"answer = 42\n"})
    for number in range(parts):
        # a tree: each one's metadata has to be there before the next are known
        below = [part_name(each) for each in (2 * number + 1, 2 * number + 2) if each < parts]
        wheels.write(folder, part_name(number), "1.0", {f"part_{number}.py": b"x = 1\n" * 2000}, requires=below)
    # random bytes: stored as they are, and no server can shrink them on the way
    wheels.write(folder, BIG, "1.0", {"big/data.bin": os.urandom(BIG_BYTES)})
    return store


def one_project(folder: Path, count: int) -> Store:
    """`count` small wheels of one project."""
    return _with_asked(folder, count, 1, count)


def part_name(number: int) -> str:
    return f"{INSTALLED}-{number}" if number else INSTALLED


def _with_asked(folder: Path, count: int, projects: int, versions: int) -> Store:
    folder.mkdir(parents=True)
    for version in range(versions):
        wheels.write(folder, ASKED, f"1.{version}", {"asked.py": b"answer = 42\n"})
    return Store(count, projects, folder)
