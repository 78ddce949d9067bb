"""What was built reaches its folder whole or not at all, whatever disk that is on."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinwheel.errors import UsageError
from pinwheel.packaging.workspace import DiskFull, deliver, open_folder


@contextlib.contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """A file system of `size` at the folder `at`."""
    at.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(at)), check=True)
    try:
        yield at
    finally:
        subprocess.run(("umount", str(at)), check=True)


def test_files_arrive_whole_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "built").write_bytes(b"wheel")
    out = open_folder(str(tmp_path / "new" / "dist"))
    deliver({"a.whl": tmp_path / "built", "a.whl.statement.json": b"{}"}, out)
    assert sorted(path.name for path in out.iterdir()) == ["a.whl", "a.whl.statement.json"]
    assert (out / "a.whl").read_bytes() == b"wheel"


def test_a_place_that_is_no_folder_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in ("", str(tmp_path / "file"), str(tmp_path / "file" / "below"), "/proc/dist"):
        with pytest.raises(UsageError, match="folder"):
            open_folder(out)


@pytest.mark.root
def test_a_full_disk_gets_none_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 500_000)
    with small_disk(tmp_path / "disk", "200k") as disk:
        with pytest.raises(DiskFull) as caught:
            deliver({"a.tar.gz": b"small", "a.whl": tmp_path / "large"}, disk)
        assert "--out" in caught.value.remedy
        assert caught.value.where == str(disk)
        assert not list(disk.iterdir())
