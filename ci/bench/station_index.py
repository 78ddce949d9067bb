"""The index against its peers and against nginx with the same bytes, over stores of three sizes."""

from __future__ import annotations

import contextlib
import functools
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from ci.bench import children, guessing, load, machine, peer_venvs, peers, stores, syncs, uploads
from ci.bench.children import BenchFailed
from ci.bench.figures import PINWHEEL, Figure, Table, significant
from ci.bench.filling import fast_folder, fill, found
from ci.bench.index_for_bench import workers
from ci.bench.index_subjects import SUBJECTS, Pinwheel, Served, Stock, Subject, static_of
from ci.bench.rounds import MEBIBYTES, MICROSECONDS, REQUESTS, SECONDS, UPLOADS, Bench, Effort
from ci.bench.stores import ASKED, BIG, Store

NGINX, TUNED = "nginx, static files", "nginx, tuned"
FRONTED = "pinwheel's files by nginx"
SLOW_INSTALL_S = 5.0
FILES_WITHIN_S = 60.0
PEERS = ("pypiserver", "devpi-server", "peryx", "simple-repository-server")
NO_NGINX = "install nginx (nginx-light)"
AS_UV_ASKS = {"Accept": "application/vnd.pypi.simple.v1+json", "Accept-Encoding": "gzip"}


FULL = Effort((100, 5_000, 50_000), 5_000, 2_500, 5_000, 50, rounds=3, seconds=2, starts=3, installs=15, refusals=200)
SLOW_TO_START = ("devpi-server", "simple-repository-server")
QUICK = Effort((100,), 100, 50, 200, 10, rounds=1, seconds=1, starts=1, installs=2, refusals=20, left_out=SLOW_TO_START)


def table(folder: Path, *, quick: bool) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove."""
    if not load.generator():
        return Table("index", (Figure("project page", PINWHEEL, REQUESTS, missing=load.REMEDY),))
    bench = Bench(folder, QUICK if quick else FULL)
    effort = bench.effort
    began = time.monotonic()
    made = {size: _many(bench, size) for size in effort.sizes}
    one = stores.one_project(folder / "store-one", effort.one_project)
    filled = fill(bench, [*made.values(), one])
    ready = time.monotonic()
    _say(f"stores made and taken over in {ready - began:.0f} s")
    measure_starts(bench, made[effort.sizes[-1]], filled)
    with contextlib.ExitStack() as running:
        served = {
            (subject.name, size): of
            for subject, size, data in found(filled, made)
            if (of := _started(bench, running, _with_files(subject, size == effort.middle), data))
        }
        middle = {subject: of for (subject, size), of in served.items() if size == effort.middle}
        guarded = dict(middle)
        if Stock.name in middle:
            data = filled[Stock.name, made[effort.middle].folder]
            if closed := _started(bench, running, Stock(closed=True), data):
                guarded[Stock.name] = closed
        static = static_copy(bench, running, middle[PINWHEEL])
        if static:
            own = static_of(filled[PINWHEEL, made[effort.middle].folder])
            middle[FRONTED] = before(running, middle[PINWHEEL], own, bench.folder / "nginx-before")
        measure_reads(bench, served, middle, guarded, static)
        measure_installs(bench, middle, static)
    with contextlib.ExitStack() as running:
        measure_one_project(bench, running, one, filled)
    measure_uploads(bench, made, filled)
    with contextlib.ExitStack() as running:
        subject = Pinwheel()
        every = {size: _started(bench, running, subject, filled[PINWHEEL, each.folder]) for size, each in made.items()}
        measure_flatness(bench, {size: of for size, of in every.items() if of})
    guessing.measure(bench)
    _say(f"measured in {time.monotonic() - ready:.0f} s")
    pinned = ", ".join(f"{peer} {version}" for peer, version in peer_venvs.versions(*PEERS).items())
    return Table(
        "index",
        bench.figures(),
        (
            f"peers: {pinned}; each in an environment of its own, stock pypiserver with waitress",
            f"{load.generator()} on the same machine, {load.CONNECTIONS} connections kept alive; "
            f"who needs {load.SLOW_S} s for a request is asked one at a time",
            f"pinwheel and nginx: {workers()} workers; the store has {effort.projects} projects, or as many as wheels",
            f"uploads: {uploads.CLIENTS} clients, wheels of 1 KB; only pinwheel, peryx and devpi sync them to the disk",
            "memory: of all the server's processes, after the first page and after each project's page",
            *compared(bench, FRONTED, NGINX),
        ),
    )


def _started(bench: Bench, running: contextlib.ExitStack, subject: Subject, data: Path) -> Served | None:
    """The subject over this data until the context ends; None, and the reason in the table, when it fails."""
    try:
        return running.enter_context(subject.serving(data, data.with_suffix(".serve")))
    except BenchFailed as error:
        if subject.name == PINWHEEL:
            raise
        bench.without(f"serving {data.name}", subject.name, SECONDS, " ".join(str(error).split())[-160:])
        return None


def _with_files(subject: Subject, wanted: bool) -> Subject:
    return Pinwheel(files=True) if wanted and subject.name == PINWHEEL else subject


def _many(bench: Bench, size: int) -> Store:
    projects = min(bench.effort.projects, size)
    return stores.many_projects(bench.folder / f"store-{size}", size, projects, bench.effort.parts)


# nginx over a copy of what pinwheel answers

Static = dict[str, str]
"""The address of the copied tree by the name of the nginx that serves it; empty without nginx."""


def static_copy(bench: Bench, running: contextlib.ExitStack, served: Served) -> Static:
    """Serve the bytes of those pages and files of pinwheel's that are measured."""
    if not peers.has_nginx():
        bench.without(f"project page, {bench.effort.middle:,} wheels", NGINX, REQUESTS, NO_NGINX)
        return {}
    www = bench.folder / "www"
    for name, address in {"simple/": served.simple, f"simple/{ASKED}/": served.page(ASKED)}.items():
        _write(www / name / "index.html", answer(address))
    _write(www / BIG, answer(file_address(served, BIG)))
    for number in range(bench.effort.parts):
        name = stores.part_name(number)
        _write(www / "json" / "simple" / name / "index.json", answer(served.page(name), AS_UV_ASKS, zipped=False))
        address = file_address(served, name)
        path = address.partition("/files/")[2]
        _write(www / "json" / "files" / path, answer(address))
        _write(www / "json" / "files" / f"{path}.metadata", answer(f"{address}.metadata"))
    return {
        subject: running.enter_context(peers.nginx(www, bench.folder / subject.replace(" ", "-"), settings))
        for subject, settings in ((NGINX, peers.NGINX_USUAL), (TUNED, peers.NGINX_TUNED))
    }


