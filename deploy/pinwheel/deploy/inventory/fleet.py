"""The hosts of an environment as values: how to reach each, and where things are on it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pinwheel.config import Application, Config, Environment, Host, Layout
from pinwheel.deploy.inventory.template import fill
from pinwheel.errors import UsageError

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What applications and programs may be called: they become folders, and names in supervisor's file."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host. `user` empty and `port` 22 leave the choice to the SSH configuration; `become` is the argv prefix
    that makes a command run with the rights that the layout needs, () for none."""

    name: str
    address: str
    port: int
    user: str
    become: tuple[str, ...]
    layout: Layout
    variables: Mapping[str, str]

    @property
    def where(self) -> str:
        """Its address for people."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.address}:{self.port}"


def targets(name: str, environment: Environment) -> tuple[Target, ...]:
    """The hosts of the environment called `name`, in the configuration's order.

    `{host}` and the host's variables in the layout's paths are filled in. Raises `UsageError`.
    """
    return tuple(_target(name, environment, host, about) for host, about in environment.hosts.items())


def chosen(environment_name: str, among: tuple[Target, ...], names: Sequence[str]) -> tuple[Target, ...]:
    """Those of `among` that are named, in their order. Raises `UsageError` for a name that none of them has."""
    table = {each.name: each for each in among}
    for name in names:
        _named(table, name, "host", f"--host of {environment_name}")
    return tuple(each for each in among if each.name in names)


def environment(config: Config, name: str) -> Environment:
    """The environment `name`; it has at least one host. Raises `UsageError`."""
    found = _named(config.environments, name, "environment", "--env")
    if not found.hosts:
        raise UsageError("the environment has no hosts", where=f"environments.{name}.hosts", remedy="add a host")
    return found


def application(config: Config, name: str) -> Application:
    """The application `name`; it has at least one program. Raises `UsageError`."""
    found = _named(config.applications, name, "application", "APP")
    where = f"applications.{name}"
    if not found.programs:
        raise UsageError("the application has no programs", where=f"{where}.programs", remedy="name one to start")
    for key in (name, *found.programs):
        if not NAME.fullmatch(key):
            raise UsageError(
                f"{key!r} cannot be a name on a host",
                where=where,
                remedy="use letters, digits, dots, dashes, underscores",
            )
    for key, program in found.programs.items():
        if program.processes < 1:
            raise UsageError(
                "there must be a process", where=f"{where}.programs.{key}.processes", remedy="write 1 or more"
            )
    return found


def _named(table: Mapping[str, T], name: str, what: str, given_as: str) -> T:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    known = f"known: {', '.join(sorted(table))}" if table else f"the configuration has no [{what}s.…]"
    raise UsageError(
        f"there is no {what} {name!r}",
        where=given_as,
        remedy=f"did you mean {near[0]}? {known}" if near else known,
    )


def _target(environment_name: str, environment: Environment, name: str, host: Host) -> Target:
    values = {**host.variables, "host": name}
    where = f"environments.{environment_name}.layout"
    paths = ("root", "python", "supervisor_conf_dir", "supervisor_socket")
    filled: dict[str, Any] = {key: fill(getattr(environment.layout, key), values, f"{where}.{key}") for key in paths}
    layout = dataclasses.replace(environment.layout, **filled)
    for key in ("root", "supervisor_conf_dir", "supervisor_socket"):
        path = getattr(layout, key)
        # supervisor expands % in a log's path twice, and cuts a value at " ;": such paths cannot be written for it
        if not path.startswith("/") or any(bad in path for bad in "%;#\n"):
            raise UsageError(
                f"{path!r} cannot be used", where=f"{where}.{key}", remedy="write an absolute path without % ; #"
            )
    return Target(
        name=name,
        address=host.address or name,
        port=host.port or environment.port,
        user=host.user or environment.user,
        become=environment.become,
        layout=layout,
        variables=host.variables,
    )
