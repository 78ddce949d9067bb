"""Supervisor's file for a release, and its programs as the host's gate takes them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pinwheel.config import Application, Program
from pinwheel.deploy.host.bundle import LAUNCHER
from pinwheel.deploy.inventory import settings
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.inventory.template import fill
from pinwheel.deploy.planning.health import health
from pinwheel.deploy.planning.wish import Programs, Setup, Task
from pinwheel.errors import UsageError

COLOURS = ("blue", "green")
"""In which a program runs that is replaced without downtime: the next generation in the one that is free."""

LONGEST_SOCKET = 107
"""Bytes in the path of a unix socket (unix(7))."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The application `name` in one version on one host: all that its supervisor file and its checks are made of.

    `application` is what of it runs there; `secrets` names the set of its secrets, empty when it has none.
    """

    name: str
    application: Application
    target: Target
    release: str
    version: str
    secrets: str = ""

    @property
    def folder(self) -> str:
        """Where all of it lives on the host."""
        return f"{self.target.layout.root}/apps/{self.name}"

    @property
    def path(self) -> str:
        """Where the release lives on the host."""
        return f"{self.folder}/releases/{self.release}"

    @property
    def values(self) -> dict[str, str]:
        """What stands for the variables in its templates."""
        return {
            **self.target.variables,
            "release": self.path,
            "version": self.version,
            "host": self.target.name,
            "application": self.name,
        }


def programs(instance: Instance, colour: str = "") -> tuple[dict[str, Any], ...]:
    """The programs of a colour as `activate` takes them: their processes' names and health checks, the set of secrets
    of those that have any, and how they run, for one-off commands; with a colour also where they listen."""
    name, values = instance.name, instance.values
    made: list[dict[str, Any]] = []
    for key, program in _chosen(instance.application, colour).items():
        mine = values | _socket(instance, key, program, colour)
        made.append(
            {
                "name": f"{name}-{key}",
                "processes": _processes(f"{name}-{key}", program),
                "health": health(program, mine, f"applications.{name}.programs.{key}.health"),
                "secrets": instance.secrets if program.secrets else "",
                "run": _surroundings(instance, key, program, mine),
            }
        )
        if colour:
            made[-1] |= {"socket": mine["socket"], "user": program.user, "drain_s": program.drain_s}
    return tuple(made)


def conf(instance: Instance, colour: str = "") -> str:
    """The text of the supervisor file that runs the programs of a colour from the release; empty when there are none.

    Commands hold the resolved path of the release: behind a symlink an old process would lazily import new code.
    What supervisor cannot do is done by the launcher, which the host keeps: limits, and secrets.
    Raises `UsageError` for unknown variables and for values that supervisor's format cannot express.
    """
    name, values = instance.name, instance.values
    chosen, at = _chosen(instance.application, colour), f"@{colour}" if colour else ""
    if not chosen:
        return ""
    sections = [[f"[group:{name}{at}]", f"programs={','.join(f'{name}-{key}{at}' for key in chosen)}"]]
    for key, program in chosen.items():
        where = f"applications.{name}.programs.{key}"
        mine = values | _socket(instance, key, program, colour)
        around = _surroundings(instance, key, program, mine)
        many = program.processes > 1
        process_name = "%(program_name)s_%(process_num)02d" if many else "%(program_name)s"
        if colour:
            process_name = f"{name}-{key}"  # the same in both groups
            _check_beside(program, where)
        command = tuple(fill(part, mine, f"{where}.command") for part in program.command)
        kept = instance.secrets if program.secrets else ""
        if command and (around["limits"] or kept):
            folder_of_set = f"{instance.folder}/secrets/{kept}/{name}-{key}" if kept else ""
            command = (*_launcher(instance, around["limits"], folder_of_set), *command)
        lines = [
            f"[program:{name}-{key}{at}]",
            f"command={_command(command, where)}",
            f"process_name={process_name}",
            f"numprocs={program.processes}",
            f"directory={_plain(around['directory'], f'{where}.directory')}",
            "autostart=true",
            "autorestart=true",
            "startsecs=1",
            f"stopsignal={program.stop_signal}",
            f"stopwaitsecs={program.stop_wait_s}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={instance.folder}/log/{process_name}{at}.log",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=3",
        ]
        if program.umask:
            lines.append(f"umask={program.umask}")
        if program.user:
            lines.append(f"user={_plain(program.user, f'{where}.user')}")
        if program.environment:
            lines.append(f"environment={_environment(around['environment'], where)}")
        sections.append(lines)
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def setups(
    name: str, placed: Mapping[str, Application], targets: Sequence[Target], release: str, version: str, secrets: str
) -> dict[str, Setup]:
    """How the application runs on each host, by the host's name; `placed` is what of it runs there, nothing on others.

    Raises `UsageError`."""
    return {
        each.name: setup(Instance(name, placed[each.name], each, release, version, secrets))
        for each in targets
        if each.name in placed
    }


def setup(instance: Instance) -> Setup:
    """How it runs on its host: its programs that are stopped for their successors, in each
    colour those that are replaced without downtime, and its tasks. Raises `UsageError`."""
    beside = any(program.zero_downtime for program in instance.application.programs.values())
    colours = {each: Programs(conf(instance, each), programs(instance, each)) for each in COLOURS if beside}
    return Setup(conf(instance), programs(instance), tasks(instance), colours)


def tasks(instance: Instance) -> tuple[Task, ...]:
    """The tasks of the application as they would run on this host: those whose program is here. Raises `UsageError`."""
    name, application, values = instance.name, instance.application, instance.values
    made = {each["name"]: each for colour in ("", COLOURS[0]) for each in programs(instance, colour)}
    return tuple(
        Task(
            name=key,
            program=made[f"{name}-{program}"],
            command=tuple(fill(part, values, f"applications.{name}.tasks.{key}.command") for part in task.command),
            timeout_s=task.timeout_s,
            when=task.when,
            host=task.host,
        )
        for key, task in application.tasks.items()
        for program in [task.program or next(iter(application.programs))]
        if program in application.programs
    )


def _chosen(application: Application, colour: str) -> dict[str, Program]:
    """The programs that exist in colours, or the others."""
    return {key: each for key, each in application.programs.items() if each.zero_downtime == bool(colour)}


def _socket(instance: Instance, key: str, program: Program, colour: str) -> dict[str, str]:
    """The variable for the socket on which a program of that colour listens; none without a colour."""
    if not colour:
        return {}
    # as the kernel shows it, and the runner looks for it: without // or a / at its end
    path = str(PurePosixPath(f"{instance.folder}/run/{colour}/{key}/sock"))
    if len(path.encode()) > LONGEST_SOCKET:
        raise UsageError(
            f"the path of its socket has more than the {LONGEST_SOCKET} bytes that Linux allows: {path}",
            where=f"applications.{instance.name}.programs.{key}.zero_downtime",
            remedy="use a shorter layout.root or shorter names",
        )
    return {"socket": path}


def _check_beside(program: Program, where: str) -> None:
    """Raises `UsageError` when a generation of the program could not run, or be asked, beside another."""
    fault = (
        ("command", "it does not listen on {socket}", "write for example gunicorn --bind unix:{socket}")
        if not any("{socket}" in text for text in (*program.command, *program.environment.values()))
        else ("processes", "several processes cannot share a socket", "let the server start its workers itself")
        if program.processes > 1
        else ("health.tcp", "it is asked at its socket", "use health.http, whose host is not connected to, or nothing")
        if program.health.tcp
        else None
    )
    if fault:
        problem, remedy = f"zero_downtime does not go with this: {fault[1]}", fault[2]
        raise UsageError(problem, where=f"{where}.{fault[0]}", remedy=remedy)


def _processes(program: str, about: Program) -> list[str]:
    """The names under which supervisor knows the program's processes (`process_name` above)."""
    return [program] if about.processes == 1 else [f"{program}_{number:02d}" for number in range(about.processes)]


