"""What will happen on each host and why: a pure function of the wish, the hosts' facts and the policy."""

from __future__ import annotations

import difflib
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from packaging.version import InvalidVersion, Version

from pinwheel.config import Rollout
from pinwheel.deploy.planning.facts import HostFacts, Installed, Release
from pinwheel.deploy.planning.fit import misfit
from pinwheel.deploy.planning.gate import Ending, Outcome
from pinwheel.deploy.planning.steps import Activate, Prepare
from pinwheel.deploy.planning.waves import Service, batch_size, waves
from pinwheel.deploy.planning.wheels import Machine, NoWheel, Wheel, chosen, machine
from pinwheel.deploy.planning.wish import Wish
from pinwheel.errors import PinwheelError

CONF_CHANGES = "its conf changes"
MIB = 1 << 20
UNPACKED = 4
"""Bytes on disk for each byte of a wheel: unpacked three times as large, and its bytecode. The
runner counts with it too."""

RESERVE_BYTES = 16 * MIB
"""What must stay free beside a new release. The runner insists on it."""


class NothingToGoBackTo(PinwheelError):
    """No release on the hosts can be rolled back to."""


class How(StrEnum):
    """How a release comes to be on a host."""

    THERE = "there"  # it is complete already
    CLONE = "clone"  # it shares files with another release there, and only the difference is installed
    UV = "uv"
    PIP = "pip"  # no uv runs there


@dataclass(frozen=True, slots=True)
class Making:
    """`how` a release will be made, and `why` so. It shares `shared` of its `wheels` with the release `base`; the
    others, of `bytes` in all, move to the host."""

    how: How
    why: str
    wheels: tuple[Wheel, ...] = field(default=(), repr=False)
    moving: tuple[Wheel, ...] = field(default=(), repr=False)
    base: str = ""

    @property
    def shared(self) -> int:
        return len(self.wheels) - len(self.moving)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.moving)


THERE = Making(How.THERE, "")


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host: the release that runs, and what takes it to the wanted one.

    Every host is asked to prepare, because that is when it learns the rollout's fencing token; `making` says how the
    release comes to be there. `activate` None: it is as wished; `back` takes it back once it was activated, None when
    there is nothing to go back to. `why` says for people what makes the steps necessary; `conf_diff` is empty when the
    conf stays or is not known; `conf_sha256` is of the conf that is there.
    """

    host: str
    current: str | None
    wanted: str
    prepare: Prepare
    making: Making
    activate: Activate | None
    back: Activate | None
    conf_diff: str
    why: str
    conf_sha256: str = ""

    @property
    def builds(self) -> bool:
        return self.making.how is not How.THERE


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task that has not been done for the release. `host` is where it will run; `so_far` is empty, or says that it
    failed there or that nobody knows how it ended (`running`)."""

    name: str
    when: str
    host: str
    so_far: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`hosts` and `blocked` together are the fleet, each host once, in the fleet's order. `blocked` are the hosts with
    which nothing can be done, each with its reason. `service` is who of them is in service before anything is done.
    `tasks` run once, in their order."""

    wish: Wish
    hosts: tuple[HostPlan, ...]
    blocked: tuple[Outcome, ...]
    policy: Rollout
    service: Service
    tasks: tuple[PlannedTask, ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.tasks) or any(each.builds or each.activate for each in self.hosts)

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The hosts to activate, as it will be when every host comes through."""
        return waves([each.host for each in self.hosts if each.activate], self.policy, self.service)


def plan(wish: Wish, facts: Mapping[str, HostFacts | Outcome], policy: Rollout) -> Plan:
    """Decide what takes each host of `facts` to `wish`. Raises `UsageError` for a policy that cannot be."""
    batch_size(len(facts), policy)  # a wrong policy is an error also when nothing is to be done
    choose = functools.cache(functools.partial(chosen, wish.delivery.packages if wish.delivery else ()))
    made = [_host(wish, known, choose) if isinstance(known, HostFacts) else known for known in facts.values()]
    hosts = tuple(each for each in made if isinstance(each, HostPlan))
    blocked = tuple(each for each in made if isinstance(each, Outcome))
    tasks = tuple(_tasks(wish, hosts, facts))
    return Plan(wish, hosts, blocked, policy, service(wish.application, facts), tasks)