def before(running: contextlib.ExitStack, served: Served, static: Path, folder: Path) -> Served:
    """pinwheel behind nginx, which sends its pages and files, from when they are all there."""
    deadline = time.monotonic() + FILES_WITHIN_S
    # the page of all projects is made when each project has its own
    while not (static / "simple" / "index.html").exists():
        if time.monotonic() > deadline:
            raise BenchFailed(f"pinwheel did not make its pages in {FILES_WITHIN_S:.0f} s")
        time.sleep(0.05)
    url = running.enter_context(peers.nginx_before(urlsplit(served.simple).netloc, static, folder, peers.NGINX_USUAL))
    return Served(served.pid, f"{url}simple/")


def compared(bench: Bench, subject: str, other: str) -> list[str]:
    """Notes on how many times the other's figure this subject's is: the medians of the rounds' ratios."""
    notes = []
    for (task, name, unit), rounds in bench.rounds.items():
        if name == subject and (others := bench.rounds.get((task, other, unit))):
            ratio = statistics.median(one / two for one, two in zip(rounds, others, strict=False))
            notes.append(f"{subject} / {other}, {task}: {significant(ratio)}")
    return notes


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


# what is measured


def measure_reads(
    bench: Bench,
    served: dict[tuple[str, int], Served],
    middle: dict[str, Served],
    guarded: dict[str, Served],
    static: Static,
) -> None:
    """Pages and files; within each round everybody has a turn at one task after the other."""
    effort = bench.effort
    files = {subject: file_address(of, BIG) for subject, of in middle.items()}
    headers = {subject: of.authorization() for subject, of in guarded.items()}
    root = f"root page of {effort.projects:,} projects"
    for _ in range(effort.rounds):
        for size in effort.sizes:
            task = f"project page, {size:,} wheels"
            here = {subject: of for (subject, of_size), of in served.items() if of_size == size}
            for subject, of in (middle if size == effort.middle else here).items():
                _asked(bench, task, subject, of.page(ASKED))
            for subject, address in static.items():
                _asked(bench, task, subject, f"{address}simple/{ASKED}/")
        for subject, of in middle.items():
            _asked(bench, root, subject, of.simple)
        for subject, address in static.items():
            _asked(bench, root, subject, f"{address}simple/")
        for subject, address in files.items():
            _asked(bench, "1 MiB file", subject, address)
        for subject, address in static.items():
            _asked(bench, "1 MiB file", subject, f"{address}{BIG}")
        for subject, of in guarded.items():
            if header := headers[subject]:
                _asked(bench, "project page, with a token", subject, of.page(ASKED), header)
                _asked(bench, "1 MiB file, with a token", subject, file_address(of, BIG, header), header)
    compare(bench, "project page, with a token", f"project page, {effort.middle:,} wheels")
    compare(bench, "1 MiB file, with a token", "1 MiB file")


