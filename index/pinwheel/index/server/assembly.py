"""How the parts of an index are put together over one data folder: for a worker to serve, for local commands to use."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pinwheel.errors import PinwheelError
from pinwheel.index.channels import Channels
from pinwheel.index.credentials.access import Access
from pinwheel.index.credentials.last_use import LastUse
from pinwheel.index.intake.import_records import DatabaseImports
from pinwheel.index.intake.publishing import Publisher
from pinwheel.index.observer import Nobody, Observer
from pinwheel.index.policy import Policy
from pinwheel.index.public.configured import Upstreams
from pinwheel.index.server.housekeeping import keep_house
from pinwheel.index.simple.page_cache import PageCache
from pinwheel.index.simple.pages import API_VERSION
from pinwheel.index.simple.rendering import Renderer
from pinwheel.index.simple.static_tree import StaticTree
from pinwheel.index.store.attachments import DatabaseAttachments
from pinwheel.index.store.blobs import FolderBlobs
from pinwheel.index.store.curating import Curator
from pinwheel.index.store.database import DATABASE, Database, epoch
from pinwheel.index.store.event_log import DatabaseEventLog
from pinwheel.index.store.leases import DatabaseLeases
from pinwheel.index.store.outbox import DatabaseOutbox
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.store.releases import DatabaseReleases
from pinwheel.index.store.tokens import DatabaseTokens
from pinwheel.index.upkeep.sweeping import sweep
from pinwheel.index.web.attaching import Attaching
from pinwheel.index.web.control import Control
from pinwheel.index.web.deciding import Deciding
from pinwheel.index.web.leasing import Leasing

if TYPE_CHECKING:
    from pinwheel.index.server.watching import Watched
    from pinwheel.index.web.app import IndexApp

METRICS = "metrics"
UPSTREAM = "upstream"
LAST_S = 253402300799.0  # the end of the year 9999, after which RFC 3339 has no dates


@dataclass(frozen=True, slots=True)
class Stored:
    """A data folder, opened: its database, records and blobs."""

    folder: Path
    database: Database
    records: DatabaseRecords
    releases: DatabaseReleases
    tokens: DatabaseTokens
    leases: DatabaseLeases
    events: DatabaseEventLog
    attachments: DatabaseAttachments
    imports: DatabaseImports
    blobs: FolderBlobs

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def close(self) -> None:
        self.database.close()


def stored(folder: Path, *, create: bool = False) -> Stored:
    """Open the data folder. Raises `PinwheelError` when it is not there and must not be made."""
    with writable_told(folder):
        found = (folder / DATABASE).is_file()
    if not create and not found:
        raise PinwheelError(
            "there is no index in this folder",
            where=str(folder),
            remedy="name the server's data folder with --data; `pinwheel index.serve` makes one",
        )
    with writable_told(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        blobs = FolderBlobs(folder / "blobs", folder / "tmp")
        database = Database(folder / DATABASE)
    return Stored(
        folder,
        database,
        DatabaseRecords(database),
        DatabaseReleases(database),
        DatabaseTokens(database),
        DatabaseLeases(database),
        DatabaseEventLog(database),
        DatabaseAttachments(database),
        DatabaseImports(database),
        blobs,
    )


@contextlib.contextmanager
def writable_told(folder: Path) -> Iterator[None]:
    """Raise `PinwheelError` where the operating system keeps us from working with the data folder."""
    try:
        yield
    except OSError as error:
        raise PinwheelError(
            f"the data folder cannot be written: {error.strerror}",
            where=str(folder),
            remedy="work as its owner, correct its permissions, or name another folder with --data",
        ) from error


def stamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, with the microseconds that PEP 700 allows; at most the year 9999."""
    return datetime.fromtimestamp(min(seconds, LAST_S), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    return stamp(time.time())


@dataclass(frozen=True, slots=True)
class Setup:
    """What `index.serve` was told that a worker needs. Goes to the workers' processes, so it holds plain values."""

    folder: Path
    htpasswd: Path | None = None
    upstreams: Upstreams | None = None
    static: Path | None = None
    workers: int = 1
    policy: Policy = Policy()  # noqa: RUF009 - frozen


Beside = Callable[[Callable[[], None]], None]


def watched(setup: Setup, access_log: str, beside: Beside) -> Watched:
    """What one worker answers with: the application, counted, and logged to the file `access_log` if it has a name.

    `beside` gets what is to run beside the requests, each for as long as the worker lives.
    """
    from pinwheel.index.public.mirror import files_of
    from pinwheel.index.public.trimming import trim
    from pinwheel.index.server.access_log import AccessLog
    from pinwheel.index.server.metrics import Facts, Metrics
    from pinwheel.index.server.watching import Watched

    open_folder = stored(setup.folder)

    def facts() -> Facts:
        totals = open_folder.records.totals()
        room = os.statvfs(setup.folder / "blobs")
        held = open_folder.leases.held(time.time())
        return Facts(totals.projects, totals.files, totals.size_bytes, room.f_bavail * room.f_frsize, held)

    metrics = Metrics(setup.folder / METRICS, facts)
    log = AccessLog(access_log, now) if access_log else None
    leaving = threading.Event()

    def sweep_all() -> None:
        sweep(open_folder.records, open_folder.blobs, open_folder.temporary)
        open_folder.tokens.forget_minted(expired_before=time.time())
        if setup.upstreams is not None and setup.policy.cache_bytes is not None:
            trim(files_of(setup.folder / UPSTREAM), setup.policy.cache_bytes)

    beside(lambda: keep_house(sweep_all, setup.folder / "housekeeping", leaving, to_stderr))
    app = _application(open_folder, setup, to_stderr, beside, metrics, metrics.text, leaving)
    return Watched(app, metrics, log, leaving=leaving)


def application(setup: Setup, log: Callable[[str], None] | None = None) -> IndexApp:
    """The WSGI application, with connections of its own; nothing is counted."""
    leaving = threading.Event()
    return _application(stored(setup.folder), setup, log or to_stderr, lambda _duty: None, Nobody(), None, leaving)


def _application(
    open_folder: Stored,
    setup: Setup,
    log: Callable[[str], None],
    beside: Beside,
    observer: Observer,
    metrics: Callable[[], bytes] | None,
    leaving: threading.Event,
) -> IndexApp:
    from pinwheel.index.public.mirror import Mirror
    from pinwheel.index.public.upstream import UpstreamClient
    from pinwheel.index.web.app import IndexApp
    from pinwheel.index.web.engine import Engine
    from pinwheel.index.web.reading import Reading
    from pinwheel.index.web.uploading import Uploading

    policy = setup.policy
    cache = PageCache(open_folder.records, policy.channels)
    mirror = None
    if setup.upstreams is not None:
        client = UpstreamClient(setup.upstreams, log, observer=observer)
        mirror = Mirror(setup.folder / UPSTREAM, client, policy.cooldown, observer=observer)
    changed: Callable[[str], None] = _nobody_is_told
    if setup.static is not None:
        renderer = Renderer(
            DatabaseOutbox(open_folder.database),
            open_folder.records,
            open_folder.blobs,
            cache,
            tree_of(setup.static, open_folder, policy.channels),
            log,
        )
        beside(lambda: renderer.keep_up(leaving))
        changed = renderer.changed
    publisher = Publisher(open_folder.records, open_folder.blobs, now, changed)
    curator = Curator(open_folder.releases, open_folder.records, open_folder.blobs, now, changed)
    engine = Engine(open_folder.records, open_folder.releases, publisher, curator, open_folder.temporary, policy)
    last_use = LastUse(open_folder.tokens.used, time.time, stamp, log)
    beside(last_use.keep_writing)
    return IndexApp(
        cache=cache,
        access=Access(open_folder.tokens, setup.htpasswd, policy, workers=setup.workers, used=last_use.note, log=log),
        reading=Reading(cache=cache, blobs=open_folder.blobs, mirror=mirror, policy=policy),
        uploading=Uploading(engine, open_folder.temporary, policy),
        control=Control(
            records=open_folder.records,
            tokens=open_folder.tokens,
            events=open_folder.events,
            leasing=Leasing(open_folder.leases, time.time, stamp),
            attaching=Attaching(open_folder.attachments, open_folder.records, open_folder.blobs, now),
            deciding=Deciding(open_folder.releases, curator, policy.channels),
            now=time.time,
            stamp=stamp,
            metrics=metrics,
        ),
        engine=engine,
        trusted_proxies=policy.trusted_proxies,
    )


def tree_of(static: Path, index: Stored, channels: Channels) -> StaticTree:
    """The static tree, which has another maker after an upgrade, a restore, another choice of channels, or a start of
    the machine.

    Raises `UsageError`.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    shown = (f"{each}={','.join(sorted(channels.visible(each)))}" for each in channels.promotable)
    with index.database.reading() as connection:
        begun = epoch(connection)
    made_by = " ".join((version("pinwheel-kit"), API_VERSION, boot, str(begun), *shown))
    return StaticTree(static, index.folder.absolute() / "blobs", made_by)


def _nobody_is_told(_project: str) -> None:
    """The page in memory is made again when somebody asks for it."""


def to_stderr(line: str) -> None:
    """One line in one write, so that lines of several workers do not mix."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
