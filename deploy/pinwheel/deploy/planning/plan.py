"""What will happen on each host and why: a pure function of the wish, the hosts' facts and the policy."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pinwheel.config import Rollout
from pinwheel.deploy.host.space import shortage
from pinwheel.deploy.planning.facts import HostFacts, Installed
from pinwheel.deploy.planning.fit import Machine, Misfit, chosen, machine
from pinwheel.deploy.planning.lock import Wheel
from pinwheel.deploy.planning.making import THERE, How, Making, making
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.planning.steps import Activate, Prepare
from pinwheel.deploy.planning.surplus import superseded
from pinwheel.deploy.planning.waves import Service, batch_size, waves
from pinwheel.deploy.planning.wish import Setup, Wish


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


def plan(wish: Wish, facts: Mapping[str, HostFacts | Outcome], policy: Rollout, keep: int = 0) -> Plan:
    """Decide what takes each host of `facts` to `wish`. When it can be taken to all of them, no more than `keep`
    releases stay there; 0 is all. Raises `UsageError` for a policy that cannot be."""
    batch_size(len(facts), policy)  # a wrong policy is an error also when nothing is to be done
    choose = functools.cache(functools.partial(_chosen, wish))  # most hosts are alike
    made = [_host(wish, known, choose) if isinstance(known, HostFacts) else known for known in facts.values()]
    hosts = tuple(each for each in made if isinstance(each, HostPlan))
    blocked = tuple(each for each in made if isinstance(each, Outcome))
    tasks = tuple(_tasks(wish, hosts, facts))
    whole = Plan(wish, hosts, blocked, policy, service(wish.application, facts), tasks)
    if not keep or blocked or not whole.changes:
        return whole
    gone = superseded(wish, [each for each in facts.values() if isinstance(each, HostFacts)], keep)
    return replace(whole, hosts=tuple(_lightened(each, gone[each.host]) for each in hosts))


def _lightened(host: HostPlan, gone: Collection[str]) -> HostPlan:
    """The same, without the releases that are `gone` then; but that as which the new one begins is still needed."""
    superfluous = tuple(each for each in gone if each != host.making.base)
    return replace(host, prepare=replace(host.prepare, superfluous=superfluous))


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


def _host(wish: Wish, facts: HostFacts, choose: Callable[[Machine], tuple[Wheel, ...] | Misfit]) -> HostPlan | Outcome:
    here = facts.installed(wish.application)
    there = here.release(wish.release)
    if blocked := _blocked(wish, facts, here):
        return blocked
    made = THERE
    if there is None:
        wheels = choose(machine(facts))
        if isinstance(wheels, Misfit):
            remedy = (
                "install the Python that the lock is for and name it in layout.python, or lock for this host "
                f"(packaging.pythons, packaging.platforms): pinwheel packaging.lock {wish.project}=={wish.version}"
            )
            return Outcome(facts.host, Ending.FAILED, wheels.why, remedy)
        made = making(facts, here, wheels)
        if problem := shortage(made.bytes, facts.free_bytes):
            return Outcome(facts.host, Ending.FAILED, problem, "free some space where layout.root is")
    setup = wish.delivery.setups[facts.host] if wish.delivery else None
    conf = setup.text(here.colour) if setup else None
    reasons = _reasons(wish, here, conf)
    activate = _activate(wish, facts.host, here, setup) if reasons else None
    if activate and facts.foreign:
        return Outcome(facts.host, Ending.FAILED, facts.foreign, "ask its owner to correct it", code="foreign-conf")
    diff = _diff(here.conf, conf) if conf is not None and here.conf is not None else ""
    if there is not None and there.verdict == "bad":
        reasons.append("it failed its gate here before")
    return HostPlan(
        host=facts.host,
        current=here.current,
        wanted=wish.release,
        prepare=_prepare(wish, facts.host, made),
        making=made,
        activate=activate,
        back=_back(wish, facts.host, here, changes=bool(diff)) if activate else None,
        conf_diff=diff,
        why="; ".join(reasons) or "already as wished",
        conf_sha256=here.conf_sha256,
    )


def _chosen(wish: Wish, host: Machine) -> tuple[Wheel, ...] | Misfit:
    """The wheels of the lock for `host`; of a wish without one there is nothing to choose."""
    return chosen(wish.delivery.packages, wish.delivery.requires_python, host) if wish.delivery else ()


def _blocked(wish: Wish, facts: HostFacts, here: Installed) -> Outcome | None:
    """Why nothing can be done with the host, whatever would have to move."""

    def failed(reason: str, remedy: str, code: str = "") -> Outcome:
        return Outcome(facts.host, Ending.FAILED, reason, remedy, code=code)

    if not facts.ready:
        lacks = ", ".join(facts.missing) or "something"
        return failed(f"it is not ready, it lacks {lacks}", "run pinwheel deploy.bootstrap for the environment first")
    if newer := next((each.unsupported for each in facts.applications.values() if each.unsupported), ""):
        return failed(newer, "use the newer pinwheel here, too", "unsupported")
    there = here.release(wish.release)
    if wish.delivery is None and (there is None or (here.current != wish.release and there.verdict != "good")):
        return failed(
            f"{wish.release} never passed its gate here, so there is nothing to go back to",
            f"run pinwheel deploy.rollout {wish.application}=={wish.version}",
        )
    return None


def _prepare(wish: Wish, host: str, made: Making) -> Prepare:
    return Prepare(
        host=host,
        application=wish.application,
        project=wish.project,
        release=wish.release,
        version=wish.version,
        lock_sha256=wish.lock_sha256,
        commit=wish.commit,
        signer=wish.signer,
        wheels=tuple(each.document() for each in made.wheels),
        base=made.base,
        deliver=wish.delivery.deliver if wish.delivery else "index",
    )


def _activate(wish: Wish, host: str, here: Installed, setup: Setup | None) -> Activate:
    return Activate(
        host=host,
        application=wish.application,
        release=wish.release,
        conf=setup.conf if setup else None,
        programs=setup.programs if setup else None,
        colours=setup.colours if setup else {},
        expected_current=here.current,
    )


def _back(wish: Wish, host: str, here: Installed, *, changes: bool) -> Activate | None:
    """What takes the host from the wished release back to what it ran before. `changes`: of one that stays its conf."""
    if here.current is None:
        return None
    if here.current != wish.release:
        return Activate(host, wish.application, here.current, None, None, wish.release)
    if not changes:
        return None
    return Activate(host, wish.application, wish.release, None, None, wish.release, former=True)


def _reasons(wish: Wish, here: Installed, conf: str | None) -> list[str]:
    """Why the host must be activated; none when it is as wished."""
    if here.current is None:
        return ["nothing runs yet"]
    if here.current != wish.release:
        return [f"runs {here.current}"]
    reasons = []
    conf_changes = conf is not None and hashlib.sha256(conf.encode()).hexdigest() != here.conf_sha256
    # a conf names its set of secrets; one that is left as it is goes on with that, whatever they are by now
    if conf_changes and (delivery := wish.delivery) and delivery.secrets != here.secrets:
        reasons.append(f"its secrets change ({', '.join(delivery.secret_names) or 'it has none any more'})")
        if conf is not None and here.secrets and here.conf == conf.replace(delivery.secrets or "\0", here.secrets):
            conf_changes = False  # in nothing but the name of their folder, which is said already
    if here.in_doubt:
        reasons.append("an activation was cut off")
    if here.drift:
        reasons.append("its conf was changed on the host")
    elif conf_changes:
        reasons.append("its conf changes")
    if not here.running:
        down = [f"{each.program} is {each.state}" for each in here.processes if each.state != "RUNNING"]
        reasons.append(", ".join(down) or "no process runs")
    return reasons


def _diff(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "on the host", "wished", lineterm="", n=1)
    return "\n".join(lines)