def _tasks(wish: Wish, hosts: Sequence[HostPlan], facts: Mapping[str, HostFacts | Outcome]) -> Iterator[PlannedTask]:
    """The tasks that no host knows as done for this release. What ran before goes on where it ran."""
    if wish.delivery is None:
        return
    setups = wish.delivery.setups
    tasks = {task.name: task for each in hosts for task in setups[each.host].tasks}
    told = {host: each for host, each in facts.items() if isinstance(each, HostFacts)}
    for task in tasks.values():
        able = [each for each in hosts if task.name in {one.name for one in setups[each.host].tasks}]
        activated = [each.host for each in able if each.activate]
        key = f"{wish.release}/{task.name}"
        so_far = {host: each.installed(wish.application).tasks.get(key, "") for host, each in told.items()}
        if "done" in so_far.values() or (task.when == "before" and not activated):
            continue
        begun = next((host for state in ("running", "failed") for host in so_far if so_far[host] == state), "")
        host = begun or task.host or (activated or [able[0].host])[0]
        yield PlannedTask(task.name, task.when, host, so_far.get(begun, ""))


def service(application: str, facts: Mapping[str, HostFacts | Outcome]) -> Service:
    """Who is in service: a host on which the application is there, and all of it up."""
    out, idle = set(), set()
    for name, known in facts.items():
        if isinstance(known, Outcome):
            out.add(name)
        elif known.installed(application).current is None:
            idle.add(name)
        elif not known.installed(application).running:
            out.add(name)
    return Service(len(facts), frozenset(out), frozenset(idle))


def earlier(application: str, facts: Sequence[HostFacts], to: str = "") -> Release:
    """The release to roll back to: the newest one older than the newest running one that passed its gate on a host.

    For the whole fleet one release, so that a rollout that stopped half-way goes back on the hosts that it reached
    and leaves the others alone. `to` is a version or a release, and then need not be older.
    Raises `NothingToGoBackTo`.
    """
    installed = [each.installed(application) for each in facts]
    running = [found for each in installed if (found := each.release(each.current))]
    if not running:
        raise NothingToGoBackTo(
            f"no host that answers runs {application}",
            remedy=f"see pinwheel deploy.status, or deploy.rollout {application}==VERSION",
        )
    newest = max(running, key=age)
    good = [each for host in installed for each in host.releases if each.verdict == "good"]
    fits = [each for each in good if (_is(each, to) if to else age(each) < age(newest))]
    fits = [each for each in fits if to or each.release != newest.release]
    if not fits:
        known = ", ".join(sorted({each.release for each in good})) or "none"
        raise NothingToGoBackTo(
            f"no host has {application} {to} that passed its gate" if to else f"nothing older than {newest.release}",
            remedy=f"good releases on the hosts: {known}; any other comes by pinwheel deploy.rollout",
        )
    return max(fits, key=age)


def _host(wish: Wish, facts: HostFacts, choose: Callable[[Machine], tuple[Wheel, ...]]) -> HostPlan | Outcome:
    if not facts.ready:
        lacks = ", ".join(facts.missing) or "something"
        remedy = "run pinwheel deploy.bootstrap for the environment first"
        return Outcome(facts.host, Ending.FAILED, f"it is not ready, it lacks {lacks}", remedy)
    if newer := next((each.unsupported for each in facts.applications.values() if each.unsupported), ""):
        return Outcome(facts.host, Ending.FAILED, newer, "use the newer pinwheel here, too", code="unsupported")
    here = facts.installed(wish.application)
    there = here.release(wish.release)
    delivery = wish.delivery
    setup = delivery.setups[facts.host] if delivery else None
    conf = setup.text(here.colour) if setup else None
    if delivery is None and (there is None or (here.current != wish.release and there.verdict != "good")):
        return Outcome(
            facts.host,
            Ending.FAILED,
            f"{wish.release} never passed its gate here, so there is nothing to go back to",
            f"run pinwheel deploy.rollout {wish.application}=={wish.version}",
        )
    if delivery and there is None and (why := misfit(delivery.needs, facts)):
        return Outcome(
            facts.host,
            Ending.FAILED,
            why,
            "install the Python that the lock is for and name it in layout.python, or lock for this one "
            f"(packaging.pythons) and release: pinwheel packaging.lock {wish.project}=={wish.version}",
        )
    try:
        making = THERE if there else _making(facts, here, choose(machine(facts)))
    except NoWheel as error:
        return Outcome(facts.host, Ending.FAILED, error.problem, error.remedy)
    needed = UNPACKED * making.bytes + RESERVE_BYTES
    if there is None and facts.free_bytes < needed:
        return Outcome(
            facts.host,
            Ending.FAILED,
            # one is rounded up and the other down, so that they always differ
            f"{math.ceil(needed / MIB)} MiB are needed for {wish.release} and {facts.free_bytes // MIB} MiB are free",
            "free some space where layout.root is",
        )
    prepare = Prepare(
        host=facts.host,
        application=wish.application,
        project=wish.project,
        release=wish.release,
        version=wish.version,
        lock_sha256=wish.lock_sha256,
        commit=wish.commit,
        signer=wish.signer,
        wheels=tuple(each.document() for each in making.wheels),
        base=making.base,
        deliver=delivery.deliver if delivery else "index",
    )
    reasons = _reasons(here, wish.release, conf)
    if delivery and setup and here.current == wish.release and delivery.secrets != here.secrets:
        only = here.secrets and here.conf == setup.text(here.colour).replace(delivery.secrets or "\0", here.secrets)
        names = ", ".join(delivery.secret_names) or "it has none any more"
        rest = [each for each in reasons if not (only and each == CONF_CHANGES)]
        reasons = [f"its secrets change ({names})", *rest]
    activate = None
    if reasons:
        activate = Activate(
            host=facts.host,
            application=wish.application,
            release=wish.release,
            conf=setup.conf if setup else None,
            programs=setup.programs if setup else None,
            colours=setup.colours if setup else {},
            expected_current=here.current,
        )
    if there is not None and there.verdict == "bad":
        reasons.append("it failed its gate here before")
    diff = _diff(here.conf, conf) if conf is not None and here.conf is not None else ""
    return HostPlan(
        host=facts.host,
        current=here.current,
        wanted=wish.release,
        prepare=prepare,
        making=making,
        activate=activate,
        back=_back(wish, facts.host, here, changes=bool(diff)) if activate else None,
        conf_diff=diff,
        why="; ".join(reasons) or "already as wished",
        conf_sha256=here.conf_sha256,
    )


