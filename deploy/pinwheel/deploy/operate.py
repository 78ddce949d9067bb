"""The operator's acts, put together from configuration, index, hosts and ledger; `commands` shows what they say."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from pinwheel import config, pin
from pinwheel.deploy import execute, fetch, fleet, lease, steps, supervisor_file
from pinwheel.deploy.execute import Context, HostPool, Report, Stop, Watcher
from pinwheel.deploy.facts import HostFacts
from pinwheel.deploy.fleet import Target
from pinwheel.deploy.gate import Outcome
from pinwheel.deploy.hosts import Hosts
from pinwheel.deploy.plan import Plan, earlier, plan
from pinwheel.deploy.ssh import SshHosts
from pinwheel.deploy.wish import Delivery, Setup, Wish
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.events import Event
from pinwheel.index.client import IndexClient, IndexFile, from_config
from pinwheel.ledger import Ledger, Sink, SinkRefused, SinkUnreachable, default_spool

HOSTS_TOKEN_S = 1800
"""How long the hosts' read token lives: enough to prepare a fleet, too short to be worth stealing."""


IMPATIENT_S = 2.0


class Patient:
    """A sink that, once it did not take what it was given, is left alone for a while: events wait in the spool
    meanwhile, and a rollout neither waits for a timeout at each of them nor complains at each."""

    def __init__(self, sink: Sink, wait_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._wait_s = wait_s
        self._clock = clock
        self._not_before = float("-inf")

    def record(self, events: Sequence[Event]) -> None:
        """As `pinwheel.ledger.Sink`."""
        if self._clock() < self._not_before:
            raise SinkUnreachable("the index did not take events a moment ago")
        try:
            self._sink.record(events)
        except SinkRefused:
            raise  # about one event, and no reason to keep back the others
        except PinwheelError:
            self._not_before = self._clock() + self._wait_s
            raise


class Interrupted(PinwheelError):
    """The operator stopped it before anything was changed."""

    def __init__(self, stop: Stop) -> None:
        super().__init__("interrupted; nothing was changed", remedy="run the command again")
        self.exit_code = stop.exit_code


@dataclass
class Session:
    """One command on one environment, with everything at hand; hosts are connected to when they are first asked."""

    loaded: config.Loaded
    name: str
    environment: config.Environment
    targets: tuple[Target, ...]
    hosts: Hosts
    watcher: Watcher
    stop: Stop = field(default_factory=Stop)
    rollout: str = ""

    @cached_property
    def client(self) -> IndexClient:
        return from_config(self.loaded)

    @cached_property
    def impatient(self) -> IndexClient:
        """The same index for what happens during a rollout: an index that hangs must not hold up the hosts."""
        index = self.loaded.config.index
        ca_file = str(self.loaded.path(index.ca_file)) if index.ca_file else ""
        return IndexClient(index.url, config.token(self.loaded), ca_file=ca_file, timeout_s=IMPATIENT_S)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(Patient(self.impatient), default_spool(os.environ, self.impatient.url))

    @property
    def context(self) -> Context:
        targets = {each.name: each for each in self.targets}
        return Context(self.name, self.rollout, targets, self.environment.connections)

    def pool(self, context: Context) -> HostPool:
        return HostPool(self.hosts, context, self.watcher, self.stop)

    def facts(self) -> dict[str, HostFacts | Outcome]:
        """What every host says, asked at the same time. Raises `Interrupted`."""
        told = execute.gather(self.pool(self.context), self.targets)
        if self.stop.is_set():
            raise Interrupted(self.stop)
        return told

    @contextlib.contextmanager
    def lease(self) -> Iterator[lease.Held[lease.Granted]]:
        """The right to change the environment, under a new rollout id."""
        self.rollout = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        owner = f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()}"
        leases: lease.Leases[lease.Granted] = self.impatient  # type: ignore[assignment]
        with lease.hold(leases, self.name, owner, self.rollout, said=self.watcher.said) as held:
            yield held

    def index_for_hosts(self) -> str:
        """The address of the index as the hosts see it, with a token that may only read, and not for long."""
        token = ""
        if config.token(self.loaded):
            token = self.client.mint_token(f"hosts of {self.name} in rollout {self.rollout}", ["read"], HOSTS_TOKEN_S)
        return IndexClient(self._hosts_index, token).credentialed_simple_url()

    def as_hosts_see(self, file: IndexFile) -> dict[str, str]:
        """A file of the index, with the address under which the hosts reach it."""
        url = file.url
        if url.startswith(self.client.url):
            url = IndexClient(self._hosts_index).url + url.removeprefix(self.client.url)
        return {"filename": file.filename, "url": url, "sha256": file.sha256}

    @property
    def _hosts_index(self) -> str:
        return self.environment.index_url or self.loaded.config.index.url


@contextlib.contextmanager
def open_session(name: str, watcher: Watcher) -> Iterator[Session]:
    """Read the configuration and get ready to talk to the hosts of environment `name`.

    SIGINT, SIGTERM and SIGHUP stop what is under way: nothing more is started, hosts at work go back. A second one
    cuts the connections, which the hosts take for the same. Raises `UsageError`.
    """
    loaded = config.load()
    environment = fleet.environment(loaded.config, name)
    targets = fleet.targets(name, environment)
    hosts = SshHosts(
        targets,
        known_hosts=loaded.path(environment.known_hosts) if environment.known_hosts else None,
        identity_file=loaded.path(environment.identity_file) if environment.identity_file else None,
    )
    with hosts:
        made = Session(loaded, name, environment, targets, hosts, watcher)
        with _stoppable(made):
            yield made


