"""`pinwheel packaging.vendor`: third parties' files become files of our own index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Context, task

from pinwheel.errors import UsageError
from pinwheel.packaging.commands.options import JSON, client_of, targets_of, tools_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.requirements import Requirement

    from pinwheel.config import Loaded
    from pinwheel.packaging.locking.lockfile import Lock
    from pinwheel.packaging.locking.vendor import From
    from pinwheel.packaging.tools import Tools

VENDOR = {
    "what": "an application's version, as in acme-shop==1.2.0, or a FILE with requirements, one a line",
    "from": "ADDRESS of another index, which has pages below simple/ (default: the private index and its upstream)",
}


@task(help=VENDOR | JSON)
def vendor(
    _context: Context,
    what: str,
    from_: str = "",
    json: bool = False,
) -> None:
    """Bring third parties' packages into the private index, so that no upstream is needed for them any more.

    With an application's version: the very files of its lock, when it has one. Wheels for packaging.pythons and
    packaging.platforms are taken as they are; what has none is built from its sdist, as releases are built. Each file
    gets a statement of where it comes from. From then on these names are private: no upstream is asked for them
    again, and newer versions come by vendoring with --from.

    Example:
      pinwheel packaging.vendor acme-shop==1.2.0
      pinwheel packaging.vendor third-party.txt --from https://index.example/
    """
    from pinwheel import config, console
    from pinwheel.packaging.locking.vendor import vendor as vendor_all

    loaded = config.load()
    tools = tools_of(loaded)
    wanted = _wanted(loaded, what, from_)
    done = vendor_all(wanted, _from(loaded, from_, tools), targets_of(loaded), tools)
    published = sum(each.outcome == "published" for each in done)
    if json:
        from dataclasses import asdict

        console.document({"vendored": [asdict(each) for each in done]})
    else:
        rows = [
            (each.name, each.version, each.filename, each.outcome, each.built_from and f"built from {each.built_from}")
            for each in done
        ]
        console.table(("package", "version", "file", "outcome", ""), rows)
    console.say(f"vendored: {published}, already there: {len(done) - published}")


def _wanted(loaded: Loaded, what: str, source: str) -> Sequence[Requirement] | Lock:
    from pathlib import Path

    from pinwheel.packaging.locking import closure
    from pinwheel.packaging.locking import lock as locking

    if "==" not in what:
        file = Path(what)
        if not file.is_file():
            raise UsageError("there is no such file", where=what, remedy="name one, or an application as APP==VER")
        return closure.requirements(file.read_text(), what)
    client = client_of(loaded)
    project, version = locking.parse_pin(what)
    locking.check_released(client, project, version)
    lock = locking.stored(client, project, version)
    if lock is None and source:
        raise UsageError(
            f"{project} {version} has no lock that says what to take from {source}",
            remedy=f"lock it first (pinwheel packaging.lock {project}=={version}), or name a file of requirements",
        )
    return lock or closure.requirements(f"{project}=={version}", what)


def _from(loaded: Loaded, address: str, tools: Tools) -> From:
    from dataclasses import replace

    from pinwheel.index.client import IndexClient, matching
    from pinwheel.packaging.locking.vendor import From, own_names

    client = client_of(loaded)
    if not address:
        return From(client, tools.resolver)
    ca_file = tools.resolver.ca_file
    # without our token: it is for our own index
    try:
        other = IndexClient(address.rstrip("/").removesuffix("/simple") + "/", ca_file=ca_file)
    except UsageError as error:  # which takes it for the address of our own
        raise UsageError(
            error.problem, where=error.where, remedy="write it as in --from https://index.example/"
        ) from error
    own, globs = own_names(client), loaded.config.index.private
    resolver = replace(tools.resolver, simple_url=other.simple_url(), token="")
    return From(other, resolver, foreign=True, private=lambda name: name in own or bool(matching(name, globs)))
