"""What a host has to make a release from: an installer, and releases with which another one may share files."""

from __future__ import annotations

import importlib.util
import sysconfig

from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.runner import Job, run
from pinwheel.deploy.host.supervisord import CALL_S


def uv_version(job: Job) -> str | None:
    """The version of the host's uv; None when there is none, or none that runs on this machine."""
    try:
        code, said = run(job, (str(job.root / "bin/uv"), "--version"), CALL_S)
    except OSError:  # not there, or of another machine
        return None
    words = said.split()
    return words[1] if code == 0 and len(words) > 1 else None


def has_pip() -> bool:
    """Can this Python make a virtualenv with pip in it? Debian's cannot before python3-venv is installed."""
    return bool(importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"))


def abi() -> str:
    """What compiled code on this Python is made for. Only releases of the same can share files."""
    return f"{sysconfig.get_config_var('SOABI')} {importlib.util.MAGIC_NUMBER.hex()}"


def wheels_of(about: Document) -> dict[str, Document]:
    """By name, the distributions of a release that another one may share; none when it was made for another Python,
    or by a pinwheel that did not write them down."""
    return dict(about.get("wheels") or {}) if about.get("abi") == abi() else {}
