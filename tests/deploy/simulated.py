"""Hosts in memory behind the `Hosts` port: they answer requests as the protocol says, without a machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pinwheel.config import Layout
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning.facts import DIGITS
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.reaching.hosts import (
    Files,
    HostKey,
    HostKeyUnknown,
    HostLost,
    HostUnreachable,
    StepRefused,
    Told,
    no_files,
    untold,
)

Body = Mapping[str, Any]


@dataclass
class SimulatedHost:
    """One host. Releases in `sick` do not pass their gate here; `fault` names what goes wrong on the next asking."""

    name: str
    ready: bool = True
    key: HostKey | None = None
    users: set[str] = field(default_factory=set)
    notes: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    sick: set[str] = field(default_factory=set)
    unreachable: bool = False
    down: bool = False
    prepare_fails: bool = False
    lost_in: str = ""
    foreign: str = ""
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)
    current: str | None = None
    conf: str | None = None
    programs: list[str] = field(default_factory=list)
    pid: int = 0
    fence: int = 0
    free_bytes: int = 10**10
    log_tail: str = "Traceback: boom"
    secrets: set[str] = field(default_factory=set)
    tasks: dict[str, str] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    exit_code: int = 0
    activations: list[str] = field(default_factory=list)
    by: str = ""
    log: list[str] = field(default_factory=list)
    last: dict[str, Any] | None = None
    sent: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        stored = self.releases.get(self.current or "", {})
        application = {
            "current": self.current,
            "in_doubt": False,
            "releases": [
                {key: each[key] for key in ("release", "version", "lock_sha256", "verdict", "activated_at")}
                | {key: each.get(key, "") for key in ("commit", "signer")}
                | {"wheels": each.get("wheels", [])}
                for each in self.releases.values()
            ],
            "conf_sha256": hashlib.sha256(self.conf.encode()).hexdigest() if self.conf else None,
            "conf": self.conf,
            "secrets": stored.get("secrets", ""),
            "tasks": {key: {"state": state} for key, state in self.tasks.items()},
            "drift": self.conf != stored.get("conf"),
            "deployed": {"at": stored.get("activated_at"), "by": self.by, "rollout": "r1"} if self.current else {},
            "last": self.last,
            "processes": self.processes(),
        }
        return {
            "python": "3.11.2",
            "machine": "x86_64",
            "libc": ["glibc", "2.36"],
            "free_bytes": self.free_bytes,
            "ready": self.ready,
            "missing": [] if self.ready else ["folders", "uv", "supervisor"],
            "uv": "0.9.1" if self.ready else None,
            "pip": True,
            "supervisor": {"version": "4.3.0", "state": "RUNNING"} if self.ready else None,
            "foreign": self.foreign,
            "fence": {"live": self.fence} if self.fence else {},
            "applications": {"shop": application} if self.releases or self.tasks else {},
        }

    def processes(self) -> list[dict[str, Any]]:
        since = "2026-01-01T00:00:00Z"
        state = "FATAL" if self.down else "RUNNING"
        return [{"program": each, "pid": self.pid, "state": state, "since": since} for each in self.programs]

    def survey(self, body: Body) -> dict[str, Any]:
        uv = [f"install {body['uv']['filename']}"] if body["uv"] else []
        work = [] if self.ready else [*uv, "start supervisor"]
        work += [f"add the system user {each}" for each in body["users"] if each not in self.users]
        return {"changes": [{"what": each, "why": "not there"} for each in work], "notes": list(self.notes)}

    def bootstrap(self, body: Body) -> dict[str, Any]:
        done = [each["what"] for each in self.survey(body)["changes"]]
        missing = [{"what": each, "problem": "it fails", "where": "", "remedy": "mend it"} for each in self.lacks]
        self.ready, self.users = self.ready or not self.lacks, {*self.users, *body["users"]}
        return {"changes": [each for each in done if each not in self.lacks], "missing": missing, "notes": []}

    def prepare(self, body: Body, files: Files) -> dict[str, Any]:
        if self.prepare_fails:
            raise StepRefused(
                "prepare-failed", "the installer failed", where=f"{self.name}.example:22", remedy="read its output"
            )
        if body["secrets"]:
            self.secrets.add(body["secrets"]["id"])
        removed = self.prune({"applications": {"shop": body["superfluous"]}}, gone=True)["removed"]
        about = {"seconds": 0.5, "bytes": 1000, "removed": removed}
        if body["release"] in self.releases:
            return {"created": False, "how": "there", "base": None, "shared": 0, **about}
        wheels = {each["sha256"][:DIGITS] for each in body["wheels"]}
        shared = wheels & {*self.releases.get(body["base"], {}).get("wheels", ())}
        missing = [each["sha256"] for each in body["wheels"] if each["sha256"][:DIGITS] not in shared]
        if body["deliver"] == "push":
            self.sent += [files(sha256).name for sha256 in missing]
        kept = {key: body[key] for key in ("application", "release", "version", "lock_sha256", "commit", "signer")}
        more = {"conf": None, "verdict": "prepared", "activated_at": None, "wheels": sorted(wheels)}
        self.releases[body["release"]] = {**kept, **more}
        how = {"how": "clone", "base": body["base"]} if shared else {"how": "uv", "base": None}
        return {"created": True, **how, "shared": len(shared), **about}

    def activate(self, body: Body) -> dict[str, Any]:
        release, conf = body["release"], body["conf"]
        if self.current != body["expected_current"]:
            raise StepRefused("moved", f"{self.current} runs", where=f"{self.name}.example:22", remedy="plan again")
        stored = self.releases[release]
        if conf is None:
            kept = stored["former"] if body["former"] else stored
            conf, programs, secrets = kept["conf"], kept["programs"], kept["secrets"]
        else:
            programs = [name for each in body["programs"] for name in each["processes"]]
            secrets = next((each["secrets"] for each in body["programs"] if each.get("secrets")), "")
        if secrets and secrets not in self.secrets:
            raise StepRefused("not-prepared", "its secrets are not here", where=self.name, remedy="roll it out")
        as_wished = self.current == release and self.conf == conf and release not in self.sick and not self.down
        if as_wished and body["restart"] is None:
            return self._result("unchanged")
        if body["conf"] is not None and self.current == release:
            stored["former"] = {key: stored[key] for key in ("conf", "programs", "secrets")}
        self.activations.append(release)
        about = {"at": "2026-01-01T00:00:00Z", "by": self.by, "rollout": "r1", "release": release}
        self.last = {**about, "previous": self.current, "event": "commit"}
        self.pid += 1
        if release in self.sick:
            stored["verdict"] = "bad"
            if self.current is None:
                return self._result("removed", "the gate said no", program="shop-web")
            self.down = self.current in self.sick
            outcome = "revert-unhealthy" if self.down else "reverted"
            self.last |= {"event": outcome, "reason": "the gate said no"}
            return self._result(outcome, "the gate said no", self.log_tail, "500", "shop-web")
        stored.update(
            conf=conf,
            programs=programs,
            secrets=secrets,
            verdict="good",
            activated_at=f"2026-01-01T00:00:{self.pid:02d}Z",
        )
        self.current, self.conf, self.programs, self.down = release, conf, programs, False
        return self._result("activated")

    def prune(self, body: Body, *, gone: bool) -> dict[str, Any]:
        named = [name for name in body["applications"].get("shop", ()) if name in self.releases]
        kept = {f"shop {name}": "it runs" for name in named if name == self.current}
        doomed = [name for name in named if name != self.current]
        for name in doomed if gone else ():
            del self.releases[name]
        return {"removed": [f"apps/shop/releases/{name}" for name in doomed], "kept": kept, "bytes": 10 * len(doomed)}

    def tell(self, body: Body, told: Told) -> dict[str, Any]:
        if self.current is None:
            raise StepRefused("not-prepared", "shop was never here", where=f"{self.name}.example:22", remedy="roll out")
        for process in self.programs:
            if body["program"] in ("", process):
                start = max(0, body["seen"].get(process, [1, len(self.log) - body["lines"]])[1])
                told({"type": "log", "process": process, "lines": self.log[start:], "seen": [1, len(self.log)]})
        return {"logs": self.programs}

    def task(self, body: Body) -> dict[str, Any]:
        key = f"{body['release']}/{body['task']}"
        if self.tasks.get(key) == "done" or body["mode"] == "done":
            self.tasks[key] = "done"
            return {"state": "done", "ran": False, "exit": 0, "output": "", "seconds": 0.0}
        if self.tasks.get(key) == "running" and body["mode"] != "again":
            raise StepRefused("task-unknown", "nobody saw how it ended", where=self.name, remedy="--task-done NAME")
        self.ran.append(tuple(body["command"]))
        self.tasks[key] = "failed" if self.exit_code else "done"
        about = {"state": self.tasks[key], "ran": True, "exit": self.exit_code}
        return {**about, "output": f"{body['task']} was here", "seconds": 0.1}

    def run(self, body: Body) -> dict[str, Any]:
        if self.current is None:
            raise StepRefused("not-prepared", "it does not run here", where=self.name, remedy="roll it out")
        self.ran.append(tuple(body["command"]))
        return {"exit": self.exit_code, "seconds": 0.1}

    def _result(
        self, outcome: str, reason: str = "", log_tail: str = "", probe: str = "", program: str = ""
    ) -> dict[str, Any]:
        return {
            "outcome": outcome,
            "reason": reason,
            "program": program,
            "log_tail": log_tail,
            "probe": probe,
            "processes": self.processes(),
            "seconds": 0.1,
        }


class SimulatedHosts:
    """The port. `asked` is every (action, host) in order; `most_at_once` the most activations at the same time.

    `before` is called with action and host before a host works, outside of any lock.
    """

    def __init__(self, *names: str, before: Callable[[str, str], None] = lambda action, host: None) -> None:
        self.hosts = {name: SimulatedHost(name) for name in names}
        self.asked: list[tuple[str, str]] = []
        self.trusted: list[HostKey] = []
        self.most_at_once = 0
        self.aborted = False
        self.before = before
        self._activating = 0
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> SimulatedHost:
        return self.hosts[name]

    def ask(
        self,
        host: str,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told = untold,
        files: Files = no_files,
    ) -> Mapping[str, Any]:
        here, action = self.hosts[host], request["action"]
        with self._lock:
            self.asked.append((action, host))
            self._activating += action == "activate"
            self.most_at_once = max(self.most_at_once, self._activating)
        try:
            self.before(action, host)
            return self._answer(here, request, heard, told, files)
        finally:
            with self._lock:
                self._activating -= action == "activate"

    def greet(self, host: str) -> None:
        here = self.hosts[host]
        if here.unreachable:
            raise HostUnreachable("nobody listens", where=f"{here.name}.example:22", remedy="is it up?")
        if here.key is not None and here.key not in self.trusted:
            raise HostKeyUnknown("its key is not known", where=f"{here.name}.example:22", remedy="", key=here.key)

    def trust(self, key: HostKey) -> None:
        self.trusted.append(key)

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        pass

    def _answer(
        self,
        here: SimulatedHost,
        request: Mapping[str, Any],
        heard: Callable[[str], None],
        told: Told,
        files: Files,
    ) -> Mapping[str, Any]:
        action = request["action"]
        if here.unreachable:
            raise HostUnreachable("nobody listens", where=f"{here.name}.example:22", remedy="is it up?")
        if here.lost_in == action:
            raise HostLost("the connection was lost", where=f"{here.name}.example:22", remedy="look at it")
        if request["fence"] is not None:
            if request["fence"] < here.fence:
                raise StepRefused("fenced", "a newer rollout was here", where=f"{here.name}.example:22", remedy="look")
            here.fence, here.by = request["fence"], request["by"]
        match action:
            case "facts":
                return here.facts()
            case "survey":
                return here.survey(request["body"])
            case "bootstrap":
                return here.bootstrap(request["body"])
            case "prepare":
                return here.prepare(request["body"], files)
            case "logs":
                return here.tell(request["body"], told)
            case "weigh" | "prune":
                return here.prune(request["body"], gone=action == "prune")
            case "task":
                return here.task(request["body"])
            case "run":
                heard("hello from the command")
                return here.run(request["body"])
            case _:
                return here.activate(request["body"])

    def did(self, action: str) -> list[str]:
        """The hosts that were asked for `action`, in order."""
        return [host for one, host in self.asked if one == action]


@dataclass
class Lease:
    """A fence in memory."""

    token: int = 1
    held: bool = True

    def valid(self) -> bool:
        return self.held


class Balancer:
    """`drains.Traffic` in memory: who gets no work (`drained`), and everything that was asked. `fails` holds
    ("drain" or "undrain", host) that do not succeed."""

    def __init__(self) -> None:
        self.drained: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.fails: set[tuple[str, str]] = set()

    def drain(self, host: str) -> str:
        if not (problem := self._do("drain", host)):
            self.drained.add(host)
        return problem

    def undrain(self, host: str) -> str:
        if not (problem := self._do("undrain", host)):
            self.drained.discard(host)
        return problem

    def _do(self, what: str, host: str) -> str:
        self.asked.append((what, host))
        return f"{what} says no" if (what, host) in self.fails else ""


class Diary:
    """A recorder in memory: (kind, host) of each event, and everything about it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, kind: str, subject: str, **about: object) -> None:
        self.events.append({"kind": kind, "subject": subject, **about})

    def kinds(self) -> list[tuple[str, str]]:
        return [(each["kind"], each.get("host", "")) for each in self.events]


class Onlooker:
    """A watcher in memory."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.outcomes: list[Outcome] = []
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def heard(self, host: str, text: str) -> None:
        pass

    def said(self, text: str) -> None:
        self.notes.append(text)


def target(name: str, **variables: str) -> Target:
    return Target(name, "127.0.0.1", 22, "", (), Layout(), variables)
