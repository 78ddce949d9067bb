"""The tasks that look at projects and their files."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.errors import PinwheelError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP, private_globs


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
            started = Started(private_globs(config.load()))
        origin = explain(name, index.records, Path(data) / "upstream", started)
    finally:
        index.close()
    if json:
        console.document(origin.document())
        return
    console.data(f"{origin.name}: {origin.reason}")
    if origin.files:
        console.table(("filename", "from"), [[file, where] for file, where in origin.files])
