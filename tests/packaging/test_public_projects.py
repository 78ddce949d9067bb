"""Real input: repositories made from the source distributions of public projects, released and installed.

flit-core, hatchling and setuptools with a C extension; the third has dependencies of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.forge import Repository
from tests.packaging.running import RunningIndex

from pinwheel.index.client import IndexClient

pytestmark = pytest.mark.slow

PROJECTS = {
    "itsdangerous": ("itsdangerous==2.2.0", "flit_core", "itsdangerous"),
    "iniconfig": ("iniconfig==2.1.0", "hatchling", "iniconfig"),
    "markupsafe": ("markupsafe==3.0.2", "setuptools", "markupsafe._speedups"),
    "jinja2": ("jinja2==3.1.6", "flit_core", "jinja2"),
}
"""By name: what to fetch, the build backend that it uses, the module to import."""


def unpacked_sdist(pin: str, folder: Path) -> Path:
    """Fetch a source distribution as pip on this machine is configured to, and unpack it."""
    folder.mkdir()
    argv = (sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps")
    subprocess.run((*argv, "--no-binary", ":all:", pin), cwd=folder, check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked")  # noqa: S202 - a registry's sdist, pinned
    (top,) = (folder / "unpacked").iterdir()
    return top


@pytest.mark.parametrize("name", PROJECTS)
def test_a_public_project_is_released_installed_and_imported(
    name: str,
    index: RunningIndex,
    tmp_path: Path,
    make_repository: Callable[[str], Repository],
) -> None:
    pin, backend, module = PROJECTS[name]
    if name == "markupsafe" and not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    remote = make_repository(name)
    source = unpacked_sdist(pin, tmp_path / "sdist")
    assert backend in (source / "pyproject.toml").read_text()
    shutil.copytree(source, remote.folder, dirs_exist_ok=True)
    version = pin.partition("==")[2]
    commit = remote.commit({}, version)
    home = tmp_path / "home"

    released = index.document(home, "packaging.release", "--repo", remote.address, "--ref", version)
    (release,) = released["releases"]
    assert (release["name"], release["version"], release["commit"]) == (name, version, commit)
    assert [file["outcome"] for file in release["files"]] == ["published", "published"]
    wheel = release["files"][1]
    assert wheel["filename"].endswith("-none-any.whl") == (name != "markupsafe")
    again = index.document(home, "packaging.release", "--repo", remote.address, "--ref", version)
    assert [file["outcome"] for file in again["releases"][0]["files"]] == ["already there", "already there"]

    venv = home / "venv"
    address = IndexClient(index.url, index.token).credentialed_simple_url()
    environ = index.environ(home) | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": address}
    for noise in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        environ.pop(noise, None)
    subprocess.run((sys.executable, "-m", "venv", str(venv)), check=True)
    report = home / "report.json"
    subprocess.run(
        (venv / "bin/pip", "install", "--quiet", "--report", str(report), pin), env=environ, check=True, cwd=home
    )
    assert wheel["sha256"] in report.read_text()
    subprocess.run((venv / "bin/python", "-I", "-c", f"import {module}"), check=True)
