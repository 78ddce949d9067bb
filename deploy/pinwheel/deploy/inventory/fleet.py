"""The hosts of an environment as values: how to reach each, and where things are on it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from pinwheel.config import Application, Config, Environment, Layout
from pinwheel.deploy.inventory.template import fill
from pinwheel.errors import UsageError

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What applications and programs may be called: they become folders, and names in supervisor's file."""

ADDRESS = re.compile(r"[A-Za-z0-9:\[][A-Za-z0-9._:%\]-]*")
"""What hosts and their addresses may be called: a ProxyCommand puts them into a shell line."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host. `user` empty and `port` 22 leave the choice to the SSH configuration; `become` is the argv prefix
    that makes a command run with the rights that the layout needs, () for none. `variables` are the environment's,
    its groups' and its own, the later ones in the place of the earlier."""

    name: str
    address: str
    port: int
    user: str
    become: tuple[str, ...]
    layout: Layout
    variables: Mapping[str, str]
    groups: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Its address for people."""
        user = f"{self.user}@" if self.user else ""
        return f"{user}{self.address}:{self.port}"


def targets(name: str, environment: Environment) -> tuple[Target, ...]:
    """The hosts of the environment called `name`, in the configuration's order.

    `{host}` and the host's variables in the layout's paths are filled in. Raises `UsageError`.
    """
    where = f"environments.{name}"
    groups = {
        key: {*_matching(group.hosts, environment.hosts, "host", f"{where}.groups.{key}.hosts")}
        for key, group in environment.groups.items()
    }
    return tuple(
        _target(name, environment, host, tuple(key for key, members in groups.items() if host in members))
        for host in environment.hosts
    )


def limited(
    name: str, environment: Environment, fleet: Sequence[Target], hosts: Sequence[str], groups: Sequence[str]
) -> tuple[Target, ...]:
    """Those of `fleet` that one of `hosts` and one of `groups` mean, which are names or globs of environment `name`;
    () is no limit. Raises `UsageError`."""
    of_hosts = {*_matching(hosts or ("*",), environment.hosts, "host", "--host")}
    of_groups = {*_matching(groups, environment.groups, "group", "--group")}
    found = tuple(each for each in fleet if each.name in of_hosts and (not groups or of_groups & {*each.groups}))
    if not found:
        raise UsageError(
            f"no host of {name} is in all of that", where="--host, --group", remedy="each of them limits the other"
        )
    return found


def placed(
    name: str, application: Application, environment: str, groups: Iterable[str], fleet: Sequence[Target]
) -> dict[str, Application]:
    """The application called `name` as it runs on each of `fleet`, by host: with the programs whose groups the host is
    in. Hosts without any are left out. `groups` are all of the environment. Raises `UsageError`."""
    where = f"applications.{name}"
    known = {*groups}
    for key, named in ((where, application.groups), *_groups_of_programs(where, application)):
        for group in named:
            if group not in known:
                raise _unknown(group, known, f"group of environment {environment} called", f"{key}.groups")
    found = {}
    for target in fleet:
        programs = {
            key: program
            for key, program in application.programs.items()
            if _in(application.groups, target) and _in(program.groups, target)
        }
        if programs:
            found[target.name] = application.but(programs=programs)
    if not found:
        raise UsageError(
            f"no host is in a group that {name} runs on",
            where=f"{where}.groups",
            remedy="add a host to one of them, or name others with --host and --group",
        )
    return found


def users(applications: Mapping[str, Application], target: Target) -> tuple[str, ...]:
    """The users as which programs run on `target`, in alphabetical order."""
    on_it = [
        program.user
        for application in applications.values()
        for program in application.programs.values()
        if _in(application.groups, target) and _in(program.groups, target)
    ]
    return tuple(sorted({*filter(None, on_it)}))


def environment(config: Config, name: str) -> Environment:
    """The environment `name`; it has at least one host, or a command that knows them. Raises `UsageError`."""
    if not name:
        raise UsageError("no environment is named", where="--env", remedy="name one of pinwheel.toml: --env production")
    found = _named(config.environments, name, "environment", "--env")
    if not found.hosts and not found.inventory:
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


def project(config: Config, name: str) -> str:
    """What the application `name` is released as. Raises `UsageError`."""
    return application(config, name).project or name


def check_application(name: str, config: Config, on_hosts: Iterable[str]) -> None:
    """It is an application of the configuration, or one that hosts still have. Raises `UsageError`."""
    if name not in (known := {*config.applications, *on_hosts}):
        raise _unknown(name, known, "application", "--application")


def _named(table: Mapping[str, T], name: str, what: str, given_as: str) -> T:
    if name in table:
        return table[name]
    raise _unknown(name, table, what, given_as)


def _unknown(name: str, known: Iterable[str], what: str, where: str) -> UsageError:
    """`name` is not among those of its kind, `what`."""
    table = sorted(known)
    near = difflib.get_close_matches(name, table, n=1)
    shown = f"{', '.join(table[:20])}{f' and {len(table) - 20} more' if len(table) > 20 else ''}"
    there = f"known: {shown}" if table else "the configuration has none"
    return UsageError(
        f"there is no {what} {name!r}",
        where=where,
        remedy=f"did you mean {near[0]}? {there}" if near else there,
    )


def _matching(patterns: Iterable[str], names: Iterable[str], what: str, where: str) -> list[str]:
    """The `names` that patterns (with commas between them) mean, in their own order. Raises `UsageError` for one that
    means none."""
    wanted = [each.strip() for text in patterns for each in text.split(",") if each.strip()]
    table = [*names]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in table):
            raise _unknown(pattern, table, what, where)
    return [name for name in table if any(fnmatchcase(name, pattern) for pattern in wanted)]


def _in(groups: Sequence[str], target: Target) -> bool:
    return not groups or bool({*groups} & {*target.groups})


def _groups_of_programs(where: str, application: Application) -> list[tuple[str, tuple[str, ...]]]:
    return [(f"{where}.programs.{key}", program.groups) for key, program in application.programs.items()]


def _target(environment_name: str, environment: Environment, name: str, groups: tuple[str, ...]) -> Target:
    host = environment.hosts[name]
    for text in (name, host.address or name):
        if not ADDRESS.fullmatch(text):
            raise UsageError(
                f"{text!r} cannot be a host",
                where=f"environments.{environment_name}.hosts",
                remedy="use letters, digits, dots, dashes",
            )
    of_groups = [environment.groups[group].variables for group in groups]
    variables = {
        key: value for each in (environment.variables, *of_groups, host.variables) for key, value in each.items()
    }
    values = {**variables, "host": name}
    where = f"environments.{environment_name}.layout"
    paths = ("root", "python", "supervisor_conf_dir", "supervisor_socket")
    filled: dict[str, Any] = {key: fill(getattr(environment.layout, key), values, f"{where}.{key}") for key in paths}
    layout = environment.layout.but(**filled)
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
        variables=variables,
        groups=groups,
    )
