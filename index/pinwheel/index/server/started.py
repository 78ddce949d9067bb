"""What a server leaves in its data folder for tasks beside it: how it was last started, without credentials."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.version import Version

from pinwheel.index.policy import Policy
from pinwheel.index.public.cooldown import Cooldown, Exemption
from pinwheel.index.store.disk import scratch_file, write_all

STARTED = "started.json"


@dataclass(frozen=True, slots=True)
class Started:
    """What decides where files come from: upstreams' addresses; of the policy, what is private and the cool-down."""

    policy: Policy
    upstreams: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Leave it in the data folder."""
        exceptions = [
            {"project": one.project, "version": str(one.version), "reason": one.reason, "until": one.until.isoformat()}
            for one in self.policy.cooldown.exemptions
        ]
        document = {
            "private": self.policy.private,
            "upstreams": self.upstreams,
            "cooldown_s": self.policy.cooldown.period_s,
            "exceptions": exceptions,
        }
        with scratch_file(folder / "tmp", "started") as file:  # each worker writes it
            write_all(file, (json.dumps(document) + "\n").encode())
            Path(file.name).replace(folder / STARTED)


def last_start(folder: Path) -> Started | None:
    """How the server of a data folder was last started; None when it never was."""
    try:
        document = json.loads((folder / STARTED).read_text())
    except FileNotFoundError:
        return None
    exemptions = tuple(
        Exemption(one["project"], Version(one["version"]), one["reason"], date.fromisoformat(one["until"]))
        for one in document["exceptions"]
    )
    policy = Policy(private=tuple(document["private"]), cooldown=Cooldown(document["cooldown_s"], exemptions))
    return Started(policy, tuple(document["upstreams"]))
