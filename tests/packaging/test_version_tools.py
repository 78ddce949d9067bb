"""Backends that ask git: they get the tag's version, and ship every file that git knows."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable

import pytest
from tests.packaging.forge import Repository, Workshop

from pinwheel.packaging.building.commit import build
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.releasing.survey import resolve
from pinwheel.packaging.work import Release, Wanted
from pinwheel.packaging.workspace import workspace

pytestmark = pytest.mark.slow

SCM = """[build-system]
requires = ["setuptools>=77", "setuptools-scm>=8"]
build-backend = "setuptools.build_meta"
[project]
name = "acme-scm"
dynamic = ["version"]
requires-python = ">=3.10"
[tool.setuptools]
packages = ["acme_scm"]
include-package-data = true
[tool.setuptools_scm]
version_file = "acme_scm/_version.py"
"""
VCS = """[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"
[project]
name = "acme-scm"
dynamic = ["version"]
requires-python = ">=3.10"
[tool.hatch.version]
source = "vcs"
[tool.hatch.build.hooks.vcs]
version-file = "acme_scm/_version.py"
"""


@pytest.mark.parametrize("pyproject", [SCM, VCS], ids=["setuptools-scm", "hatch-vcs"])
def test_a_dynamic_version_is_the_tags_and_no_file_is_lost(
    pyproject: str, workshop: Workshop, make_repository: Callable[[str], Repository]
) -> None:
    remote = make_repository("scm")
    files = {"acme_scm/__init__.py": "", "acme_scm/data.json": "{}", ".gitignore": "_version.py\n"}
    remote.commit(files | {"pyproject.toml": pyproject}, "v1.4.0")
    (made,) = release([Wanted(remote.address, name="acme-scm", declared=True)], workshop.tools)
    assert isinstance(made, Release), made
    assert (made.version, made.findings) == ("1.4.0", ())
    sdist, wheel = (workshop.shelf.blobs["acme-scm", file.filename] for file in made.files)
    with tarfile.open(fileobj=io.BytesIO(sdist)) as archive:
        assert "acme_scm-1.4.0/acme_scm/data.json" in archive.getnames()
    with zipfile.ZipFile(io.BytesIO(wheel)) as unzipped:
        assert {"acme_scm/data.json", "acme_scm/_version.py"} <= {*unzipped.namelist()}


def test_a_branch_is_built_as_a_development_version(
    workshop: Workshop, make_repository: Callable[[str], Repository]
) -> None:
    remote = make_repository("scm")
    remote.commit({"acme_scm/__init__.py": "", "pyproject.toml": VCS}, "v1.4.0")
    remote.commit({"acme_scm/more.py": ""})
    ((job,), _failures) = resolve([Wanted(remote.address, "main")], workshop.tools, publishable=False)
    with workspace() as folder:
        assert str(build(job, workshop.tools, folder).version) == "1.4.1.dev1"
