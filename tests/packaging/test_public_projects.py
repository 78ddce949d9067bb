"""Real input: repositories made from the source distributions of public projects, released and installed.

Flask and what it needs, pytest and what it needs but pygments, and some that others need: flit-core, hatchling with and
without hatch-vcs, poetry-core, setuptools with setuptools-scm and with a C extension.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.packaging.forge import Repository
from tests.packaging.running import RunningIndex

from pinwheel.index.client import IndexClient

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")]

PROJECTS = {
    "blinker": ("1.9.0", "flit_core", "blinker"),
    "click": ("8.1.8", "flit_core", "click"),
    "flask": ("3.1.0", "flit_core", "flask"),
    "idna": ("3.10", "flit_core", "idna"),
    "iniconfig": ("2.1.0", "hatch-vcs", "iniconfig"),
    "itsdangerous": ("2.2.0", "flit_core", "itsdangerous"),
    "jinja2": ("3.1.6", "flit_core", "jinja2"),
    "markupsafe": ("3.0.2", "setuptools", "markupsafe._speedups"),
    "packaging": ("25.0", "flit_core", "packaging.tags"),
    "pluggy": ("1.6.0", "setuptools-scm", "pluggy"),
    "pytest": ("8.4.2", "setuptools-scm", "pytest"),
    "tomlkit": ("0.13.3", "poetry-core", "tomlkit"),
    "urllib3": ("2.5.0", "hatch-vcs", "urllib3"),
    "werkzeug": ("3.1.3", "flit_core", "werkzeug.serving"),
}
"""By name: the version, what builds it, the module to import."""

NEEDS = {
    "flask": {"blinker", "click", "itsdangerous", "jinja2", "markupsafe", "werkzeug"},
    "jinja2": {"markupsafe"},
    "pytest": {"iniconfig", "packaging", "pluggy"},
    "werkzeug": {"markupsafe"},
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIndex]:
    """One of its own: what is released here is no public project any more to the index."""
    running = RunningIndex(tmp_path_factory.mktemp("public"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


def unpacked_sdist(index: RunningIndex, name: str, folder: Path) -> Path:
    """Fetch a source distribution through the index, which asks what pip on this machine is configured for."""
    client = IndexClient(index.url, index.token)
    wanted = f"{name}-{PROJECTS[name][0]}.tar.gz"
    file = next(each for each in client.files(name) if each.filename == wanted)
    folder.mkdir(parents=True)
    with tarfile.open(client.download(file, folder)) as opened:
        opened.extractall(folder / "unpacked")  # noqa: S202 - a registry's sdist, pinned
    (top,) = (folder / "unpacked").iterdir()
    return top


def test_public_projects_are_released_in_order_installed_and_imported(
    index: RunningIndex, tmp_path: Path, make_repository: Callable[[str], Repository]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with ThreadPoolExecutor(4) as pool:
        sources = list(pool.map(lambda name: unpacked_sdist(index, name, tmp_path / "sdists" / name), PROJECTS))
    tables, commits = "", {}
    for name, source in zip(PROJECTS, sources, strict=True):
        version, backend, _module = PROJECTS[name]
        assert backend in (source / "pyproject.toml").read_text()
        remote = make_repository(name)
        shutil.copytree(source, remote.folder, dirs_exist_ok=True)
        commits[name] = remote.commit({}, version)
        tables += f'[projects.{name}]\nrepository = "{remote.address}"\n'
    (home / "pinwheel.toml").write_text(tables)

    released = index.document(home, "packaging.release", "--all")
    releases = {each["name"]: each for each in released["releases"]}
    assert {name: (each["version"], each["commit"]) for name, each in releases.items()} == {
        name: (PROJECTS[name][0], commits[name]) for name in PROJECTS
    }
    order = list(releases)
    assert all(order.index(need) < order.index(name) for name, needs in NEEDS.items() for need in needs), order
    files = [file for each in releases.values() for file in each["files"]]
    assert {file["outcome"] for file in files} == {"published"}
    native = {file["filename"] for file in files if not file["filename"].endswith((".tar.gz", "-none-any.whl"))}
    assert {name.partition("-")[0] for name in native} == {"markupsafe"}
    again = index.document(home, "packaging.release", "--all")
    assert {file["outcome"] for each in again["releases"] for file in each["files"]} == {"already there"}

    venv, report = home / "venv", home / "report.json"
    environ = index.environ(home) | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": IndexClient(index.url, index.token).credentialed_simple_url(),
    }
    for noise in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        environ.pop(noise, None)
    subprocess.run((sys.executable, "-m", "venv", str(venv)), check=True)
    pins = [f"{name}=={version}" for name, (version, _backend, _module) in PROJECTS.items()]
    argv = (str(venv / "bin/pip"), "install", "--quiet", "--report", str(report), *pins)
    subprocess.run(argv, env=environ, check=True, cwd=home)
    installed = {
        each["metadata"]["name"].lower(): each["download_info"]["archive_info"]["hashes"]["sha256"]
        for each in json.loads(report.read_text())["install"]
    }
    assert {name: installed[name] for name in PROJECTS} == {
        name: next(file["sha256"] for file in each["files"] if file["filename"].endswith(".whl"))
        for name, each in releases.items()
    }
    modules = ", ".join(module for _version, _backend, module in PROJECTS.values())
    subprocess.run((venv / "bin/python", "-I", "-c", f"import {modules}"), check=True)
