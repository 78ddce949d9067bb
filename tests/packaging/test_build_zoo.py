"""Every backend of the zoo, through the whole pipeline twice: the same bytes on another path, with another umask, in
another time zone, from files of other ages; build dependencies come from one running index and its cache."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.build_zoo import NAME, PROJECTS
from tests.packaging.forge import Repository, Workshop
from tests.packaging.running import RunningIndex

from pinwheel.index.client import IndexClient
from pinwheel.packaging.building import isolation
from pinwheel.packaging.building.commit import build
from pinwheel.packaging.building.reproduction import reproduce
from pinwheel.packaging.releasing.survey import resolve
from pinwheel.packaging.work import Wanted
from pinwheel.packaging.workspace import below

pytestmark = pytest.mark.slow


@pytest.fixture
def client(index: RunningIndex) -> IndexClient:
    return IndexClient(index.url, index.token)


@pytest.fixture
def workshop(tmp_path: Path, index: RunningIndex, client: IndexClient, uv_cache: Path) -> Workshop:
    """Tools that build with what the index has."""
    return Workshop(tmp_path / "workshop", client.simple_url(), uv_cache, token=index.token)


@pytest.mark.parametrize("backend", PROJECTS)
def test_a_backend_is_built_without_a_network_and_twice_to_the_same_bytes(
    backend: str, workshop: Workshop, client: IndexClient, make_repository: Callable[[str], Repository], tmp_path: Path
) -> None:
    project = PROJECTS[backend]
    if project.native and not shutil.which("cc"):
        pytest.skip("needs a C compiler")
    remote = make_repository("zoo")
    commit = remote.commit(project.files, "v1.4.0")
    (job,), failures = resolve([Wanted(remote.address, name=NAME, declared=True)], workshop.tools)
    assert not failures
    first = build(job, workshop.tools, below(tmp_path, "first"))
    assert first.findings == ()
    sdist, wheel = first.artifacts
    assert (sdist.path.name, wheel.path.name.endswith("-none-any.whl")) == ("acme_zoo-1.4.0.tar.gz", not project.native)
    with zipfile.ZipFile(wheel.path) as archive:
        assert any(name.startswith(project.member) for name in archive.namelist()), archive.namelist()
    for artifact in first.artifacts:
        assert artifact.provenance
        assert artifact.provenance.commit == commit
        assert artifact.provenance.network == ("none" if isolation.cut_off() else "open")
        for each in artifact.provenance.dependencies:
            assert each.sha256 in {file.sha256 for file in client.files(each.name) if file.version == each.version}
    differences = reproduce(job, workshop.tools, first, below(tmp_path, "a second/time"))
    assert not differences, "\n".join(map(str, differences))