def measure_flatness(bench: Bench, served: dict[int, Served]) -> None:
    """What a page, a file and an upload cost pinwheel over each store, one right after the other: the largest store
    beside the others. In the server's own time, which others on the machine change less than requests a second."""
    largest, seconds = max(served), bench.effort.seconds
    files = {size: file_address(of, BIG) for size, of in served.items()}
    for _ in range(bench.effort.rounds if len(served) > 1 else 0):
        for size, of in served.items():
            for task, per_second in (
                ("project page", functools.partial(load.requests_per_second, of.page(ASKED), seconds)),
                ("1 MiB file", functools.partial(load.requests_per_second, files[size], seconds)),
                ("upload", functools.partial(uploads.per_second, of.upload, of.authorization(), seconds)),
            ):
                subject = PINWHEEL if size == largest else f"{PINWHEEL}: {size:,} wheels"
                cost = functools.partial(_cost, of.pid, per_second, seconds)
                bench.note(f"{task}, {largest:,} wheels against fewer", subject, MICROSECONDS, cost)


def _cost(pid: int, per_second: Callable[[], float], seconds: float) -> float:
    """What one of those that `per_second` did in so many seconds took of the server's time."""
    before = children.cpu_s(pid)
    done = per_second() * seconds
    return (children.cpu_s(pid) - before) / done * 1e6


def _asked(bench: Bench, task: str, subject: str, address: str, headers: dict[str, str] | None = None) -> None:
    seconds = bench.effort.seconds
    bench.note(task, subject, REQUESTS, lambda: load.requests_per_second(address, seconds, headers or {}))


def compare(bench: Bench, task: str, other: str, unit: str = REQUESTS) -> None:
    """Put pinwheel's own figures of another task beside this one's: their rounds were taken together."""
    if task != other:
        bench.rounds[task, f"{PINWHEEL}: {other}", unit] = bench.rounds[other, PINWHEEL, unit]


def measure_one_project(
    bench: Bench, running: contextlib.ExitStack, store: Store, filled: dict[tuple[str, Path], Path]
) -> None:
    """The page of a project with thousands of files, as uv asks for it: each answers in the form that it has."""
    task = f"page of {bench.effort.one_project:,} files, as uv asks"
    served: dict[str, str] = {}
    for subject in SUBJECTS:
        data = filled.get((subject.name, store.folder))
        if data is not None and (of := _started(bench, running, subject, data)):
            served[subject.name] = of.page(ASKED)
    if peers.has_nginx():
        www = bench.folder / "www-one"
        _write(www / ASKED / "index.json", answer(served[PINWHEEL], AS_UV_ASKS, zipped=False))
        _write(www / ASKED / "index.json.gz", answer(served[PINWHEEL], AS_UV_ASKS))
        settings = f"{peers.NGINX_USUAL} gzip_static on;"
        served[NGINX] = running.enter_context(peers.nginx(www, bench.folder / "nginx-one", settings)) + f"{ASKED}/"
    for _ in range(bench.effort.rounds):
        for name, address in served.items():
            _asked(bench, task, name, address, AS_UV_ASKS)


def measure_starts(bench: Bench, store: Store, filled: dict[tuple[str, Path], Path]) -> None:
    """From the start of the program to the first page, over data that is there; and what it keeps in memory."""
    for turn in range(bench.effort.starts):
        for subject in SUBJECTS:
            data = filled.get((subject.name, store.folder))
            if data is not None:
                _start(bench, subject, data, store, last=turn == bench.effort.starts - 1)


def _start(bench: Bench, subject: Subject, data: Path, store: Store, *, last: bool) -> None:
    began = time.monotonic()
    with contextlib.ExitStack() as running:
        if served := _started(bench, running, subject, data):
            _first_page(bench, subject, served, store, began, last=last)


