"""Virtualenvs and what is installed into them: by uv, or where it does not run by the distribution's own pip."""

from __future__ import annotations

import errno
import os
import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path

from pinwheel.deploy.host.gate import tail
from pinwheel.deploy.host.means import has_pip, uv_version
from pinwheel.deploy.host.runner import Given, Job, run
from pinwheel.deploy.host.supervisord import Refusal

TOOL_S = 900.0
AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


class Installer:
    """Makes virtualenvs and installs into them. Its methods raise `Refusal` prepare-failed, aborted, and ENOSPC.

    With `links`, a folder of wheels, no index is asked. Tools inherit the host's lock `held`: should the runner be
    killed, nobody starts beside them.
    """

    def __init__(self, job: Job, held: int, links: Path | None = None) -> None:
        """Raises `Refusal` not-ready when neither uv nor pip is there."""
        self._job, self._held, self._links = job, held, links
        self._uv = str(job.root / "bin/uv") if uv_version(job) else ""
        self.name = "uv" if self._uv else "pip"
        if not self._uv and not has_pip():
            problem = f"no uv runs here, and {job.python} has no ensurepip to make a virtualenv with pip"
            raise Refusal("not-ready", problem, job.host, "run deploy.bootstrap, or install python3-venv on the host")

    def make(self, folder: Path) -> None:
        """A new virtualenv at `folder`."""
        if self._uv:
            self._tool(self._uv, "venv", "--no-project", "--python", self._job.python, str(folder))
        else:
            self._tool(self._job.python, "-I", "-m", "venv", str(folder))

    def install(self, folder: Path, requirements: str) -> None:
        """Exactly the wheels that `requirements` name by their hashes, and their bytecode.

        Compiled now, while nobody waits: what a program imports for the first time it would compile while it starts,
        and each time anew when its user may not write here.
        """
        listed, cache = self._job.root / "tmp/requirements.txt", self._job.root / "cache"
        listed.write_text(requirements)
        forget(cache)  # what one left that was killed
        strict = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(listed))
        offline = ("--no-index", "--find-links", str(self._links)) if self._links else ()
        python = str(folder / "bin/python")
        try:
            if self._uv:
                self._tool(self._uv, "pip", "install", "--compile-bytecode", "--python", python, *offline, *strict)
            else:
                self._tool(python, "-I", "-m", "pip", "install", *offline, *strict)
        finally:
            listed.unlink()
            forget(cache)

    def check(self, folder: Path, module: str) -> None:
        """The release's Python can import `module`."""
        self._tool(str(folder / "bin/python"), "-I", "-c", f"import {module}")

    def _tool(self, *argv: str) -> None:
        """Run a tool that must succeed. The index's credential is in its environment, in no argv and no file."""
        job = self._job
        code, output = run(job, argv, TOOL_S, environment(job), (self._held,))
        job.check()
        if code != 0 and any(f"{word} {errno.ENOSPC}" in output for word in ("(os error", "[Errno")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.root))
        if code != 0:
            ending = f"did not end within {TOOL_S:g} s" if code is None else f"failed with exit code {code}"
            problem = f"{' '.join((Path(argv[0]).name, *argv[1:3]))} … {ending}:\n{tail(output)}"
            raise Refusal("prepare-failed", problem, job.host, "correct it and run again")


def environment(job: Job) -> dict[str, str]:
    """What uv and pip hear: the one index, the authorities that the host trusts, and nobody's settings."""
    index, cache = job.body["index_url"], str(job.root / "cache")
    uv = {"UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_DEFAULT_INDEX": index, "UV_CACHE_DIR": cache}
    # uv's own list of authorities knows no private one. The second is its old name for that
    uv |= {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_NO_CACHE_DIR": "1", "PIP_NO_INPUT": "1"}
    pip |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    known = (ssl.get_default_verify_paths().cafile, *AUTHORITIES)
    pip |= {"PIP_CERT": next((each for each in known if each and Path(each).exists()), "")}
    return {**uv, **pip, "TMPDIR": str(job.root / "tmp")}


def forget(cache: Path) -> None:
    """Leave nothing in uv's cache but what it knows of interpreters.

    uv links files from its cache into every release, and believes them ever after. Whoever changed one of them in one
    release would have changed them all, and every release to come.
    """
    for each in cache.glob("*"):
        if each.is_dir() and not each.name.startswith("interpreter"):
            shutil.rmtree(each)


def pinned(wheels: Sequence[Given]) -> str:
    """Requirements that exactly these wheels fulfil, each by its name, version and sha256."""
    return "".join(f"{each['name']}=={each['version']} --hash=sha256:{each['sha256']}\n" for each in wheels)
