"""Taking the stores over: each kind of index fills a data folder of its own from each store."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL
from ci.bench.index_for_bench import workers
from ci.bench.index_subjects import SUBJECTS, Subject
from ci.bench.peer_venvs import NotInstalled
from ci.bench.rounds import REQUESTS, SECONDS, Bench
from ci.bench.stores import Store


def fill(bench: Bench, all_stores: list[Store]) -> dict[tuple[str, Path], Path]:
    """Let each subject take over each store; the data folder by subject and store, without those that cannot."""
    filled: dict[tuple[str, Path], Path] = {}
    for peer in bench.effort.left_out:
        bench.without(f"project page, {bench.effort.middle:,} wheels", peer, REQUESTS, "left out by --quick")
    subjects = [subject for subject in SUBJECTS if subject.name not in bench.effort.left_out]
    # the longest work first
    work = [(subject, store) for store in sorted(all_stores, key=lambda each: -each.wheels) for subject in subjects]
    with fast_folder(bench.folder) as fast, ThreadPoolExecutor(workers()) as pool:

        def taken(subject: Subject, store: Store) -> None:
            key = (subject.name, store.folder)
            data = bench.folder / f"{subject.name.replace(' ', '-')}-{store.folder.name}"
            try:
                filled[key] = _filled(subject, store, fast / data.name, data)
            except (NotInstalled, BenchFailed) as error:
                if subject.name == PINWHEEL:
                    raise
                bench.without(f"taking over {store.label}", subject.name, SECONDS, " ".join(str(error).split())[-160:])

        for done in [pool.submit(taken, *each) for each in work]:
            done.result()
    return filled


def _filled(subject: Subject, store: Store, fast: Path, data: Path) -> Path:
    """Take over in memory, where a sync costs nothing, and move the result to the disk."""
    if fast.parent == data.parent:
        subject.fill(store, data)
        return data
    linked = Store(store.wheels, store.projects, fast.with_suffix(".store"))
    shutil.copytree(store.folder, linked.folder)
    subject.fill(linked, fast)
    shutil.rmtree(linked.folder)
    for made in fast.parent.glob(f"{fast.name}*"):
        shutil.move(made, data.parent / made.name)
    return data


@contextlib.contextmanager
def fast_folder(folder: Path) -> Iterator[Path]:
    """A folder in memory for the time of the context; `folder` itself where there is no room for one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 2**31:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-", dir=memory) as fast:
        yield Path(fast)


def found(filled: dict[tuple[str, Path], Path], made: dict[int, Store]) -> list[tuple[Subject, int, Path]]:
    return [
        (subject, size, filled[subject.name, store.folder])
        for size, store in made.items()
        for subject in SUBJECTS
        if (subject.name, store.folder) in filled
    ]
