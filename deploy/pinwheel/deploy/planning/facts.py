"""What a host says about itself, as frozen values: the answer to the runner's `facts`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RUNNING = "RUNNING"
DIGITS = 16
"""Of a sha256, as hosts tell them of their wheels. Whether two are the same they decide by all of its digits."""


@dataclass(frozen=True, slots=True)
class Process:
    """One supervised process. `state` is supervisor's word; `pid` 0 when there is none; `since` RFC 3339 or empty;
    `memory_bytes` is what it and all that it has started has in memory. A process that goes on is equal to itself."""

    program: str
    pid: int
    state: str
    since: str = ""
    uptime_s: int = field(default=0, compare=False)
    memory_bytes: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """One complete release on a host. `verdict`: prepared, good (it passed its gate there) or bad (it failed it).
    `signer` is who has signed that it comes from `commit`, empty when that was not proven. `wheels` are
    those that another release there may share, each by the first 16 digits of its sha256."""

    release: str
    version: str
    lock_sha256: str
    verdict: str
    activated_at: str = ""
    commit: str = ""
    signer: str = ""
    wheels: frozenset[str] = field(default=frozenset(), repr=False)

    def shares(self, sha256: str) -> bool:
        """May another release have this wheel from here?"""
        return sha256[:DIGITS] in self.wheels


@dataclass(frozen=True, slots=True)
class Record:
    """What the host's journal says was done last: `event` is begin, commit, reverted, revert-unhealthy or removed,
    `release` what it was about, `previous` what ran before. Empty text where the host does not know."""

    event: str
    at: str
    by: str
    rollout: str
    release: str
    previous: str
    reason: str


@dataclass(frozen=True, slots=True)
class Installed:
    """One application on one host. `deployed_at` is when its release came to run there, RFC 3339, in the rollout
    `deployed_in`; a restart changes neither. `drift`: its conf on disk is not the one that its release was activated
    with; `in_doubt`: an activation was cut off and has not been replayed yet; `conf` None when the host does not
    tell. `previous` is what ran before `current`. `secrets` names the set that its programs have; `tasks` says by
    RELEASE/TASK how each ended: done, failed, or running, which may also mean that nobody was there to see its end.
    `colour` is that in which it runs, empty without zero downtime; `unsupported` says why this pinwheel cannot read
    what is there, and then nothing else is known but releases and processes."""

    current: str | None = None
    in_doubt: bool = False
    drift: bool = False
    conf_sha256: str = ""
    conf: str | None = None
    releases: tuple[Release, ...] = ()
    processes: tuple[Process, ...] = ()
    deployed_at: str = ""
    deployed_by: str = ""
    deployed_in: str = ""
    previous: str = ""
    last: Record | None = None
    secrets: str = ""
    tasks: Mapping[str, str] = field(default_factory=dict)
    colour: str = ""
    unsupported: str = ""

    def release(self, name: str | None) -> Release | None:
        """The complete release called `name`."""
        return next((each for each in self.releases if each.release == name), None)

    def has(self, program: str) -> bool:
        """Is there a process of `program`, as supervisor knows it? With several they are numbered."""
        return any(re.fullmatch(rf"{re.escape(program)}(_\d+)?", each.program) for each in self.processes)

    @property
    def running(self) -> bool:
        """Is something there, and all of it up?"""
        return bool(self.processes) and all(each.state == RUNNING for each in self.processes)

    @property
    def healthy(self) -> bool:
        return self.running and not self.in_doubt and not self.unsupported


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host. `libc` is ("glibc", "2.36") or ("musl", …); `missing` says what `deploy.bootstrap` would add; `uv` and
    `supervisor` are versions, None when there is none or nobody answers; without uv `pip` must do; `foreign` says
    which file of somebody else's keeps supervisor from reloading, empty when none is seen to; `fence` is the highest
    fencing token seen, by environment."""

    host: str
    python: str
    machine: str
    libc: tuple[str, str]
    free_bytes: int
    ready: bool
    missing: tuple[str, ...] = ()
    uv: str | None = None
    pip: bool = False
    supervisor: str | None = None
    foreign: str = ""
    fence: Mapping[str, int] = field(default_factory=dict)
    applications: Mapping[str, Installed] = field(default_factory=dict)

    def installed(self, application: str) -> Installed:
        """The application on this host; an empty one when it was never there."""
        return self.applications.get(application, Installed())

    def serves(self, application: str) -> bool:
        """Is the application there, and all of it up, in no doubt?"""
        return self.installed(application).healthy


def parse(host: str, result: Mapping[str, Any]) -> HostFacts:
    """Read the result of `facts`. Raises `KeyError` and its like for another shape."""
    libc = result["libc"]
    return HostFacts(
        host=host,
        python=result["python"],
        machine=result["machine"],
        libc=(libc[0], libc[1]) if libc else ("", ""),
        free_bytes=int(result["free_bytes"]),
        ready=result["ready"],
        missing=tuple(result["missing"]),
        uv=result["uv"],
        pip=result.get("pip", False),
        supervisor=result["supervisor"] and result["supervisor"]["version"],
        foreign=result.get("foreign", ""),
        fence=dict(result["fence"]),
        applications={name: _installed(each) for name, each in result["applications"].items()},
    )


def process(document: Mapping[str, Any]) -> Process:
    """Read one process of a result."""
    return Process(
        document["program"],
        document["pid"] or 0,
        document["state"],
        document["since"] or "",
        int(document.get("uptime_s", 0)),
        int(document.get("memory_bytes", 0)),
    )


def _installed(document: Mapping[str, Any]) -> Installed:
    deployed, last = document.get("deployed") or {}, document.get("last")
    return Installed(
        current=document["current"],
        in_doubt=document["in_doubt"],
        drift=document["drift"],
        conf_sha256=document["conf_sha256"] or "",
        conf=document.get("conf"),
        releases=tuple(
            Release(
                each["release"],
                each["version"],
                each["lock_sha256"],
                each["verdict"],
                each["activated_at"] or "",
                each.get("commit") or "",
                each.get("signer") or "",
                frozenset(each.get("wheels", ())),
            )
            for each in document["releases"]
        ),
        processes=tuple(process(each) for each in document["processes"]),
        deployed_at=deployed.get("at") or "",
        deployed_by=deployed.get("by") or "",
        deployed_in=deployed.get("rollout") or "",
        previous=deployed.get("previous") or "",
        last=Record(**{f.name: last.get(f.name) or "" for f in dataclasses.fields(Record)}) if last else None,
        secrets=document.get("secrets", ""),
        tasks={key: each["state"] for key, each in document.get("tasks", {}).items()},
        colour=document.get("colour", ""),
        unsupported=document.get("unsupported", ""),
    )
