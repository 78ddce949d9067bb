"""Taking over a pypiserver folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bcrypt
import pytest
from tests.index import running
from tests.index.making import Made, sdist, wheel
from tests.index.running import JSON, names

from pinwheel.archive import Limits
from pinwheel.index.assembly import Stored, now
from pinwheel.index.bulk_import import Imported, import_folder
from pinwheel.index.publisher import Publisher
from pinwheel.index.verifying import verify


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder as pypiserver has it: nested, with things in it that are no distributions."""
    folder = tmp_path / "packages"
    (folder / "nested").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for made, where in ((wheel("acme"), ""), (sdist("acme"), "nested"), (wheel("hidden"), ".hidden")):
        (folder / where / made.filename).write_bytes(made.content)
    (folder / "broken-1.0.tar.gz").write_bytes(b"half")
    (folder / "old-1.0.zip").write_bytes(b"zip")
    (folder / "README.txt").write_text("not a distribution")
    return folder


def test_a_pypiserver_folder_is_taken_over_and_a_second_time_nothing_changes(index: Stored, packages: Path) -> None:
    def taken() -> list[Imported]:
        publisher = Publisher(index.records, index.blobs, now)
        return list(import_folder(packages, index.temporary, index.records, publisher, Limits()))

    first = {imported.filename: imported.became for imported in taken()}
    assert first == {
        wheel("acme").filename: "published",
        sdist("acme").filename: "published",
        "broken-1.0.tar.gz": "refused",
        "old-1.0.zip": "refused",
    }
    assert [imported.became for imported in taken()].count("known") == 2
    assert [entry.filename for entry in index.records.project("acme")] == sorted(
        [wheel("acme").filename, sdist("acme").filename]
    )
    assert list(verify(index.records, index.blobs)) == []


def test_what_is_done_to_the_folder_later_does_not_touch_what_was_taken_over(index: Stored, packages: Path) -> None:
    publisher = Publisher(index.records, index.blobs, now)
    list(import_folder(packages, index.temporary, index.records, publisher, Limits()))
    old = packages / wheel("acme").filename
    assert old.stat().st_nlink == 1
    with old.open("r+b") as file:
        file.write(b"overwritten in place")
    assert list(verify(index.records, index.blobs)) == []
    assert list(index.temporary.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_folder_on_another_file_system_is_taken_over_too(index: Stored) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / wheel("acme").filename).write_bytes(wheel("acme").content)
        publisher = Publisher(index.records, index.blobs, now)
        (imported,) = import_folder(Path(folder), index.temporary, index.records, publisher, Limits())
    assert imported.became == "published"


def test_other_bytes_in_the_folder_do_not_replace_what_is_published(index: Stored, tmp_path: Path) -> None:
    def put(made: Made) -> list[Imported]:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        (folder / made.filename).write_bytes(made.content)
        publisher = Publisher(index.records, index.blobs, now)
        return list(import_folder(folder, index.temporary, index.records, publisher, Limits()))

    assert put(wheel("acme"))[0].became == "published"
    refused = put(wheel("acme", code="other = True"))[0]
    assert (refused.became, wheel("acme").sha256 in refused.reason) == ("refused", True)


def test_a_server_starts_on_a_pypiserver_folder_and_its_password_file(packages: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"ann:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}\n")
    flags = ("--packages", str(packages), "--htpasswd", str(passwords), "--workers", "1")
    with running.running(tmp_path / "data", *flags) as server:
        headers = running.authorization("pw", "ann") | JSON
        assert len(names(server.ask("GET", "/simple/acme/", headers=headers))) == 2
        assert any("2 published, 0 known, 2 refused" in line for line in server.log)
        assert any(line.startswith("refused old-1.0.zip: ") for line in server.log)
    assert len(list(packages.rglob("*.whl"))) == 2, "the folder is left as it was"
