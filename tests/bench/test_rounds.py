"""What is measured at the index: nobody is dropped silently, and the stores hold what the measures need."""

from __future__ import annotations

from pathlib import Path

import pytest
from ci.bench import stores, syncs, uploads
from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL, Table, rows
from ci.bench.rounds import REQUESTS, UPLOADS, Bench
from ci.bench.station_index import QUICK, compare

from pinwheel import archive


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, QUICK)


def fails() -> float:
    raise BenchFailed("it answered\n500")


def test_a_peer_that_fails_is_named_with_the_reason_and_its_other_rounds_do_not_count(bench: Bench) -> None:
    bench.note("page", PINWHEEL, REQUESTS, lambda: 2.0)
    bench.note("page", "peer", REQUESTS, lambda: 1.0)
    bench.note("page", "peer", REQUESTS, fails)
    bench.note("page", "peer", REQUESTS, lambda: 1.0)
    (_, line) = rows(Table("index", bench.figures()))
    assert line[:3] == ("page", "peer", "not measured: it answered 500")


def test_a_bench_in_which_pinwheel_itself_fails_fails(bench: Bench) -> None:
    with pytest.raises(BenchFailed):
        bench.note("page", PINWHEEL, REQUESTS, fails)


def test_an_install_of_the_first_part_brings_all_parts(tmp_path: Path) -> None:
    store = stores.many_projects(tmp_path / "store", 20, 5, parts=6)
    needs: dict[str, set[str]] = {}
    for wheel in store.folder.glob("part*.whl"):
        read = archive.read(wheel, wheel.name)
        needs[read.name] = {each.name for each in read.metadata.requires_dist or ()}
    reached, waiting = set(), {stores.INSTALLED}
    while waiting:
        part = waiting.pop()
        reached.add(part)
        waiting |= needs[part] - reached
    assert reached == set(needs) == {stores.part_name(number) for number in range(6)}
    assert len(list(store.folder.glob("project_*.whl"))) == 20


def test_every_form_is_of_a_wheel_of_its_own(tmp_path: Path) -> None:
    (body, kind), (other, _) = (uploads.form(tmp_path, number) for number in (1, 2))
    assert kind.startswith("multipart/form-data; boundary=")
    assert body != other
    assert {archive.read(wheel, wheel.name).version.release for wheel in tmp_path.glob("*.whl")} == {(1, 1), (1, 2)}


def test_another_task_of_pinwheels_stands_beside_one_of_the_same_unit(bench: Bench) -> None:
    for task, reached in (("uploads, 100 wheels", 4.0), ("uploads, 5 wheels", 5.0)):
        bench.note(task, PINWHEEL, UPLOADS, lambda reached=reached: reached)  # type: ignore[misc]
    compare(bench, "uploads, 100 wheels", "uploads, 5 wheels", UPLOADS)
    assert [line[-1] for line in rows(Table("index", bench.figures()))] == ["", "0.8", ""]


def test_the_disk_alone_stores_files_and_rows(tmp_path: Path) -> None:
    assert syncs.per_second(tmp_path / "syncs", 0.05) > 0
    assert len([file for file in (tmp_path / "syncs").glob("??/*") if file.stat().st_size == syncs.FILE_BYTES]) > 1
