"""Decide about what is published: yank, promote, demote, remove a release; give a project its status."""

from __future__ import annotations

from collections.abc import Callable

from pinwheel.index.entries import Act, Changed, Curated, NotThere, Overtaken, Position, Status
from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.releases import Releases
from pinwheel.index.store.storing import Needing, drop


class Curator:
    """Write to `releases`. `now` is the clock (RFC 3339, UTC); `changed` is called with the project after each change.

    Projects are named by their normalised name; `actor` is who decided.
    """

    def __init__(
        self, releases: Releases, records: Needing, blobs: Blobs, now: Callable[[], str], changed: Callable[[str], None]
    ) -> None:
        self._releases = releases
        self._records = records
        self._blobs = blobs
        self._now = now
        self._changed = changed

    def yank(self, project: str, version: str, reason: str, actor: str) -> Curated:
        return self._told(project, self._releases.yank(project, version, reason, self._act(actor)))

    def unyank(self, project: str, version: str, actor: str) -> Curated:
        return self._told(project, self._releases.unyank(project, version, self._act(actor)))

    def promote(self, project: str, version: str, channel: str, actor: str) -> Curated:
        return self._told(project, self._releases.promote(project, version, channel, self._act(actor)))

    def demote(self, project: str, version: str, channel: str, actor: str) -> Curated:
        return self._told(project, self._releases.demote(project, version, channel, self._act(actor)))

    def remove(self, project: str, version: str, actor: str) -> Curated:
        """Take the release away: no file of it is there any more, or, killed before the commit, all of them are."""
        outcome = self._releases.remove(project, version, self._act(actor))
        self._drop(project, outcome)
        return outcome

    def prune(self, project: str, version: str, actor: str, looked_at: Position) -> Changed | NotThere | Overtaken:
        """The same, unless anything may have come to need it since `looked_at`."""
        outcome = self._releases.prune(project, version, self._act(actor), looked_at)
        self._drop(project, outcome)
        return outcome

    def set_status(self, project: str, status: Status, reason: str, actor: str) -> Curated:
        return self._told(project, self._releases.set_status(project, status, reason, self._act(actor)))

    def _drop(self, project: str, outcome: Curated | Overtaken) -> None:
        if isinstance(outcome, Changed):
            self._changed(project)
            for entry in outcome.files:
                metadata = [entry.core_metadata] if isinstance(entry.core_metadata, str) else []
                drop(self._records, self._blobs, entry.sha256, *metadata)

    def _act(self, actor: str) -> Act:
        return Act(self._now(), actor)

    def _told(self, project: str, outcome: Curated) -> Curated:
        if isinstance(outcome, Changed):
            self._changed(project)
        return outcome
