"""One command on one environment: its configuration, index, hosts and ledger."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import secrets
import shlex
import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pinwheel import config
from pinwheel.deploy.host import bundle
from pinwheel.deploy.inventory import fleet, source
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.holder import Owner
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.report import Conclusion
from pinwheel.deploy.planning.secret_set import SecretSet
from pinwheel.deploy.reaching.hosts import Hosts
from pinwheel.deploy.reaching.ssh import KEPT, SshHosts
from pinwheel.deploy.rolling import hooks, lease
from pinwheel.deploy.rolling.history import events_of
from pinwheel.deploy.rolling.patient import Patient
from pinwheel.deploy.rolling.pool import Context, Fence, HostPool, Recorder, Watcher, gather
from pinwheel.deploy.rolling.stop import Interrupted, Stop, stoppable
from pinwheel.deploy.rolling.webhook import Announced
from pinwheel.deploy.rolling.wheelhouse import Wheelhouse, default_folder
from pinwheel.errors import UsageError
from pinwheel.index.client import IndexClient, IndexFile, from_config
from pinwheel.ledger import Ledger, default_spool

HOSTS_TOKEN_S = 1800
"""How long the hosts' read token lives: enough to prepare a fleet, too short to be worth stealing."""

IMPATIENT_S = 2.0


def person() -> str:
    """Who is at work, as the ledger names them: `ann@desk`."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@dataclass
class Session:
    """One command on one environment, with everything at hand; hosts are connected to when they are first asked.

    `targets` are the hosts that it is about, all of the environment unless `limit` says which.
    """

    loaded: config.Loaded
    name: str
    environment: config.Environment
    targets: tuple[Target, ...]
    hosts: Hosts
    watcher: Watcher
    stop: Stop = field(default_factory=Stop)
    rollout: str = ""
    limit: str = ""
    secrets: Mapping[str, SecretSet] = field(default_factory=dict, repr=False)
    task_modes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def client(self) -> IndexClient:
        return from_config(self.loaded)

    @cached_property
    def impatient(self) -> IndexClient:
        """The same index for what happens during a rollout: an index that hangs must not hold up the hosts."""
        return from_config(self.loaded, IMPATIENT_S)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(Patient(self.impatient), default_spool(os.environ, self.impatient.url))

    @property
    def scope(self) -> str:
        """The environment and the limit, as they stand on the command line after --env."""
        return f"{self.name} {self.limit}".strip()

    @property
    def context(self) -> Context:
        targets = {each.name: each for each in self.targets}
        return Context(
            self.name,
            self.rollout,
            targets,
            self.environment.connections,
            by=person(),
            limit=self.limit,
            launcher=bundle.launcher(),
            secrets=self.secrets,
            task_modes=self.task_modes,
        )

    def pool(self, context: Context | None = None) -> HostPool:
        """The hosts, to be asked in `context`, by default the session's."""
        return HostPool(self.hosts, context or self.context, self.watcher, self.stop)

    def events(self) -> list[dict[str, Any]]:
        """What the ledger knows of the environment, what waits here for the index included; oldest first."""
        self.ledger.deliver()
        return events_of(self.client, self.name)

    def announced(self) -> Recorder:
        """The ledger, whose rollouts the environment's webhook hears of. Raises `UsageError`."""
        url = os.environ.get("PINWHEEL_WEBHOOK") or self.environment.hooks.webhook
        return Announced(self.ledger, url, self.watcher.said) if url else self.ledger

    def hooks(self, application: str, version: str) -> hooks.Commands:
        """The environment's commands for a rollout of this. Raises `UsageError`, with the key's place."""
        place = f"environments.{self.name}.hooks"
        values = {"application": application, "version": version, "environment": self.name}
        with self.located():
            return hooks.commands(
                self.environment.hooks, self.loaded.folder, place, self.targets, values, list(Conclusion)
            )

    def facts(self, names: Container[str] | None = None) -> dict[str, HostFacts | Outcome]:
        """What every host says, or every one of `names`, asked at the same time. Raises `Interrupted`."""
        asked = [each for each in self.targets if names is None or each.name in names]
        told = gather(self.pool(), asked)
        if self.stop.is_set():
            raise Interrupted(self.stop)
        return told

    def begin(self) -> None:
        """Give what is done from now on an id, which ties its events together."""
        self.rollout = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"

    def placed(self, name: str, settled: config.Application | None = None) -> dict[str, config.Application]:
        """The application called `name` as it runs on each of the hosts, by host; as configured, unless it was
        `settled` before. Raises `UsageError`."""
        application = settled or fleet.application(self.loaded.config, name)
        with self.located():
            return fleet.placed(name, application, self.name, self.environment.groups, self.targets)

    @contextlib.contextmanager
    def located(self) -> Iterator[None]:
        """Around what reads values of the configuration: an error tells the line of its key, too. `Interrupted` when
        the operator has stopped it, for Ctrl-C ends a command that is asked for a secret as well."""
        try:
            yield
        except UsageError as error:
            if self.stop.is_set():
                raise Interrupted(self.stop) from None
            raise UsageError(error.problem, where=self.loaded.place(error.where), remedy=error.remedy) from error

    @contextlib.contextmanager
    def lease(self, application: str = "") -> Iterator[Fence]:
        """The right to change the environment, under a new rollout id, for `application`; for all when it is empty.

        Raises `UsageError`, `Refused` when somebody holds it, and `PinwheelError` when our credential is not for that.
        """
        projects = (application, fleet.project(self.loaded.config, application)) if application else ()
        self.begin()
        owner = str(Owner(getpass.getuser(), socket.gethostname(), os.getpid()))
        with lease.hold(self.impatient, self.name, owner, self.rollout, projects, said=self.watcher.said) as held:
            yield held

    def index_for_hosts(self) -> str:
        """The address of the index as the hosts see it, with a token that may only read, and not for long. Empty
        for hosts that do not reach it."""
        if self.environment.deliver == "push":
            return ""
        token = ""
        if config.token(self.loaded):
            token = self.client.mint_token(f"hosts of {self.name} in rollout {self.rollout}", ["read"], HOSTS_TOKEN_S)
        return IndexClient(self._hosts_index, token).credentialed_simple_url()

    def wheelhouse(self, projects: Mapping[str, str]) -> Wheelhouse:
        """The files of `projects` (names by sha256), for hosts that do not reach the index."""
        return Wheelhouse(self.client, default_folder(), projects)

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
def open_session(
    name: str,
    watcher: Watcher,
    only_hosts: Sequence[str] = (),
    only_groups: Sequence[str] = (),
    *,
    asks_once: bool = False,
) -> Iterator[Session]:
    """Read the configuration and get ready to talk to the hosts of environment `name`, or to some of them
    (`fleet.limited`). Who asks each host once keeps no connection to it.

    Signals stop what is under way. Raises `UsageError`.
    """
    loaded = config.load()
    environment = source.filled(name, fleet.environment(loaded.config, name), loaded.folder, watcher.said)
    targets = fleet.limited(name, environment, fleet.targets(name, environment), only_hosts, only_groups)
    hosts = SshHosts(
        targets,
        known_hosts=loaded.path(environment.known_hosts) if environment.known_hosts else None,
        identity_file=loaded.path(environment.identity_file) if environment.identity_file else None,
        kept=0 if asks_once else KEPT,
    )
    flags = [("--host", each) for each in only_hosts] + [("--group", each) for each in only_groups]
    with hosts:
        made = Session(loaded, name, environment, targets, hosts, watcher, limit=shlex.join(itertools.chain(*flags)))
        with stoppable(made.stop, hosts):
            yield made
