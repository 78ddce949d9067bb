"""`pinwheel index.serve`."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any

from invoke import task

from pinwheel.errors import UsageError
from pinwheel.index.commands.options import DATA, DATA_HELP, policy_of

if TYPE_CHECKING:
    from pathlib import Path


@task(
    iterable=["private"],
    help={
        "data": DATA_HELP,
        "host": "address to listen on (default: 127.0.0.1)",
        "port": "port to listen on; 0 takes a free one (default: 8080)",
        "workers": "processes that answer (default: 2)",
        "drain": "seconds that old workers have after a restart to finish what they have begun (default: 300)",
        "packages": "an existing pypiserver folder whose files are taken over at start (default: none)",
        "htpasswd": "file of users with bcrypt hashes, who may read and upload (default: none)",
        "upstream": "index for names that are not private: a URL without a credential, or auto for what pip on this "
        "machine uses (default: none)",
        "private": "glob of names that never go upstream, besides all that are published here and those of "
        "index.private (may be repeated; default: none)",
        "cooldown": "how old a public file must be to be offered, as in 3d or 12h; 0d for any age (default: "
        "index.cooldown of pinwheel.toml, else any age)",
        "anonymous_read": "let everybody read (default: who has a credential)",
        "static": "folder in which pages and files of private projects are kept for a web server in front; on the file "
        "system of --data and not within it (default: none)",
        "access_log": "file that gets one line of JSON for each request, or - for standard output; written anew under "
        "its name after SIGHUP (default: none)",
        "tls_cert": "certificate chain to serve https with, PEM (default: serve http)",
        "tls_key": "its key, PEM (default: none)",
    },
)
def serve(
    _context: Any,
    data: str = DATA,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 2,
    drain: int = 300,
    packages: str = "",
    htpasswd: str = "",
    upstream: str = "",
    private: Any = None,
    cooldown: str = "",
    anonymous_read: bool = False,
    access_log: str = "",
    static: str = "",
    tls_cert: str = "",
    tls_key: str = "",
) -> None:
    """Serve the private package index until Ctrl-C or SIGTERM.

    SIGHUP restarts it without a failed request: new workers run the code and read the configuration that are on disk
    now, the old ones finish what they have begun. With a terminal, SIGHUP (it was closed) ends it.

    Makes the data folder when it is not there. One line on stderr says when it is ready. Names in `index.private`
    of pinwheel.toml count as --private; `index.exceptions` are releases that need not cool down. Each request to an
    upstream is logged as one line of JSON on stderr.

    Example:
        pinwheel index.serve --data /srv/index --port 8080 --upstream auto --private 'acme-*'
    """
    gc.disable()  # what is imported stays; to look for garbage in it meanwhile takes a tenth of the start
    from pathlib import Path

    from pinwheel import config
    from pinwheel.index.credentials.passwords import read_htpasswd
    from pinwheel.index.public.configured import named, shown
    from pinwheel.index.server.access_log import STDOUT, AccessLog
    from pinwheel.index.server.assembly import Setup, now, stored, tree_of, watched
    from pinwheel.index.server.serve import Given, working
    from pinwheel.index.server.serve import serve as run
    from pinwheel.index.server.started import Started
    from pinwheel.index.server.worker import work

    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port", remedy="--port takes 0 to 65535")
    if workers < 1:
        raise UsageError("there must be at least one worker", remedy="--workers 2")
    if drain < 1:
        raise UsageError("old workers need some time to finish", remedy="--drain 300")
    if bool(tls_cert) != bool(tls_key):
        raise UsageError("a certificate and its key go together", remedy="give both --tls-cert and --tls-key")
    for flag, name in (("--packages", packages), ("--htpasswd", htpasswd), ("--tls-cert", tls_cert)):
        if name and not Path(name).exists():
            raise UsageError(f"what {flag} names does not exist", where=name)
    if htpasswd:
        read_htpasswd(Path(htpasswd))
    policy = policy_of(config.load(), private or (), cooldown, anonymous_read=anonymous_read)
    folder = Path(data).absolute()
    setup = Setup(
        folder=folder,
        htpasswd=Path(htpasswd).absolute() if htpasswd else None,
        upstreams=named(upstream) if upstream else None,
        static=Path(static).absolute() if static else None,
        workers=workers,
        policy=policy,
    )
    started = Started(policy, tuple(map(shown, setup.upstreams.urls)) if setup.upstreams else ())

    def prepare() -> None:
        _collect_garbage()
        _prepare(folder, Path(packages) if packages else None)

    if access_log and access_log != STDOUT:
        access_log = str(Path(access_log).absolute())
        AccessLog(access_log, now).close()  # what cannot be written is told before anybody is served
    tls = (Path(tls_cert), Path(tls_key)) if tls_cert else None

    def worker(given: Given) -> None:
        import threading

        from pinwheel.index.server.watching import Watched

        def made() -> Watched:
            app = watched(setup, access_log, lambda duty: threading.Thread(target=duty, daemon=True).start())
            _collect_garbage()
            started.write(folder)  # the configuration may be another than when the first workers started
            return app

        work(made, listening=given.listening, ready=given.ready, parent=given.parent, tls=tls)

    given = working()
    if given is not None:
        worker(given)
    else:
        with contextlib.closing(stored(folder, create=True)) as index:
            if setup.static is not None:
                if setup.static.resolve().is_relative_to(folder.resolve()):
                    raise UsageError(
                        "a web server may not enter the data folder", where=static, remedy="name a folder beside it"
                    )
                tree_of(setup.static, index, policy.channels)  # what cannot be linked is told before anybody is served
        run(folder, host=host, port=port, workers=workers, drain_s=drain, tls=tls, prepare=prepare, worker=worker)


def _collect_garbage() -> None:
    """From now on, and only what is made from now on: the rest stays, and is in memory that workers share as long as
    nobody writes into it, as a collection does."""
    gc.freeze()
    gc.enable()


def _prepare(folder: Path, packages: Path | None) -> None:
    """What is done before the first request, while nobody else writes."""
    from pinwheel.index.commands.takeover import take_over
    from pinwheel.index.server.assembly import METRICS, stored
    from pinwheel.index.server.metrics import emptied

    index = stored(folder)
    try:
        emptied(folder / METRICS)
        if packages is not None:
            take_over(index, packages)
    finally:
        index.close()
