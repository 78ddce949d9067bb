"""The index: a project page and a 1 MiB file, against stock pypiserver and against nginx with the same bytes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ci.bench import children, load, peers, wheels
from ci.bench.figures import PINWHEEL, Figure, Table
from ci.bench.index_for_bench import pinwheel_index, workers

PROJECTS = 500
VERSIONS = 10
QUICK_PROJECTS = 50

ROUNDS, QUICK_ROUNDS = 5, 3
SECONDS, QUICK_SECONDS = 3, 1

STOCK = "stock pypiserver"
NGINX, TUNED = "nginx, static files", "nginx, tuned"
SUBJECTS = (PINWHEEL, STOCK, NGINX, TUNED)
PAGE = "project page"
FILE = "1 MiB file"
BIG_BYTES = 2**20

ASKED = "project-007"


def table(folder: Path, *, quick: bool) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove."""
    projects = QUICK_PROJECTS if quick else PROJECTS
    unit = "requests/s"
    if not load.generator():
        missing = tuple(
            Figure(task, subject, unit, missing=load.REMEDY) for task in (PAGE, FILE) for subject in SUBJECTS
        )
        return Table("index", missing)
    packages = folder / "packages"
    count = make_store(packages, projects)
    with contextlib.ExitStack() as running:
        started = time.monotonic()
        index = running.enter_context(pinwheel_index(folder, "--packages", str(packages), "--anonymous-read"))
        imported_s = time.monotonic() - started
        addresses = {PINWHEEL: {PAGE: f"{index.url}simple/{ASKED}/", FILE: file_address(index.url, "big")}}
        stock = running.enter_context(peers.pypiserver(packages, folder / "stock.log"))
        big = next(packages.glob("big-*.whl")).name
        addresses[STOCK] = {PAGE: f"{stock}simple/{ASKED}/", FILE: f"{stock}packages/{big}"}
        if peers.has_nginx():
            www = folder / "www"
            copied = {PAGE: www / "simple" / ASKED / "index.html", FILE: www / "files" / big}
            for task, file in copied.items():
                file.parent.mkdir(parents=True)
                file.write_bytes(answer(addresses[PINWHEEL][task]))
            for subject, settings in ((NGINX, peers.NGINX_USUAL), (TUNED, peers.NGINX_TUNED)):
                static = running.enter_context(peers.nginx(www, folder / subject.replace(" ", "-"), settings))
                addresses[subject] = {PAGE: f"{static}simple/{ASKED}/", FILE: f"{static}files/{big}"}
        rounds = measure(addresses, QUICK_ROUNDS if quick else ROUNDS, QUICK_SECONDS if quick else SECONDS)
        sizes = {task: len(answer(address)) for task, address in addresses[PINWHEEL].items()}
    figures = tuple(
        Figure(task, subject, unit, tuple(rounds.get((task, subject), ())), "install nginx (nginx-light)")
        for task in (PAGE, FILE)
        for subject in SUBJECTS
    )
    return Table(
        "index",
        figures,
        (
            f"{count:,} wheels of {projects} projects; the page has {sizes[PAGE]:,} bytes",
            f"{load.generator()} on the same machine, {load.CONNECTIONS} connections kept alive, no credential",
            f"pinwheel and nginx: {workers()} workers; stock: {peers.stock_server()}, its best here",
            f"pinwheel imported the folder and answered after {imported_s:.1f} s",
        ),
    )


def measure(addresses: dict[str, dict[str, str]], rounds: int, seconds: int) -> dict[tuple[str, str], list[float]]:
    """Requests per second by (task, subject); in each round the subjects take turns at one task."""
    reached: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for task in (PAGE, FILE):
            for subject, of in addresses.items():
                reached.setdefault((task, subject), []).append(load.requests_per_second(of[task], seconds))
    return reached


def make_store(packages: Path, projects: int) -> int:
    """Write `VERSIONS` small wheels of each of `projects` projects, and one of 1 MiB; returns how many."""
    packages.mkdir()
    for project in range(projects):
        for version in range(VERSIONS):
            name = f"project-{project:03d}"
            wheels.write(packages, name, f"1.{version}", {f"project_{project:03d}.py": b"answer = 42\n"})
    # random bytes: stored as they are, and no server can shrink them on the way
    wheels.write(packages, "big", "1.0", {"big/data.bin": os.urandom(BIG_BYTES)})
    return projects * VERSIONS + 1


def file_address(base: str, project: str) -> str:
    """Where the index says that the project's one file is."""
    from pinwheel.index.client import IndexClient

    return IndexClient(base).files(project)[0].url


def answer(address: str) -> bytes:
    """The body at `address`, which must be there."""
    status, body = children.fetch(address)
    if status != 200:
        raise children.BenchFailed(f"{address} answered {status}")
    return body
