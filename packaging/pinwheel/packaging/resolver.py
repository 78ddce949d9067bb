"""uv, asked for the private index and nothing else: the one place where pinwheel runs it on this side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pinwheel import process
from pinwheel.errors import PinwheelError

UV_S = 900.0


class PythonMissing(PinwheelError):
    """A Python that wheels are wanted for is not on this machine."""


def uv_program() -> str:
    """The uv that is installed with pinwheel."""
    from uv import find_uv_bin

    return find_uv_bin()


@dataclass(frozen=True, slots=True)
class Resolver:
    """uv with the index at `simple_url` (which holds no credential). Its cache is the folder `cache`."""

    simple_url: str
    token: str = field(repr=False)
    ca_file: str
    cache: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    # looked for once, and not by the threads that build: Python's sysconfig, which uv asks, answers the second of two
    # that ask at the same time before it knows anything
    uv: str = field(default_factory=uv_program, repr=False)

    def run(self, words: Sequence[str], *, cwd: Path, log: Path | None = None, stdin: str = "") -> process.Completed:
        """Run `uv WORDS` in `cwd`. No configuration of the user's, the machine's or the project's is read."""
        return process.run((self.uv, *words), cwd=cwd, env=self.variables(), log=log, stdin=stdin, timeout_s=UV_S)

    def python(self, version: str, *, cwd: Path) -> str:
        """The Python `version` ("3.12") of this machine, by its path. None is downloaded, and no virtual environment
        counts. Raises `PythonMissing`."""
        done = self.run(("python", "find", "--system", "--no-project", version), cwd=cwd)
        if done.exit_code:
            said = next(iter(done.errors.splitlines()), "").removeprefix("error: ")
            raise PythonMissing(
                f"Python {version} is not on this machine: {said}",
                remedy=f"install it so that `python{version}` is found, or take it out of `pythons` in pinwheel.toml",
            )
        return done.output.strip()

    def variables(self) -> dict[str, str]:
        """uv's environment. The credential has variables of its own, so that the address stays free of it and no
        lock or message can hold it."""
        variables = {
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": f"pinwheel={self.simple_url}",
            "UV_KEYRING_PROVIDER": "disabled",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CACHE_DIR": str(self.cache),
            "UV_NO_PROGRESS": "1",
            "UV_SYSTEM_CERTS": "1",  # as everything else here does; uv's own list knows no private authority
            "PIP_CONFIG_FILE": os.devnull,
            "NO_COLOR": "1",
        }
        if self.token:
            variables |= {"UV_INDEX_PINWHEEL_USERNAME": "__token__", "UV_INDEX_PINWHEEL_PASSWORD": self.token}
        if self.ca_file:
            variables["SSL_CERT_FILE"] = self.ca_file
        return process.scrubbed(self.environ, **variables)