def _first_page(bench: Bench, subject: Subject, served: Served, store: Store, began: float, *, last: bool) -> None:
    def first() -> float:
        answer(served.page(ASKED))
        return time.monotonic() - began

    bench.note(f"start to first page, {store.label}", subject.name, SECONDS, first)
    bench.note(f"memory after it, {store.label}", subject.name, MEBIBYTES, lambda: children.memory_mb(served.pid))
    if last and subject.name == PINWHEEL:

        def all_asked() -> float:
            for number in range(store.projects):
                answer(served.page(f"project-{number:04d}"), AS_UV_ASKS)
            return children.memory_mb(served.pid)

        bench.note(f"memory after every project's page, {store.label}", subject.name, MEBIBYTES, all_asked)


def measure_installs(bench: Bench, served: dict[str, Served], static: Static) -> None:
    """`uv pip install` of packages that need one another, with an empty cache each time."""
    task = f"uv pip install of {bench.effort.parts} packages, cold client"
    indexes = {subject: of.simple for subject, of in served.items()}
    if NGINX in static:
        indexes[NGINX] = f"{static[NGINX]}json/simple/"
    quick = dict(indexes)
    for turn in range(bench.effort.installs):
        # who takes seconds is asked less often; the order changes, because one's turn warms or wears the other's
        for subject, index in list(quick.items())[:: 1 if turn % 2 else -1]:
            bench.note(task, subject, SECONDS, functools.partial(_installed, bench, index))
            took = bench.rounds.get((task, subject, SECONDS))
            if turn >= 2 and (not took or took[-1] > SLOW_INSTALL_S):
                del quick[subject]


def _installed(bench: Bench, index: str) -> float:
    # in memory: the client's own disk is not what is compared
    with fast_folder(bench.folder) as memory, tempfile.TemporaryDirectory(dir=memory) as folder:
        argv = (
            *(machine.program("uv"), "pip", "install", "--quiet", "--no-config", "--python", sys.executable),
            *("--target", f"{folder}/target", "--cache-dir", f"{folder}/cache", "--default-index", index),
            stores.INSTALLED,
        )
        spent = children.timed(argv, bench.folder / "uv.log")
        installed = len(list(Path(folder, "target").glob("*.dist-info")))
    if installed != bench.effort.parts:
        raise BenchFailed(f"uv installed {installed} of {bench.effort.parts} packages")
    return spent.wall_s


def measure_uploads(bench: Bench, made: dict[int, Store], filled: dict[tuple[str, Path], Path]) -> None:
    """New wheels, at each size. One kind of server runs at a time: they compete for the disk."""
    effort = bench.effort
    tasks = {size: f"uploads, {store.label}" for size, store in made.items()}
    for subject in SUBJECTS:
        if subject.name in effort.left_out:
            continue
        if subject.no_upload:
            for task in tasks.values():
                bench.without(task, subject.name, UPLOADS, subject.no_upload)
            continue
        with contextlib.ExitStack() as running:
            served = {
                size: of
                for size, store in made.items()
                if (data := filled.get((subject.name, store.folder)))
                and (of := _started(bench, running, subject, data))
            }
            for _ in range(effort.rounds):
                for size, of in served.items():
                    measure = functools.partial(uploads.per_second, of.upload, of.authorization(), effort.seconds)
                    bench.note(tasks[size], subject.name, UPLOADS, measure)
                    if subject.name == PINWHEEL:
                        limit = functools.partial(syncs.per_second, bench.folder / "syncs", effort.seconds)
                        bench.note(tasks[size], syncs.SUBJECT, UPLOADS, limit)
    first = tasks[effort.sizes[0]]
    for task in list(tasks.values())[1:]:
        compare(bench, task, first, UPLOADS)


def file_address(served: Served, project: str, headers: dict[str, str] | None = None) -> str:
    """Where the project's page says that its one file is; each index has a page of its own kind."""
    page = served.page(project)
    text = answer(page, headers or {}).decode()
    found = re.search(r'href="([^"#]+\.whl)[#"]', text) or re.search(r'"url": ?"([^"#]+\.whl)', text)
    if not found:
        raise BenchFailed(f"{page} names no wheel")
    return urljoin(page, unescape(found[1]))


def answer(address: str, headers: dict[str, str] | None = None, *, zipped: bool = True) -> bytes:
    """The body at `address`, which must be there."""
    asked = dict(headers or {})
    if not zipped:
        asked.pop("Accept-Encoding", None)
    status, body = children.fetch(address, asked)
    if status != 200:
        raise BenchFailed(f"{address} answered {status}")
    return body


def _say(line: str) -> None:
    print(f"index: {line}", file=sys.stderr, flush=True)
