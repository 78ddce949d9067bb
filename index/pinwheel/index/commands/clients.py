"""`pinwheel index.client`."""

from __future__ import annotations

from typing import Any

from invoke import task

from pinwheel.index.commands.options import JSON_HELP


@task(
    positional=["client"],
    optional=["write"],
    help={
        "client": "pip, uv, poetry, pdm, twine or netrc",
        "write": "write the files: into the home folder, or below the folder that follows (default: print them)",
        "channel": "the channel to install from (default: main)",
        "credential": "whether files hold the credential; if not, variables that carry it are named (default: yes)",
        "json": JSON_HELP,
    },
)
def client(
    _context: Any,
    client: str,
    write: Any = None,
    channel: str = "main",
    credential: bool = True,
    json: bool = False,
) -> None:
    """Configure a client for the configured index: that one index and no other.

    Printed, the credential is masked. Written, it stands only in files that nobody else can read. What stands in a
    file already is kept; where it says something else, nothing is written.

    Example:
        pinwheel index.client pip --write
    """
    import os
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.index.client import from_config
    from pinwheel.index.installers import files
    from pinwheel.index.installers.settings import Where, settings

    loaded = config.load()
    index = from_config(loaded)
    ca_file = loaded.config.index.ca_file
    where = Where(index.simple_url(channel), f"{index.url}legacy/", str(loaded.path(ca_file)) if ca_file else "")
    token = config.token(loaded) if credential else ""
    made = settings(client, where, token)
    folder = Path(write).absolute() if isinstance(write, str) else None
    paths = {file.path: files.destination(file, folder, os.environ) for file in made.files}
    changed: dict[str, bool] = {}
    if write:
        # all are joined before any is written
        pending = [files.prepare(file, paths[file.path]) for file in made.files]
        for one in pending:
            if one.changed:
                files.write(one)
            changed[str(one.path)] = one.changed

    def masked(text: str) -> str:
        return text.replace(token, "********") if token else text

    if json:
        shown = [
            {
                "path": str(paths[file.path]),
                "secret": file.secret,
                "text": masked(file.text),
                "written": changed.get(str(paths[file.path]), False),
            }
            for file in made.files
        ]
        told = {"environment": dict(made.environment), "notes": list(made.notes)}
        console.document({"client": client, "index": where.simple, "files": shown, **told})
        return
    for file in made.files:
        path = paths[file.path]
        if write:
            console.say(f"{'wrote' if changed[str(path)] else 'already so:'} {path}")
        else:
            console.data(f"# {path}{', for you alone (0600)' if file.secret else ''}\n{masked(file.text)}")
    for name, value in made.environment.items():
        console.data(f'export {name}="{value}"')
    for note in made.notes:
        console.say(note)
