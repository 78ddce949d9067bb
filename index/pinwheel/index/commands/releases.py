"""The tasks that decide about what was published: yank, promote, demote, a project's status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import task

from pinwheel.index.commands.options import JSON_HELP

if TYPE_CHECKING:
    from pinwheel.index.client import IndexClient

RELEASE_HELP = "what it is about, as NAME==VER"


@task(
    positional=["release"],
    help={
        "release": RELEASE_HELP,
        "reason": "why, for whoever has pinned the version; installers show it (default: none)",
        "json": JSON_HELP,
    },
)
def yank(_context: Any, release: str, reason: str = "", json: bool = False) -> None:
    """Let installers choose a version only when it is asked for by its number.

    All its files stay where they are, so that nobody's lock breaks. Yanking it again changes the reason. The token
    needs the scope upload.

    Example:
        pinwheel index.yank acme-greet==1.0.0 --reason 'loses greetings'
    """
    client, project, version = _asked(release)
    _told("yanked", "is yanked for that reason already", client.yank(project, version, reason), project, version, json)


@task(positional=["release"], help={"release": RELEASE_HELP, "json": JSON_HELP})
def unyank(_context: Any, release: str, json: bool = False) -> None:
    """Take a yank back. The token needs the scope upload.

    Example:
        pinwheel index.unyank acme-greet==1.0.0
    """
    client, project, version = _asked(release)
    _told("unyanked", "is not yanked", client.unyank(project, version), project, version, json)


@task(
    positional=["release"],
    help={"release": RELEASE_HELP, "to": "the channel (needed)", "json": JSON_HELP},
)
def promote(_context: Any, release: str, to: str = "", json: bool = False) -> None:
    """Show all files that a version has now in a channel, at once.

    The channels are those that index.channels of the server's pinwheel.toml declares. A file that is uploaded later is
    not in the channel until the version is promoted again. The token needs the scope promote.

    Example:
        pinwheel index.promote acme-greet==1.0.0 --to prod
    """
    client, project, version = _asked(release)
    channel = _channel(to, "--to")
    changed = client.promote(project, version, channel)
    _told(f"promoted to {channel}", f"is in {channel} already", changed, project, version, json)


@task(
    positional=["release"],
    help={"release": RELEASE_HELP, "from_": "the channel (needed)", "json": JSON_HELP},
)
def demote(_context: Any, release: str, from_: str = "", json: bool = False) -> None:
    """Take all files of a version out of a channel again. The token needs the scope promote.

    Example:
        pinwheel index.demote acme-greet==1.0.0 --from prod
    """
    client, project, version = _asked(release)
    channel = _channel(from_, "--from")
    changed = client.demote(project, version, channel)
    _told(f"demoted from {channel}", f"is not in {channel}", changed, project, version, json)


@task(
    positional=["name"],
    help={
        "name": "the project",
        "set_": "active, archived (takes no uploads), quarantined (offers no files either) or deprecated (needed)",
        "reason": "why; pages say it (default: none)",
        "json": JSON_HELP,
    },
)
def project_status(_context: Any, name: str, set_: str = "", reason: str = "", json: bool = False) -> None:
    """Say how a project stands, for installers and their users to see. The token needs the scope admin.

    Example:
        pinwheel index.project-status acme-greet --set archived --reason 'replaced by acme-hello'
    """
    from pinwheel import config, console
    from pinwheel.errors import UsageError
    from pinwheel.index.client import from_config
    from pinwheel.index.entries import STATUSES

    if set_ not in STATUSES:
        raise UsageError(f"{set_!r} is no status", where="--set", remedy=f"write one of {', '.join(STATUSES)}")
    changed = from_config(config.load()).set_status(name, set_, reason)
    if json:
        console.document({"name": name, "status": set_, "changed": changed})
    console.say(f"{name} is {set_}" + ("" if changed else ", as before"))


def _asked(release: str) -> tuple[IndexClient, str, str]:
    """The configured index's client, and what it is asked about."""
    from pinwheel import config, pin
    from pinwheel.index.client import from_config

    project, version = pin.parse(release)
    return from_config(config.load()), project, str(version)


def _channel(name: str, flag: str) -> str:
    from pinwheel.errors import UsageError

    if not name:
        raise UsageError("which channel?", where=flag, remedy=f"for example {flag} prod")
    return name


def _told(done: str, before: str, changed: bool, project: str, version: str, json: bool) -> None:
    from pinwheel import console

    if json:
        console.document({"name": project, "version": version, "changed": changed})
    console.say(f"{project} {version} {f'is {done}' if changed else before}")
