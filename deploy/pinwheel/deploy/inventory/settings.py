"""What an application is in one environment: its own settings, with the environment's above them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from pinwheel.config import Application, ApplicationHere, Config, Environment, Program, ProgramHere, Secret
from pinwheel.deploy.inventory.fleet import NAME
from pinwheel.errors import UsageError

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What a secret may be called: a variable of the program, and perhaps a file."""

Level = Literal["no", "present", "signed"]
"""What of wheels must be proven: nothing; that a statement says where each comes from; that somebody allowed signed it.
"""


def demanded(config: Config, environment_name: str) -> Level:
    """What must be proven of the wheels that go to this environment."""
    return config.environments[environment_name].require_statements or (
        "signed" if config.packaging.allowed_signers else "no"
    )


def settled(name: str, application: Application, environment_name: str, environment: Environment) -> Application:
    """`application` as it is in `environment`: each program has all its variables, and the names of its secrets.

    The later of these stands above the earlier: the application, the program, the environment's application, the
    environment's program. A variable can be a secret in one and not in another. Raises `UsageError`.
    """
    here = environment.applications.get(name, ApplicationHere())
    where, there = f"applications.{name}", f"environments.{environment_name}.applications.{name}"
    _known(here.programs, application.programs, f"{there}.programs", "program")
    secrets = {**application.secrets, **here.secrets}
    for key, secret in secrets.items():
        _check_secret(key, secret, f"{there if key in here.secrets else where}.secrets.{key}")
    programs = {}
    for key, program in application.programs.items():
        own = here.programs.get(key, ProgramHere())
        wanted = {*secrets} if "*" in program.secrets else {*program.secrets}
        _known(wanted, secrets, f"{where}.programs.{key}.secrets", "secret")
        variables, hidden = _layered(
            (application.environment, wanted & {*application.secrets}, where),
            (program.environment, (), f"{where}.programs.{key}"),
            (here.environment, wanted & {*here.secrets}, there),
            (own.environment, (), f"{there}.programs.{key}"),
        )
        programs[key] = program.but(environment=variables, secrets=tuple(sorted(hidden)))
    for key in application.tasks:
        _check_task(key, application, environment, f"{where}.tasks.{key}")
    return application.but(environment={}, secrets=secrets, programs=programs)


def _layered(*layers: tuple[Mapping[str, str], Collection[str], str]) -> tuple[dict[str, str], set[str]]:
    """The variables and the names of the secrets that are left when each layer is laid over those before it."""
    variables: dict[str, str] = {}
    hidden: set[str] = set()
    for plain, secret, where in layers:
        both = sorted({*plain} & {*secret})
        if both:
            raise UsageError(
                f"{both[0]} is a variable and a secret", where=f"{where}.environment.{both[0]}", remedy="keep one"
            )
        variables = {key: value for key, value in variables.items() if key not in secret} | dict(plain)
        hidden = (hidden | {*secret}) - {*plain}
    return variables, hidden


def _check_secret(name: str, secret: Secret, where: str) -> None:
    sources = [key for key in ("file", "variable", "command") if getattr(secret, key)]
    if len(sources) != 1:
        raise UsageError(
            f"the secret has {'no source' if not sources else ' and '.join(sources)}",
            where=where,
            remedy="say where its value comes from: one of file, variable, command",
        )
    if not VARIABLE.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a variable", where=where, remedy="use letters, digits, underscores")


def _check_task(key: str, application: Application, environment: Environment, where: str) -> None:
    task = application.tasks[key]
    if not NAME.fullmatch(key):
        raise UsageError(f"{key!r} cannot be a name on a host", where=where, remedy="use letters, digits, dashes")
    if not task.command:
        raise UsageError("the command is empty", where=f"{where}.command", remedy="name a program to start")
    _known(filter(None, [task.program]), application.programs, f"{where}.program", "program")
    _known(filter(None, [task.host]), environment.hosts, f"{where}.host", "host")


def _known(names: Iterable[str], table: Mapping[str, object], where: str, what: str) -> None:
    for name in sorted(names):
        if name not in table:
            known = ", ".join(sorted(table)) or "none"
            raise UsageError(f"there is no {what} {name!r}", where=where, remedy=f"known: {known}")


def program(name: str, application: Application, wanted: str) -> str:
    """The name of its program `wanted`, which may also be called as its processes are: the application's name before
    its own; empty when none is wanted. Raises `UsageError`."""
    found = wanted.removeprefix(f"{name}-")
    _known(filter(None, [found]), application.programs, "--program", "program")
    return found


def limits(program: Program, where: str) -> dict[str, int]:
    """The limits that are set: numbers, and bytes for sizes; -1 for none at all. Raises `UsageError`."""
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    found = {}
    for key, wanted in program.limits.values().items():
        value = wanted
        if value == "unlimited":
            value = -1
        elif isinstance(value, str):
            number = re.fullmatch(r"([0-9]{1,9})(KiB|MiB|GiB)", value)
            value = int(number[1]) * units[number[2]] if number else -2
        elif value is not None and not 0 <= value < 1 << 63:
            value = -2
        if value == -2:
            raise UsageError(
                f"{wanted!r} is no limit",
                where=f"{where}.{key}",
                remedy='write a number, a size such as 512MiB, or "unlimited"',
            )
        if value is not None:
            found[key] = value
    return found
