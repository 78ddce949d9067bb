"""The tasks that look at projects and their files."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP, private_globs


@task(
    help={
        "name": "only this project: its files (default: the names of all projects)",
        "channel": "what is visible in this channel (default: main)",
        "json": JSON_HELP,
    },
    name="list",
)
def list_(_context: Any, name: str = "", channel: str = "main", json: bool = False) -> None:
    """List what the configured index holds: its projects, or the files of one.

    Example:
        pinwheel index.list --name acme-greet
    """
    from pinwheel import config, console
    from pinwheel.index.client import from_config

    client = from_config(config.load())
    if not name:
        names = client.projects(channel)
        if json:
            console.document({"projects": list(names)})
        else:
            for each in names:
                console.data(each)
        return
    files = client.files(name, channel)
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
    positional=["release"],
    help={"release": "a project, or one version of it as NAME==VER", "data": DATA_HELP, "json": JSON_HELP},
)
def why(_context: Any, release: str, data: str = DATA, json: bool = False) -> None:
    """Explain for each file of a project where it comes from, and why it is offered or not.

    Published here; from which address of an upstream; held back by the cool-down until when; exempt from it for which
    reason. Reads the data folder, in which the server leaves how it was started, and asks nobody: it tells of an
    upstream only what the index has looked up. Before any start, pinwheel.toml counts.

    Example:
        pinwheel index.why requests==2.33.1
    """
    import time
    from pathlib import Path

    from packaging.utils import canonicalize_name

    from pinwheel import config, console, pin
    from pinwheel.index.commands.options import cooldown
    from pinwheel.index.entries import NAME
    from pinwheel.index.policy import Policy
    from pinwheel.index.public.mirror import kept
    from pinwheel.index.public.origin import explain, of_version, owner
    from pinwheel.index.server.assembly import UPSTREAM, stored
    from pinwheel.index.server.started import Started, last_start

    text, version = pin.parse(release) if "=" in release else (release, None)
    if not NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} is no name of a project", where="NAME[==VER]", remedy="write for example acme-shop or attrs==1.0"
        )
    name = canonicalize_name(text)
    index = stored(Path(data))
    try:
        started = last_start(Path(data))
        if started is None:
            loaded = config.load()
            started = Started(Policy(private=private_globs(loaded), cooldown=cooldown(loaded, "")), ("an upstream",))
        policy = started.policy
        whose = owner(name, published=index.records.is_private(name), private=policy.private)
        seen = kept(Path(data) / UPSTREAM, name)
        own = index.records.project(name).files
    finally:
        index.close()
    origin = explain(name, whose, own, seen, started.upstreams, policy.cooldown, time.time())
    if version is not None:
        origin = of_version(origin, version)
    if json:
        console.document(origin.document())
        return
    console.data(f"{origin.name}: {origin.reason}")
    if origin.files:
        columns = ("filename", "why", "from")
        console.table(columns, [[each.filename, each.why, each.source] for each in origin.files])
    elif version is not None:
        console.data(f"no file of version {version} is known")
    for each in origin.expired:
        console.data(f"expired: the exception for {each.release} ended on {each.until} ({each.reason})")