def _command(argv: tuple[str, ...], where: str) -> str:
    """`argv` as supervisor reads it: % expanded, comments cut at white space and ; or #, the rest as by shlex."""
    if not argv:
        raise UsageError("the command is empty", where=f"{where}.command", remedy="name a program to start")
    text = shlex.join(argv)
    # inside of quotes, where white space always is: 'a ;b' becomes 'a '';b', which is the same argument
    text = re.sub(r"([^\S\n])([;#])", r"\1''\2", text)
    return _plain(text, f"{where}.command")


def _environment(environment: Mapping[str, str], where: str) -> str:
    """Supervisor's KEY="value" list: no escapes, a value stands between quotes that it does not contain."""
    pairs = []
    for key, value in environment.items():
        quote = "'" if '"' in value else '"'
        if (
            not re.fullmatch(r"\w+", key)
            or quote in value
            or value.strip("'\"") != value
            or re.search(r"\s[;#]", value)
        ):
            raise UsageError(
                "supervisor's format cannot express this variable",
                where=f"{where}.environment.{key}",
                remedy="avoid quotes at the ends, both kinds of quotes, and ; or # after white space",
            )
        pairs.append(f"{key}={quote}{_plain(value, f'{where}.environment.{key}')}{quote}")
    return ",".join(pairs)


def _surroundings(instance: Instance, key: str, program: Program, values: Mapping[str, str]) -> dict[str, Any]:
    """What a process of the program finds around it, also one that supervisor does not start."""
    where = f"applications.{instance.name}.programs.{key}"
    directory = fill(program.directory, values, f"{where}.directory") or instance.folder
    if not directory.startswith("/") or re.search(r"\s[;#]", directory):
        raise UsageError(
            f"{directory!r} cannot be used", where=f"{where}.directory", remedy="write an absolute path without ; #"
        )
    if not re.fullmatch(r"[0-7]{0,4}", program.umask):
        raise UsageError(f"{program.umask!r} is no umask", where=f"{where}.umask", remedy='write for example "027"')
    return {
        "directory": directory,
        "user": program.user,
        "umask": program.umask,
        "environment": {
            each: fill(template, values, f"{where}.environment.{each}")
            for each, template in program.environment.items()
        },
        "limits": settings.limits(program, f"{where}.limits"),
    }


def _launcher(instance: Instance, limits: Mapping[str, int], secrets: str) -> tuple[str, ...]:
    """What stands before the command: the launcher with limits, and the folder `secrets`.

    It runs in the release's Python, of which nothing is imported (-I -S): no code of the release sees a secret before
    the program itself.
    """
    words = [f"{instance.path}/bin/python", "-I", "-S", f"{instance.target.layout.root}/bin/{LAUNCHER}"]
    for limit, number in limits.items():
        words += ["--limit", f"{limit}={number}"]
    if secrets:
        words += ["--secrets", secrets]
    return (*words, "--")


def _plain(text: str, where: str) -> str:
    """`text` with % protected. Raises `UsageError` when it has several lines."""
    if "\n" in text or "\r" in text:
        raise UsageError("a line break cannot be written for supervisor", where=where, remedy="write it in one line")
    return text.replace("%", "%%")
