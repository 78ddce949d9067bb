"""Clients that nobody here wrote, in environments of their own, and a home that holds nothing of this machine's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.index.running import environment

ABSENT = ("No solution found", "not found in the package registry", "no versions of")


@dataclass
class Tools:
    """Programs by what was installed for them, each in a virtual environment below `folder` that is made once."""

    folder: Path
    made: dict[tuple[str, ...], Path] = field(default_factory=dict)

    def bin(self, *requirements: str) -> Path:
        """The programs of an environment with `requirements`; skips where the registry has no such version."""
        if requirements not in self.made:
            self.made[requirements] = self._install(requirements)
        return self.made[requirements]

    def _install(self, requirements: Sequence[str]) -> Path:
        place = self.folder / "".join(char if char.isalnum() else "-" for char in "_".join(requirements))
        known = environment(UV_DEFAULT_INDEX=registry(), UV_CACHE_DIR=str(self.folder / "uv-cache"))
        if os.environ.get("PIP_CERT"):
            known["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
        for argv in (
            ("venv", "--quiet", "--python", sys.executable, str(place)),
            ("pip", "install", "--quiet", "--python", str(place), *requirements),
        ):
            done = subprocess.run(
                (uv(), *argv), env=known, capture_output=True, text=True, timeout=300, check=False, cwd=self.folder
            )
            if any(words in done.stderr for words in ABSENT):
                pytest.skip(f"the registry has not what this needs: {', '.join(requirements)}")
            assert done.returncode == 0, done.stderr
        return place / "bin"


@dataclass(frozen=True)
class Home:
    """A home folder and a folder to work in; clients that are run here know nothing else of this machine."""

    home: Path
    work: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, told: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; `told` is all that is to be read from standard input."""
        return subprocess.run(
            [str(word) for word in argv],
            env={**self.environ(), **(env or {})},
            cwd=self.work,
            input=told,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def done(self, *argv: str | Path, env: Mapping[str, str] | None = None, told: str = "") -> str:
        """The standard output of a command that must succeed."""
        ended = self.run(*argv, env=env, told=told)
        assert ended.returncode == 0, f"{' '.join(map(str, argv[:3]))}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def environ(self) -> Mapping[str, str]:
        nothing = self.home / "machine"
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "COLUMNS": "1000",  # nobody folds a message
            "XDG_CONFIG_DIRS": str(nothing),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PDM_CHECK_UPDATE": "false",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            **self.variables,
        }


def uv() -> str:
    """The uv that the project itself depends on."""
    from uv import find_uv_bin

    return find_uv_bin()


def registry() -> str:
    """The simple index that pip on this machine is configured for, else the one that pip has built in."""
    argv = [sys.executable, "-P", "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    if os.environ.get("PIP_INDEX_URL") or configured:
        return os.environ.get("PIP_INDEX_URL") or configured
    from pip._internal.models.index import PyPI

    return PyPI.simple_url
