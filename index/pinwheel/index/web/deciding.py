"""What is decided about releases and projects over HTTP: `/-/releases/…` and `/-/projects/NAME/status`."""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pinwheel.index.answers import Answer, Environ, document
from pinwheel.index.channels import MAIN, Channels
from pinwheel.index.entries import STATUSES, Changed, Curated, NotThere
from pinwheel.index.grants import Principal, need
from pinwheel.index.intake.body import bad, json_of
from pinwheel.index.store.curating import Curator
from pinwheel.index.store.releases import Releases

LONGEST_REASON = 500
SCOPE = {"yank": "upload", "unyank": "upload", "promote": "promote", "demote": "promote"}


class Deciding:
    """Answer those routes. Each act is one transaction with its event, of which the principal is the actor."""

    def __init__(self, releases: Releases, curator: Curator, channels: Channels) -> None:
        self._releases = releases
        self._curator = curator
        self._channels = channels

    def listed(self, principal: Principal, project: str) -> Answer:
        """The releases of a project: whether each is yanked, and in which channels it is. Raises `Denied`."""
        project = canonicalize_name(project)
        need(principal, "read", project=project)
        releases = [
            {
                "version": each.version,
                "yanked": each.yanked,
                "channels": sorted(each.channels),
                "files": [entry.filename for entry in each.files],
            }
            for each in sorted(self._releases.of(project), key=lambda each: Version(each.version))
        ]
        return document(200, {"name": project, "releases": releases})

    def release(self, environ: Environ, principal: Principal, project: str, version: str, act: str) -> Answer:
        """Carry out an act on a release. Raises `Denied`, `Stop` and `NoSpace`."""
        scope = SCOPE.get(act)
        if scope is None:
            return document(404, {"error": f"the acts on a release are {', '.join(SCOPE)}"})
        project = canonicalize_name(project)
        need(principal, scope, project=project)
        try:
            Version(version)
        except InvalidVersion as error:
            raise bad(f"{version!r} is no version") from error
        outcome = self._carried_out(act, project, version, json_of(environ), principal.name)
        return _told(outcome, f"{project} has no release {version}")

    def _carried_out(self, act: str, project: str, version: str, sent: dict[str, Any], actor: str) -> Curated:
        match act:
            case "yank":
                return self._curator.yank(project, version, _reason(sent), actor)
            case "unyank":
                return self._curator.unyank(project, version, actor)
            case "promote":
                return self._curator.promote(project, version, self._channel(sent), actor)
        return self._curator.demote(project, version, self._channel(sent), actor)

    def status(self, environ: Environ, principal: Principal, project: str) -> Answer:
        """Say how a project stands. Raises `Denied`, `Stop` and `NoSpace`."""
        project = canonicalize_name(project)
        need(principal, "admin", project=project)
        sent = json_of(environ)
        status = next((each for each in STATUSES if each == sent.get("status")), None)
        if status is None:
            raise bad(f"the status is one of {', '.join(STATUSES)}")
        outcome = self._curator.set_status(project, status, _reason(sent), principal.name)
        return _told(outcome, f"nothing of {project} was ever published here")

    def _channel(self, sent: dict[str, Any]) -> str:
        channel = sent.get("channel")
        if channel == MAIN:
            raise bad("every release is in main, from its upload until it is removed")
        if not isinstance(channel, str) or channel not in self._channels:
            there = ", ".join(self._channels.promotable) or "none; declare them in the index's pinwheel.toml"
            raise bad(f"there is no channel {channel}; there are {there}")
        return channel


def _reason(sent: dict[str, Any]) -> str:
    reason = sent.get("reason", "")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise bad(f"the reason is one line of text, at most {LONGEST_REASON} characters")
    return reason


def _told(outcome: Curated, missing: str) -> Answer:
    if isinstance(outcome, NotThere):
        return document(404, {"error": missing})
    changed = isinstance(outcome, Changed)
    files = [entry.filename for entry in outcome.files] if isinstance(outcome, Changed) else []
    return document(200, {"changed": changed, "files": files})
