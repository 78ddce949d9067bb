"""What is pushed to hosts is fetched once, and verified each time before it is sent."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from pinwheel.deploy.rolling.fetch import NotInTheIndex
from pinwheel.deploy.rolling.wheelhouse import Wheelhouse
from pinwheel.index.client import IndexFile

BODY = b"a wheel"
SHA256 = hashlib.sha256(BODY).hexdigest()
FILE = IndexFile("shop-1-py3-none-any.whl", "http://index.example/x", SHA256, len(BODY), "1")


class Source:
    """An index of one file."""

    def __init__(self) -> None:
        self.downloads = 0

    def files(self, project: str) -> tuple[IndexFile, ...]:
        return (FILE,) if project == "shop" else ()

    def download(self, file: IndexFile, into: Path) -> Path:
        self.downloads += 1
        into.mkdir(parents=True, exist_ok=True)
        (into / file.filename).write_bytes(BODY)
        return into / file.filename


def house(source: Source, folder: Path, project: str = "shop") -> Wheelhouse:
    return Wheelhouse(source, folder, {SHA256: project})


def test_many_hosts_and_many_rollouts_need_one_download(tmp_path: Path) -> None:
    source = Source()
    first, got = house(source, tmp_path), []
    threads = [threading.Thread(target=lambda: got.append(first.file(SHA256))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.read_bytes() for each in got} == {BODY}
    house(source, tmp_path).file(SHA256)
    assert source.downloads == 1


def test_what_was_changed_on_the_disk_is_fetched_anew(tmp_path: Path) -> None:
    source = Source()
    house(source, tmp_path).file(SHA256).write_bytes(b"another")
    assert house(source, tmp_path).file(SHA256).read_bytes() == BODY
    assert source.downloads == 2


def test_a_download_that_was_cut_off_is_not_taken_for_a_file(tmp_path: Path) -> None:
    (tmp_path / SHA256).mkdir()
    (tmp_path / SHA256 / ".partial-x").write_bytes(b"a wh")
    assert house(Source(), tmp_path).file(SHA256).name == FILE.filename


def test_what_the_index_has_no_more_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotInTheIndex, match=SHA256) as caught:
        house(Source(), tmp_path, "other").file(SHA256)
    assert "other" in caught.value.problem
    with pytest.raises(NotInTheIndex):
        house(Source(), tmp_path).file("0" * 64)
