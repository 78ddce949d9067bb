"""Every beast of the zoo is let in or kept out, for the reason that it is named for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.zoo import ILLEGAL, LEGAL, VERSIONS, Beast, document, sdist

from pinwheel import archive
from pinwheel.archive import BadArchive


@pytest.mark.parametrize("beast", LEGAL, ids=str)
def test_what_is_legal_is_let_in(tmp_path: Path, beast: Beast) -> None:
    (tmp_path / "file").write_bytes(beast.content)
    found = archive.read(tmp_path / "file", beast.filename)
    assert (found.name, str(found.version)) == (beast.project, beast.version)
    assert found.core_metadata


@pytest.mark.parametrize("beast", ILLEGAL, ids=str)
def test_what_nobody_could_install_is_kept_out_with_its_reason(tmp_path: Path, beast: Beast) -> None:
    (tmp_path / "file").write_bytes(beast.content)
    with pytest.raises(BadArchive) as raised:
        archive.read(tmp_path / "file", beast.filename)
    assert any(beast.why.lower() in reason.lower() for reason in raised.value.reasons), raised.value.reasons


def test_every_beast_has_a_name_of_its_own() -> None:
    named = [beast.name for beast in (*LEGAL, *ILLEGAL)]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize("metadata", [*VERSIONS, "1.0", "1.2"])
def test_an_sdist_vouches_for_its_dependencies_from_metadata_2_2_on(tmp_path: Path, metadata: str) -> None:
    beast = sdist("", document("Requires-Dist: other", metadata=metadata))
    (tmp_path / "file").write_bytes(beast.content)
    assert archive.read(tmp_path / "file", beast.filename).metadata_is_reliable is (
        metadata not in ("1.0", "1.2", "2.1")
    )
