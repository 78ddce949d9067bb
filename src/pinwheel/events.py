"""Events: what the ledger is made of. Every act of pinwheel is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "published",  # a file became visible in the index, which says so itself
    "removed",  # a version's files were taken away for good; these are said by the index itself, too:
    "yanked",  # a version is no longer chosen unless it is asked for by its number
    "unyanked",
    "promoted",  # a version's files became visible in a channel
    "demoted",
    "status",  # a project became active, archived, quarantined or deprecated
    "released",  # a version was released from a commit
    "locked",  # a lock was stored beside a version
    "vendored",  # a third party's version was taken into the index
    "bootstrapped",  # a host was made ready
    "prepared",  # a release stands on a host, not yet running
    "activated",  # a release runs on a host and passed its gate
    "restarted",  # the release that runs on a host began anew and passed its gate
    "reverted",  # a release failed its gate on a host and the older one is back
    "task",  # a command that runs once for a release ended on a host
    "ran",  # an operator ran a command on a host
    "failed",  # a step failed and nothing runs that did not run before
    "lost",  # a host could not be reached, or not any more while it worked; how that ended it knows itself
    "drained",  # a host is being taken out of service, so that it can be worked on
    "undrained",  # it is back
    "rollout-started",
    "rollout-finished",
    "pruned",  # what nobody needs any more was removed from a host
    "unlocked",  # somebody took an environment from whoever held it
)

OF_THE_INDEX = ("published", "removed", "yanked", "unyanked", "promoted", "demoted", "status")
"""The index says these itself, together with what they tell of; nobody else may."""


@dataclass(frozen=True, slots=True)
class Event:
    """One act: who, what, when, from which commit, with which outcome.

    `id` is unique (a UUID, hex), so that delivering an event twice records it once. `at` is RFC 3339 in UTC.
    `subject` is the project or application, `rollout` the id that ties a rollout's events together.
    Empty text means "does not apply".
    """

    id: str
    at: str
    kind: str
    actor: str
    subject: str
    version: str = ""
    commit: str = ""
    environment: str = ""
    host: str = ""
    rollout: str = ""
    outcome: str = "ok"
    detail: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The JSON form, as stored and sent."""
        return dataclasses.asdict(self)


def from_document(document: Mapping[str, Any]) -> Event:
    """Read `document()` back. Unknown keys are ignored, so that an older reader accepts a newer event.

    Raises `ValueError` when a required key is missing, a value is not text, or the kind is unknown.
    """
    known = {f.name: f for f in dataclasses.fields(Event)}
    values = {key: value for key, value in document.items() if key in known}
    for name, spec in known.items():
        if name == "detail":
            if not isinstance(values.get(name, {}), Mapping):
                raise ValueError("event: detail is not an object")
        elif name not in values:
            if spec.default is dataclasses.MISSING:
                raise ValueError(f"event: {name} is missing")
        elif not isinstance(values[name], str):
            raise ValueError(f"event: {name} is not text")
    if values["kind"] not in KINDS:
        raise ValueError(f"event: unknown kind {values['kind']!r}")
    return Event(**values)