def planned(session: Session, text: str) -> Plan:
    """The plan for `APP==VER`. Changes nothing, and is what `rolled_out` carries out."""
    return plan(_wish(session, text), session.facts(), session.environment.rollout)


def rolled_out(session: Session, text: str) -> tuple[Plan, Report]:
    """Take every host to `APP==VER`. Raises `Refused` when somebody else holds the environment."""
    wanted = _wish(session, text)
    with session.lease() as held:
        return _carried_out(session, plan(wanted, session.facts(), session.environment.rollout), held)


def rolled_back(session: Session, application: str, to: str) -> tuple[Plan, Report]:
    """Take every host back to the newest good release before the running one, or to `to`. Needs no lock: the hosts
    have kept all of it. Raises `Refused`, `plan.NothingToGoBackTo`, `PinwheelError` when no host answers."""
    project = fleet.application(session.loaded.config, application).project or application
    with session.lease() as held:
        told = session.facts()
        away = [each for each in told.values() if isinstance(each, Outcome)]
        if len(away) == len(told):
            reasons = "\n".join(f"{each.host}: {each.reason}" for each in away)
            raise PinwheelError("no host answers", where=reasons, remedy=away[0].remedy)
        found = earlier(application, [each for each in told.values() if isinstance(each, HostFacts)], to)
        wanted = Wish(application, project, found.version, found.release, None, found.lock_sha256)
        return _carried_out(session, plan(wanted, told, session.environment.rollout), held)


def bootstrapped(session: Session, *, check: bool) -> dict[str, tuple[str, ...] | Outcome]:
    """By host what was changed, or with `check` what would be; () for a host that was ready."""
    if check:
        return {name: told if isinstance(told, Outcome) else told.missing for name, told in session.facts().items()}
    with session.lease() as held:
        told = session.facts()
        bare = [each for each in told.values() if isinstance(each, HostFacts) and not each.ready]
        done: dict[str, tuple[str, ...] | Outcome] = {
            name: each if isinstance(each, Outcome) else () for name, each in told.items()
        }
        if not bare:
            return done
        uv = session.client.files("uv")
        supervisor = ""
        if any(each.layout.supervisor_from == "index" for each in session.targets):
            supervisor = fetch.supervisor_requirements(session.client.files("supervisor"))
        wanted = [
            steps.Bootstrap(each.host, session.as_hosts_see(fetch.uv_wheel(uv, each.machine, each.libc)), supervisor)
            for each in bare
        ]
        context = replace(session.context, index_url=session.index_for_hosts())
        session.watcher.phase(f"make ready {', '.join(each.host for each in bare)}")
        return done | execute.bootstrap(session.pool(context), wanted, held, session.ledger, session.watcher, context)


def history(name: str, limit: int) -> list[dict[str, object]]:
    """The last `limit` events of the environment, oldest first."""
    loaded = config.load()
    fleet.environment(loaded.config, name)
    client = from_config(loaded)
    found: list[dict[str, object]] = []
    while page := client.events(after=int(str(found[-1]["serial"])) if found else 0, environment=name):
        found += page
    return found[-limit:]


def _carried_out(session: Session, made: Plan, held: lease.Held[lease.Granted]) -> tuple[Plan, Report]:
    context = session.context
    if made.changes:
        if any(each.builds for each in made.hosts):
            context = replace(context, index_url=session.index_for_hosts())
    elif not made.blocked:
        outcomes = tuple(execute.unchanged(each) for each in made.hosts)
        return made, Report(session.rollout, execute.Conclusion.DONE, "", outcomes, 0)
    report = execute.rollout(made, session.pool(context), held, session.ledger, session.watcher, context, session.stop)
    return made, report


def _wish(session: Session, text: str) -> Wish:
    name, wanted = pin.parse(text)
    application = fleet.application(session.loaded.config, name)
    project = application.project or name
    found = fetch.locked(session.client, project, str(wanted))
    lock, version = found.lock, found.version
    try:
        setups = {
            target.name: Setup(
                supervisor_file.conf(name, application, target, lock.release, version),
                supervisor_file.programs(name, application, target, lock.release, version),
            )
            for target in session.targets
        }
    except UsageError as error:
        raise UsageError(error.problem, where=session.loaded.place(error.where), remedy=error.remedy) from error
    return Wish(
        application=name,
        project=project,
        version=version,
        release=lock.release,
        delivery=Delivery(setups, lock.requirements, lock.space_bytes),
        lock_sha256=lock.sha256,
        commit=found.commit,
    )


@contextlib.contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Let signals stop `session` for as long as the block lasts."""

    def stop(number: int, _frame: object) -> None:
        # from a thread: this runs in the middle of whatever the main thread does, which may hold the same locks
        end: Callable[[], None] = session.hosts.close if session.stop.is_set() else session.hosts.abort
        session.stop.set(number)
        threading.Thread(target=end, name="stop", daemon=True).start()

    before: Mapping[int, object] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