def _back(wish: Wish, host: str, here: Installed, *, changes: bool) -> Activate | None:
    """What takes the host from the wished release back to what it ran before. `changes`: of one that stays, the conf."""
    if here.current is None:
        return None
    if here.current != wish.release:
        return Activate(host, wish.application, here.current, None, None, wish.release)
    if not changes:
        return None
    return Activate(host, wish.application, wish.release, None, None, wish.release, former=True)


def _making(facts: HostFacts, here: Installed, wheels: tuple[Wheel, ...]) -> Making:
    """From the release that has most of the bytes, the newest of several; if none has any, all of it anew."""

    def moving(base: Release) -> tuple[Wheel, ...]:
        return tuple(each for each in wheels if not base.shares(each.sha256))

    bases = sorted((each for each in here.releases if len(moving(each)) < len(wheels)), key=age, reverse=True)
    if bases:
        best = min(bases, key=lambda each: (sum(wheel.size for wheel in moving(each)), len(moving(each))))
        left = moving(best)
        why = f"{len(wheels) - len(left)} of {len(wheels)} distributions are in {best.release}"
        return Making(How.CLONE, why, wheels, left, best.release)
    why = "no release here has any of it" if here.releases else "no release is here yet"
    if facts.uv:
        return Making(How.UV, why, wheels, wheels)
    return Making(How.PIP, f"{why}, and no uv runs here", wheels, wheels)


def _reasons(here: Installed, release: str, conf: str | None) -> list[str]:
    """Why the host must be activated; none when it is as wished."""
    if here.current is None:
        return ["nothing runs yet"]
    if here.current != release:
        return [f"runs {here.current}"]
    reasons = []
    if here.in_doubt:
        reasons.append("an activation was cut off")
    if here.drift:
        reasons.append("its conf was changed on the host")
    elif conf is not None and hashlib.sha256(conf.encode()).hexdigest() != here.conf_sha256:
        reasons.append(CONF_CHANGES)
    if not here.running:
        down = [f"{each.program} is {each.state}" for each in here.processes if each.state != "RUNNING"]
        reasons.append(", ".join(down) or "no process runs")
    return reasons


def _diff(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "on the host", "wished", lineterm="", n=1)
    return "\n".join(lines)


def version_of(release: str) -> str:
    """The version in a release's name."""
    return release.rpartition("-")[0]


def _is(release: Release, to: str) -> bool:
    """Does `to` name it, as a release or as a version in whatever spelling?"""
    try:
        return to == release.release or Version(to) == Version(release.version)
    except InvalidVersion:
        return to == release.version


def age(release: Release) -> tuple[Version, str]:
    """Sorts releases from old to new: by version, and two locks of one version by when they were activated."""
    try:
        return Version(release.version), release.activated_at
    except InvalidVersion:
        return Version("0"), release.activated_at
