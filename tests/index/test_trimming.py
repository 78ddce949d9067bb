"""The cache of upstreams' files has a size that it is kept within."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import wheel
from tests.index.running import Upstream, eventually, sha256

from pinwheel.errors import UsageError
from pinwheel.index.commands.options import size_bytes
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.public.mirror import Mirror, files_of
from pinwheel.index.public.trimming import trim
from pinwheel.index.public.upstream import UpstreamClient
from pinwheel.index.store.blobs import FolderBlobs

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S


def filled(folder: Path, *ages_s: float) -> tuple[FolderBlobs, list[str]]:
    """A cache with files of ten bytes, and their hashes in the order given."""
    blobs, hashes = files_of(folder), []
    for number, age_s in enumerate(ages_s):
        content = b"%010d" % number
        hashes.append(sha256(content))
        blobs.put(content, hashes[-1])
        os.utime(blobs.path(hashes[-1]), 2 * (time.time() - age_s,))
    return blobs, hashes


def test_what_was_used_least_lately_goes_until_the_rest_fits(tmp_path: Path) -> None:
    blobs, (one, _old, two, _older) = filled(tmp_path, HOUR_S, 2 * DAY_S, DAY_S, 3 * DAY_S)
    assert trim(blobs, 25) == 2
    assert set(blobs.every()) == {one, two}
    assert trim(blobs, 20) == 0, "that fits"


def test_what_is_being_read_is_read_to_its_end(tmp_path: Path) -> None:
    blobs, (only,) = filled(tmp_path, DAY_S)
    file = blobs.open(only)
    assert file is not None
    with file:
        assert trim(blobs, 0) == 1
        assert file.read() == b"%010d" % 0


def test_what_is_used_while_it_is_looked_for_stays(tmp_path: Path) -> None:
    class Used(FolderBlobs):
        looked = 0

        def path(self, sha256: str) -> Path:
            self.looked += 1
            if self.looked == 3:  # each of the two once, and the older one again
                os.utime(super().path(sha256))
            return super().path(sha256)

    _, (older, younger) = filled(tmp_path, 2 * DAY_S, DAY_S)
    blobs = Used(tmp_path / "blobs", tmp_path / "tmp")
    assert trim(blobs, 10) == 1
    assert set(blobs.every()) == {older}
    assert younger not in set(blobs.every())


def test_whoever_has_a_file_from_the_cache_has_used_it(tmp_path: Path, upstream: Upstream) -> None:
    made, other = wheel("public"), wheel("other")
    upstream.add(made, other)
    cache, files = Mirror(tmp_path, UpstreamClient(Upstreams((upstream.url,)), print)), files_of(tmp_path)

    def fetch(name: str, sha256: str) -> None:
        file = cache.open(name, sha256)
        assert file is not None
        file.close()

    for each in (made, other):
        fetch(each.filename, each.sha256)
        os.utime(files.path(each.sha256), 2 * (time.time() - DAY_S,))
    fetch(made.filename, made.sha256)
    trim(files, len(made.content))
    assert set(files.every()) == {made.sha256}
    asked = len(upstream.requests)
    fetch(other.filename, other.sha256)
    assert upstream.requests[asked:] == [f"/files/{other.filename}"], "it comes again, and its page was not needed"


@pytest.mark.slow
def test_a_server_keeps_its_cache_within_the_size_and_private_files_stay(upstream: Upstream, tmp_path: Path) -> None:
    first, last = wheel("first", padding=700_000), wheel("last", padding=700_000)
    ours = wheel("ours", padding=2_000_000)
    upstream.add(first, last)
    (tmp_path / "pinwheel.toml").write_text('[index]\ncache_size = "1MiB"\n')
    data = tmp_path / "data"
    flags = ("--upstream", upstream.url, "--anonymous-read", "--workers", "1")
    files = files_of(data / "upstream")
    with running.running(data, *flags, cwd=tmp_path) as server:
        assert server.upload(ours, server.token("t", "upload")).status == 200
        for made in (first, last):
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}").body == made.content
    os.utime(files.path(first.sha256), 2 * (time.time() - DAY_S,))
    with running.running(data, *flags, cwd=tmp_path) as server:
        eventually(lambda: set(files.every()) == {last.sha256})
        for made in (first, ours):
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}").body == made.content


@pytest.mark.parametrize(("text", "size"), [("1MiB", 2**20), ("050GiB", 50 * 2**30), ("2TiB", 2 * 2**40)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert size_bytes(text, "here") == size


@pytest.mark.parametrize("text", ["", "5", "GiB", "0GiB", "-1GiB", "1.5GiB", "5GB", "9999999TiB", "five GiB"])
def test_what_is_no_size_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        size_bytes(text, "here")
