"""What shall run, and how it is set up on each host. Values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from packaging.specifiers import SpecifierSet

from pinwheel.deploy.planning.lock import Package

Act = Literal["rollout", "rollback", "resume", "restart"]
"""What is done to hosts in waves."""


@dataclass(frozen=True, slots=True)
class Task:
    """A command that runs once for the release. `program` is the one as which it runs, as `activate` takes it; `host`
    empty: the first that is activated; `when`: before the first activation, or after the last."""

    name: str
    program: Mapping[str, Any]
    command: tuple[str, ...]
    timeout_s: float
    when: str = "before"
    host: str = ""


@dataclass(frozen=True, slots=True)
class Programs:
    """Some programs on one host: supervisor's file for them, and their health checks."""

    conf: str
    programs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """How the application runs on one host: what is stopped for its successor, the tasks as they would run there, and
    in each colour what runs beside its successor: `colours` is empty when nothing is replaced without downtime."""

    conf: str
    programs: tuple[Mapping[str, Any], ...]
    tasks: tuple[Task, ...] = ()
    colours: Mapping[str, Programs] = field(default_factory=dict)

    def text(self, colour: str) -> str:
        """All that supervisor reads when it runs in `colour`; in any, when that is none of its own."""
        either = self.colours.get(colour) or next(iter(self.colours.values()), None)
        return self.conf + (either.conf if either else "")

    @property
    def sha256(self) -> str:
        """Of all of it: two setups that differ in anything have two."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a rollout brings to hosts: what the lock has, and a setup for each host by its name. `deliver` is "index"
    when hosts fetch it there, "push" when it comes over our connection. `secrets` is the id of the set that programs
    get, `secret_names` what is in it; the values travel beside the plan, never in it."""

    setups: Mapping[str, Setup]
    packages: tuple[Package, ...] = field(default=(), repr=False)
    requires_python: SpecifierSet = field(default_factory=SpecifierSet)
    deliver: Literal["index", "push"] = "index"
    secrets: str = ""
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """`release` of `application` shall run. Without a delivery each host takes what it has kept. Of a restart,
    `version` and `release` are those that run, when it is one on all hosts, and empty otherwise.
    `signer` is who has signed that it comes from `commit`; empty when that is not proven."""

    application: str
    project: str
    version: str
    release: str
    delivery: Delivery | None
    lock_sha256: str = ""
    commit: str = ""
    signer: str = ""
    act: Act = "rollout"
