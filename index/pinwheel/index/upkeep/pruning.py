"""Remove the releases that the retention rules give up, looking again whenever one may have become needed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pinwheel.index.channels import MAIN
from pinwheel.index.entries import Changed, Overtaken
from pinwheel.index.store.attachments import Attachments
from pinwheel.index.store.blobs import Blobs
from pinwheel.index.store.curating import Curator
from pinwheel.index.store.event_log import MOST_EVENTS, EventLog
from pinwheel.index.store.releases import Release, Releases
from pinwheel.index.upkeep.retention import Dated, Locked, Plan, Rules, deployments, pins, planned, reasons

ACTOR = "prune"
LOCKS = ("pylock.toml", "requirements.txt")
_DEPLOYING = ("rollout-started", "activated")


class Names(Protocol):
    """Which projects there are."""

    def names(self) -> tuple[str, ...]:
        """The projects that have at least one file, sorted."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a plan is made from. `now` counts seconds since 1970."""

    records: Names
    releases: Releases
    events: EventLog
    attachments: Attachments
    blobs: Blobs
    now: Callable[[], float]


def plan(ground: Ground, rules: Rules) -> Plan:
    """What goes by the rules as of now."""
    deployed = deployments(sorted(_deploying(ground.events), key=lambda event: int(event["serial"])))
    every = [_dated(each) for name in ground.records.names() for each in ground.releases.of(name)]
    return planned(every, rules, reasons(every, deployed, list(_locks(ground))), ground.now())


def prune(ground: Ground, curator: Curator, rules: Rules) -> Iterator[Dated]:
    """Carry it out, and give each release that was removed. Killed midway, whole releases are there or not."""
    while True:
        looked_at = ground.releases.position()
        for each in plan(ground, rules).remove:
            outcome = curator.prune(each.project, each.version, ACTOR, looked_at)
            if isinstance(outcome, Overtaken):
                break
            if isinstance(outcome, Changed):
                yield each
        else:
            return


def _deploying(events: EventLog) -> Iterator[Mapping[str, Any]]:
    for kind in _DEPLOYING:
        serial = 0
        while True:
            found, _ = events.after(serial, MOST_EVENTS, kind=kind)
            yield from found
            if len(found) < MOST_EVENTS:
                break
            serial = int(found[-1]["serial"])


def _locks(ground: Ground) -> Iterator[Locked]:
    for project, version, stored in ground.attachments.named(LOCKS):
        blob = ground.blobs.open(stored.sha256)
        if blob is not None:
            with blob:
                yield Locked(project, version, stored.sha256, pins(blob.read()))


def _dated(release: Release) -> Dated:
    uploaded = max(datetime.fromisoformat(each.upload_time).timestamp() for each in release.files)
    return Dated(
        release.project,
        release.version,
        uploaded,
        frozenset(each.sha256 for each in release.files),
        release.channels - {MAIN},
    )
