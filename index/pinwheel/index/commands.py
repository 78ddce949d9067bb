"""The tasks of the index: `pinwheel index.serve` and what looks after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Collection, task

from pinwheel.errors import PinwheelError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from pinwheel.config import Loaded

DATA = "pinwheel-index"

DATA_HELP = f"the server's data folder (default: ./{DATA})"
JSON_HELP = "print one JSON document (default: text)"
LONGEST_S = 36500 * 86400


@task(
    auto_shortflags=False,
    iterable=["private"],
    help={
        "data": DATA_HELP,
        "host": "address to listen on (default: 127.0.0.1)",
        "port": "port to listen on; 0 takes a free one (default: 8080)",
        "workers": "processes that answer (default: 2)",
        "packages": "an existing pypiserver folder whose files are taken over at start (default: none)",
        "htpasswd": "file of users with bcrypt hashes, who may read and upload (default: none)",
        "upstream": "index for names that are not private: a URL without a credential, or auto for what pip on this "
        "machine uses (default: none)",
        "private": "glob of names that never go upstream, besides all that are published here and those of "
        "index.private (may be repeated; default: none)",
        "anonymous_read": "let everybody read (default: who has a credential)",
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
    packages: str = "",
    htpasswd: str = "",
    upstream: str = "",
    private: Any = None,
    anonymous_read: bool = False,
    tls_cert: str = "",
    tls_key: str = "",
) -> None:
    """Serve the private package index until Ctrl-C, SIGTERM or SIGHUP.

    Makes the data folder when it is not there. One line on stderr says when it is ready. Names in `index.private`
    of pinwheel.toml count as --private. Each request to an upstream is logged as one line of JSON on stderr.

    Example:
        pinwheel index.serve --data /srv/index --port 8080 --upstream auto --private 'acme-*'
    """
    from pathlib import Path

    from pinwheel import config
    from pinwheel.index.access import read_htpasswd
    from pinwheel.index.assembly import Setup, stored
    from pinwheel.index.globs import checked
    from pinwheel.index.serve import serve as run
    from pinwheel.index.upstream import named, shown
    from pinwheel.index.why import Started

    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port", remedy="--port takes 0 to 65535")
    if workers < 1:
        raise UsageError("there must be at least one worker", remedy="--workers 2")
    if bool(tls_cert) != bool(tls_key):
        raise UsageError("a certificate and its key go together", remedy="give both --tls-cert and --tls-key")
    for flag, name in (("--packages", packages), ("--htpasswd", htpasswd), ("--tls-cert", tls_cert)):
        if name and not Path(name).exists():
            raise UsageError(f"what {flag} names does not exist", where=name)
    if htpasswd:
        read_htpasswd(Path(htpasswd))
    private = (*checked(private or (), "--private"), *_private(config.load()))
    folder = Path(data).absolute()
    setup = Setup(
        folder=folder,
        htpasswd=Path(htpasswd).absolute() if htpasswd else None,
        anonymous_read=anonymous_read,
        upstreams=named(upstream) if upstream else None,
        private=private,
    )
    started = Started(setup.private, tuple(map(shown, setup.upstreams.urls)) if setup.upstreams else ())

    def prepare() -> None:
        started.write(folder)
        _prepare(folder, Path(packages) if packages else None)

    stored(folder, create=True).close()
    run(
        setup,
        host=host,
        port=port,
        workers=workers,
        tls=(Path(tls_cert), Path(tls_key)) if tls_cert else None,
        prepare=prepare,
    )


def _prepare(folder: Path, packages: Path | None) -> None:
    """What is done before the first request, while nobody else writes: sweep, then take over."""
    import time

    from pinwheel.archive import Limits
    from pinwheel.console import say
    from pinwheel.index.assembly import now, stored
    from pinwheel.index.audit import sweep
    from pinwheel.index.bulk_import import import_folder
    from pinwheel.index.publisher import Publisher

    index = stored(folder)
    try:
        sweep(index.records, index.blobs, index.temporary)
        index.control.forget_minted(expired_before=time.time())
        if packages is not None:
            counts = {"published": 0, "known": 0, "refused": 0}
            publisher = Publisher(index.records, index.blobs, now)
            for imported in import_folder(packages, index.temporary, index.records, publisher, Limits()):
                counts[imported.became] += 1
                if imported.reason:
                    say(f"refused {imported.filename}: {imported.reason}")
            told = ", ".join(f"{count} {became}" for became, count in counts.items())
            say(f"took over {packages}: {told}")
    finally:
        index.close()


@task(
    auto_shortflags=False,
    positional=["name"],
    iterable=["scope"],
    help={
        "name": "what the token is for; must be new",
        "scope": "what it may do: read, upload, promote, deploy, admin (may be repeated, or with commas; needed)",
        "projects": "globs of projects that it may touch, with commas (default: *)",
        "environments": "globs of environments that it may deploy to, with commas (default: *)",
        "expires": "how long it is valid: 90d, 12h, 30m, 45s, at most 100 years (default: for ever)",
        "data": DATA_HELP,
    },
)
def token_create(
    _context: Any,
    name: str,
    scope: Any = None,
    projects: str = "*",
    environments: str = "*",
    expires: str = "",
    data: str = DATA,
) -> None:
    """Make an API token; it is printed once, alone on stdout, and stored only as a hash.

    Works on the data folder itself, also while the server runs; makes the folder when it is not there. Clients use
    it as the password of the user `__token__`, or in PINWHEEL_TOKEN.

    Example:
        pinwheel index.token-create ci --scope read,upload --projects 'acme-*' --expires 90d
    """
    import time
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.access import new_token
    from pinwheel.index.assembly import now, stored
    from pinwheel.index.globs import checked

    secret, token = new_token(
        name,
        _listed(",".join(scope or ())),
        created_at=now(),
        projects=checked(_listed(projects), "--projects"),
        environments=_listed(environments),
        expires_at=time.time() + _seconds(expires) if expires else None,
    )
    index = stored(Path(data), create=True)
    try:
        if not index.control.add_token(token):
            raise PinwheelError(
                f"there is a token named {name} already",
                where=data,
                remedy="choose another name; names of revoked tokens stay taken",
            )
    finally:
        index.close()
    console.data(secret)


@task(auto_shortflags=False, help={"data": DATA_HELP, "json": JSON_HELP})
def token_list(_context: Any, data: str = DATA, json: bool = False) -> None:
    """List the API tokens: what each may do and until when.

    Example:
        pinwheel index.token-list --data /srv/index
    """
    import time
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.assembly import stamp, stored

    index = stored(Path(data))
    try:
        found = index.control.every_token()
    finally:
        index.close()

    def state(expires_at: float | None, revoked_at: str) -> str:
        if revoked_at:
            return "revoked"
        return "expired" if expires_at is not None and expires_at <= time.time() else "valid"

    rows: list[dict[str, Any]] = [
        {
            "name": token.name,
            "state": state(token.expires_at, token.revoked_at),
            "scopes": list(token.scopes),
            "projects": list(token.projects),
            "environments": list(token.environments),
            "created_at": token.created_at,
            "expires_at": stamp(token.expires_at) if token.expires_at is not None else None,
        }
        for token in found
    ]
    if json:
        console.document({"tokens": rows})
    else:
        columns = ("name", "state", "scopes", "projects", "environments", "expires_at")
        console.table(
            columns,
            [
                [",".join(row[key]) if isinstance(row[key], list) else row[key] or "never" for key in columns]
                for row in rows
            ],
        )


@task(auto_shortflags=False, positional=["name"], help={"name": "the token's name", "data": DATA_HELP})
def token_revoke(_context: Any, name: str, data: str = DATA) -> None:
    """End an API token and every token that it has minted, at once.

    Example:
        pinwheel index.token-revoke ci
    """
    from pathlib import Path

    from pinwheel.console import say
    from pinwheel.index.assembly import now, stored

    index = stored(Path(data))
    try:
        done = index.control.revoke_token(name, now())
    finally:
        index.close()
    if not done:
        raise PinwheelError(
            f"there is no valid token named {name}", where=data, remedy="`pinwheel index.token-list` shows the names"
        )
    say(f"revoked {name}")


@task(
    auto_shortflags=False,
    help={"name": "only this project: its files (default: the names of all projects)", "json": JSON_HELP},
    name="list",
)
def list_(_context: Any, name: str = "", json: bool = False) -> None:
    """List what the configured index holds: its projects, or the files of one.

    Example:
        pinwheel index.list --name acme-greet
    """
    from pinwheel import config, console
    from pinwheel.index.client import from_config

    client = from_config(config.load())
    if not name:
        names = client.projects()
        if json:
            console.document({"projects": list(names)})
        else:
            for each in names:
                console.data(each)
        return
    files = client.files(name)
    rows = [
        {
            "filename": file.filename,
            "version": file.version,
            "size": file.size_bytes,
            "sha256": file.sha256,
            "upload_time": file.upload_time,
            "requires_python": file.requires_python,
            "yanked": file.yanked,
        }
        for file in files
    ]
    if not rows:
        raise PinwheelError(
            f"the index has no project {name}", where=client.url, remedy="`pinwheel index.list` shows its projects"
        )
    if json:
        console.document({"name": name, "files": rows})
        return
    columns = ("filename", "version", "size", "upload_time", "sha256")
    console.table(columns, [["" if row[key] is None else row[key] for key in columns] for row in rows])


@task(
    auto_shortflags=False,
    positional=["name"],
    help={"name": "a project", "data": DATA_HELP, "json": JSON_HELP},
)
def why(_context: Any, name: str, data: str = DATA, json: bool = False) -> None:
    """Explain where the files of a project come from: published here, or from which upstream.

    Reads the data folder, in which the server leaves with what --private and --upstream it was started, and asks
    nobody: it tells of an upstream only what the index has looked up. Before any start, index.private of
    pinwheel.toml counts.

    Example:
        pinwheel index.why requests
    """
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.index.assembly import stored
    from pinwheel.index.why import Started, explain

    index = stored(Path(data))
    try:
        started = Started.read(Path(data))
        if started.upstreams is None:
            started = Started(_private(config.load()))
        origin = explain(name, index.records, Path(data) / "upstream", started)
    finally:
        index.close()
    if json:
        console.document(origin.document())
        return
    console.data(f"{origin.name}: {origin.reason}")
    if origin.files:
        console.table(("filename", "from"), [[file, where] for file, where in origin.files])


@task(auto_shortflags=False, help={"data": DATA_HELP, "json": JSON_HELP})
def verify(_context: Any, data: str = DATA, json: bool = False) -> None:
    """Compare every record with its blob: size and sha256. Safe while the server runs.

    Example:
        pinwheel index.verify --data /srv/index
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.assembly import stored
    from pinwheel.index.audit import verify as compare

    index = stored(Path(data))
    try:
        faults = list(compare(index.records, index.blobs))
        checked = len(index.records.blobs())
    finally:
        index.close()
    if json:
        console.document({"checked": checked, "faults": [{"what": f.what, "problem": f.problem} for f in faults]})
    else:
        for fault in faults:
            console.data(f"{fault.what}: {fault.problem}")
    if faults:
        raise PinwheelError(
            f"{len(faults)} of {checked} blobs are not as recorded",
            where=data,
            remedy="upload these files again: the same bytes replace what is missing or damaged",
        )
    console.say(f"{checked} blobs are as recorded")


def _private(loaded: Loaded) -> tuple[str, ...]:
    """The globs in pinwheel.toml. Raises `UsageError`."""
    from pinwheel.index.globs import checked

    return checked(loaded.config.index.private, f"{loaded.file}: index.private")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seconds(text: str) -> float:
    """`90d`, `12h`, `30m` or `45s` in seconds. Raises `UsageError`, also for more than a hundred years."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    number, unit = text[:-1].lstrip("0"), text[-1:]
    if not number.isdecimal() or unit not in units:
        raise UsageError(f"{text!r} is no duration", remedy="write 90d, 12h, 30m or 45s")
    # by its length first: Python refuses to read numbers of thousands of digits
    if len(number) > 12 or int(number) * units[unit] > LONGEST_S:
        raise UsageError(
            "this is longer than a hundred years", where=f"--expires {text[:40]}", remedy="36500d is the most"
        )
    return float(int(number) * units[unit])


def collection() -> Collection:
    """The tasks named `index.…`."""
    return Collection("index", serve, token_create, token_list, token_revoke, list_, why, verify)
