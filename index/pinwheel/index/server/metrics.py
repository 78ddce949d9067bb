"""The place of prometheus_client: counts in files that all workers share, and shows the sums as Prometheus' text.

Each process has files of its own in the folder, which outlive it: a counter never goes back while the server runs.
"""

from __future__ import annotations

import bisect
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pinwheel.index.routes import parse
from pinwheel.index.store.disk import full_disk_told

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
FLUSH_S = 0.5
MOST_HOSTS = 100  # a page may name any number of them
FILE_BYTES = 1024 * 1024  # as large as prometheus_client makes them
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is the case now, however it came to be."""

    projects: int
    files: int
    files_bytes: int
    free_bytes: int
    leases: int


def emptied(folder: Path) -> None:
    """Begin to count anew. Only while no worker runs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _reserve(folder: Path) -> None:
    """Take the space of this process's files before they are mapped: to write where a full disk has no page for it
    would kill the process. Raises `NoSpace`."""
    for kind in ("counter", "histogram"):
        with full_disk_told(folder), (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


class Metrics:
    """An `Observer` whose counts can be shown; `facts` are asked for when they are. One in each process."""

    def __init__(self, folder: Path, facts: Callable[[], Facts]) -> None:
        # read once, when it is imported for the first time
        os.environ[_FOLDER] = str(folder)
        _reserve(folder)
        from prometheus_client import CollectorRegistry, Counter, Histogram

        class Summed(Histogram):
            def add(self, counts: Sequence[int], total: float) -> None:
                """As many `observe`, at the price of one."""
                self._sum.inc(total)
                for bucket, count in zip(self._buckets, counts, strict=True):
                    if count:
                        bucket.inc(count)

        registry = CollectorRegistry()
        self._folder = folder
        self._facts = facts
        self._requests = Summed(
            "pinwheel_request_seconds",
            "From a request to the end of its answer, by the kind of thing asked for.",
            ("kind", "status"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._uploads = Counter("pinwheel_uploads", "Uploads by what became of them.", ("outcome",), registry=registry)
        self._upstream = Counter(
            "pinwheel_upstream_requests", "Requests to upstreams.", ("host", "outcome"), registry=registry
        )
        self._upstream_s = Histogram(
            "pinwheel_upstream_seconds",
            "From the request to an upstream to the end of its answer.",
            ("host",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._cache = Counter(
            "pinwheel_upstream_cache",
            "Upstreams' pages and files asked for, by whether they were here.",
            ("kind", "result"),
            registry=registry,
        )
        self._hosts: set[str] = set()
        # a page is answered in less time than ten observations take: they are noted, and added up twice a second
        self._noted: deque[tuple[str, str, int, float]] = deque()
        self._adding = threading.Lock()
        threading.Thread(target=self._add_up, daemon=True).start()

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        self._noted.append((method, path, status, seconds))

    def flush(self) -> None:
        """Let all workers know what was counted here."""
        counts: dict[tuple[str, int], list[int]] = {}
        totals: dict[tuple[str, int], float] = {}
        with self._adding:
            for _ in range(len(self._noted)):
                method, path, status, seconds = self._noted.popleft()
                key = type(parse(method, path)).__name__.lower(), status
                if key not in counts:
                    counts[key], totals[key] = [0] * (len(BUCKETS_S) + 1), 0.0
                counts[key][bisect.bisect_left(BUCKETS_S, seconds)] += 1
                totals[key] += seconds
            for (kind, status), each in counts.items():
                self._requests.labels(kind, str(status)).add(each, totals[kind, status])

    def _add_up(self) -> None:
        while True:
            time.sleep(FLUSH_S)
            self.flush()

    def uploaded(self, outcome: str) -> None:
        self._uploads.labels(outcome).inc()

    def asked_upstream(self, host: str, status: int, seconds: float) -> None:
        host = self._host(host)
        self._upstream.labels(host, str(status) if status else "no answer").inc()
        self._upstream_s.labels(host).observe(seconds)

    def kept_from_upstream(self, host: str) -> None:
        self._upstream.labels(self._host(host), "not asked: it keeps failing").inc()

    def looked_up(self, kind: str, *, kept: bool) -> None:
        self._cache.labels(kind, "hit" if kept else "miss").inc()

    def text(self) -> bytes:
        """All that was counted by all workers, and the facts of now."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self.flush()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(_Now(self._facts()))
        return generate_latest(registry)

    def _host(self, host: str) -> str:
        if host not in self._hosts:
            if len(self._hosts) >= MOST_HOSTS:
                return "others"
            self._hosts.add(host)
        return host


@dataclass(frozen=True, slots=True)
class _Now:
    """The facts as prometheus_client collects them."""

    facts: Facts

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        facts = self.facts
        yield GaugeMetricFamily("pinwheel_projects", "Private projects that have files.", facts.projects)
        yield GaugeMetricFamily("pinwheel_files", "Private files.", facts.files)
        yield GaugeMetricFamily("pinwheel_files_bytes", "Their size.", facts.files_bytes)
        yield GaugeMetricFamily("pinwheel_disk_free_bytes", "Room where the files are stored.", facts.free_bytes)
        yield GaugeMetricFamily("pinwheel_leases", "Environments that somebody holds.", facts.leases)
