"""What the hosts of the deploy bench need around them: an index, the application with its locks, pinwheel.toml."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.bench import machine, wheels
from ci.bench.children import timed
from ci.bench.index_for_bench import LOOPBACK, pinwheel_index, token
from ci.bench.rollouts import work
from ci.bench.rollouts.subjects import Command
from ci.bench.rollouts.work import APPLICATION, MODULE

from pinwheel.demo import toml


@dataclass(frozen=True, slots=True)
class Program:
    """The application: its module's source with `{version}` and `{status}`, what it requires, how it is run.

    `command` has `{release}` and `{port}`; `run_as` may be empty.
    """

    source: str
    requires: tuple[str, ...]
    scripts: Mapping[str, str]
    command: str
    run_as: str = ""

    def write(self, packages: Path, version: str, status: int = 200) -> None:
        """Make the wheel of a version, which answers with that status."""
        source = self.source.replace("{version}", version).replace("{status}", str(status)).encode()
        packages.mkdir(exist_ok=True)
        modules = {f"{MODULE}.py": source}
        wheels.write(packages, APPLICATION, version, modules, requires=self.requires, scripts=self.scripts)


@dataclass(frozen=True, slots=True)
class Desk:
    """`requirements` are the pins of each version."""

    folder: Path
    index_url: str
    requirements: Mapping[str, tuple[str, ...]]
    _env: Mapping[str, str]

    def pinwheel(self, *words: str) -> Command:
        """A command of pinwheel's, with its configuration and token."""
        return Command((machine.program("pinwheel"), *words), self._env)

    def rollout(self, version: str, environment: str) -> Command:
        return self.pinwheel("deploy.rollout", f"{APPLICATION}=={version}", "--env", environment)


@contextlib.contextmanager
def desk(
    folder: Path, program: Program, versions: Sequence[str], environments: Mapping[str, Any], *, host: str = LOOPBACK
) -> Iterator[Desk]:
    """Serve the application, whose wheels are in `folder/packages`, at `host`, with a lock for each version."""
    flags = ("--packages", str(folder / "packages"), "--upstream", "auto", "--anonymous-read")
    with pinwheel_index(folder, *flags, host=host) as index:
        web = {
            "command": program.command.split(),
            "health": {"http": "http://127.0.0.1:{port}/", **work.HEALTH},
            **({"user": program.run_as} if program.run_as else {}),
        }
        document = {
            "index": {"url": index.url},
            "packaging": {"cache": str(folder / "cache")},
            "applications": {APPLICATION: {"programs": {"web": web}}},
            "environments": environments,
        }
        file = folder / "pinwheel.toml"
        file.write_text("".join(toml(document)))
        env = {
            "PINWHEEL_CONFIG": str(file),
            "PINWHEEL_TOKEN": token(index.data, folder / "token.log"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        requirements: dict[str, tuple[str, ...]] = {}
        made = Desk(folder, f"{index.url}simple/", requirements, env)
        for version in versions:
            out = folder / "locks" / version
            lock = made.pinwheel("packaging.lock", f"{APPLICATION}=={version}", "--out", str(out))
            timed(lock.argv, folder / "lock.log", env=os.environ | lock.env)
            (text,) = out.glob("*requirements.txt")
            requirements[version] = work.pins(text.read_text())
        yield made
