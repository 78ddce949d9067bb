"""`pinwheel packaging.lock`."""

from __future__ import annotations

from invoke import Context, task

from pinwheel.packaging.commands.options import JSON, client_of, tools_of


@task(auto_shortflags=False, help={"pin": "the application's version, as in acme-shop==1.2.0"} | JSON)
def lock(_context: Context, pin: str, json: bool = False) -> None:
    """Lock what an application's version needs to run, with hashes, and keep the lock beside it in the index.

    Two documents are stored: pylock.toml (PEP 751), and requirements.txt with the same pins for installers that
    cannot read it. Only the private index is asked. Markers are kept, so one lock serves every platform.

    Example:
      pinwheel packaging.lock acme-shop==1.2.0
    """
    import sys

    from pinwheel import config, console
    from pinwheel.packaging import lock as locking
    from pinwheel.packaging.publish import origins

    loaded = config.load()
    tools = tools_of(loaded)
    client = client_of(loaded)
    project, version = locking.parse_pin(pin)
    locking.check_released(client, project, version)
    python = loaded.config.packaging.python or "{}.{}".format(*sys.version_info)
    with console.progress("lock") as progress:
        progress.update(f"{project} {version}: resolving for Python {python}")
        made = locking.resolve(tools.resolver, project, version, python)
    stored = locking.store(client, project, version, made)
    outcome = "locked" if stored else "already there"
    if stored:
        detail = {"sha256": made.sha256, "python": python, "pins": [f"{name}=={of}" for name, of in made.pins]}
        there = origins(client, project, str(version)).values()
        commits = {file.provenance.commit for file in there if file.provenance}
        commit = commits.pop() if len(commits) == 1 else ""
        tools.events.append("locked", project, version=str(version), commit=commit, detail=detail)
    if json:
        pins = [{"name": name, "version": of} for name, of in made.pins]
        about = {"name": project, "version": str(version), "python": python, "sha256": made.sha256}
        console.document({"lock": about | {"outcome": outcome, "packages": pins}})
    else:
        console.table(("package", "version"), made.pins)
        console.say(f"{project} {version}: {outcome}, {made.sha256[:8]}")
