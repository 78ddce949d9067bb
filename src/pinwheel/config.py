"""`pinwheel.toml`: the schema as frozen values, and the one place that reads it.

`examples/pinwheel.toml` documents every key; a test compares it with these classes, key for key.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, field

from pinwheel.errors import UsageError

FILENAME = "pinwheel.toml"

T = TypeVar("T")

Keys = tuple[str, ...]
"""The keys that lead to a value; an entry of a list by its number, from 0."""

DAY_S = 86_400
Count = Annotated[int, Meta(ge=1)]
Amount = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=DAY_S)]
Signal = Literal["TERM", "HUP", "INT", "QUIT", "KILL", "USR1", "USR2"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key in it is an error."""

    def but(self, **changes: Any) -> Self:
        """The same with other values."""
        return msgspec.structs.replace(self, **changes)

    def values(self) -> dict[str, Any]:
        """By key; tables below stay what they are."""
        return msgspec.structs.asdict(self)


class CooldownException(Section, frozen=True, kw_only=True):
    """A public release that is offered however young it is, until the end of a day (UTC)."""

    release: str
    reason: str
    until: date


class Retention(Section, frozen=True, kw_only=True):
    """What `index.prune` leaves: 0 sets no limit."""

    keep_releases: Amount = 0
    keep_days: Amount = 0
    development_days: Amount = 0


class Channel(Section, frozen=True, kw_only=True):
    """A part of the index for those who want only what was promoted to it."""

    inherits: tuple[str, ...] = ()


class Index(Section, frozen=True, kw_only=True):
    """Where the private index is and what belongs to it alone."""

    url: str = ""
    token_file: str = ""
    ca_file: str = ""
    private: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    cooldown: str = ""
    cache_size: str = ""
    exceptions: tuple[CooldownException, ...] = ()
    retention: Retention = field(default_factory=Retention)
    channels: Mapping[str, Channel] = field(default_factory=dict)


class Packaging(Section, frozen=True, kw_only=True):
    """How wheels and locks are made."""

    cache: str = ""
    python: str = ""
    pythons: tuple[str, ...] = ()
    oldest_glibc: str = "2.35"
    platforms: tuple[str, ...] = ()
    signing_key: str = ""
    allowed_signers: str = ""

    @property
    def served(self) -> Set[str]:
        """The Pythons that locks serve and that CI tries: all that are named, else the one that runs pinwheel."""
        return {*self.pythons, *filter(None, [self.python])} or {"{}.{}".format(*sys.version_info)}


class Allowance(Section, frozen=True, kw_only=True):
    """Findings of one rule of the inspection that a project allows itself, and why; `file` is a glob."""

    rule: Text
    reason: Text
    file: Text = "*"


class Project(Section, frozen=True, kw_only=True):
    """One private git repository (or a folder of it) that becomes a distribution."""

    repository: str
    subdirectory: str = ""
    generated: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    network: bool = False
    allow: tuple[Allowance, ...] = ()
    tag_signers: str = ""
    submodules: bool = False
    lfs: bool = False


class Repository(Section, frozen=True, kw_only=True):
    """How git gets into a repository: with a deploy key over SSH, or with a token over HTTPS. An empty table declares
    a repository (one that is a submodule, say) into which git finds its way alone."""

    deploy_key: str = ""
    known_hosts: str = ""
    token_env: str = ""
    token_file: str = ""
    user: str = "x-access-token"
    ca_file: str = ""


class Health(Section, frozen=True, kw_only=True):
    """When a program counts as healthy: `passes` good probes in a row by the same process, alive `min_healthy_s`."""

    http: str = ""
    tcp: str = ""
    command: tuple[str, ...] = ()
    passes: Count = 2
    interval_s: Seconds = 0.25
    timeout_s: Seconds = 2.0
    min_healthy_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 1.0
    deadline_s: Seconds = 30.0


class Secret(Section, frozen=True, kw_only=True):
    """Where the value of a secret comes from on the operator's side: a file, a variable, or what a command prints."""

    file: str = ""
    variable: str = ""
    command: tuple[str, ...] = ()
    as_file: bool = False


class Limits(Section, frozen=True, kw_only=True):
    """The most that each process of a program may take: numbers, sizes as in 512MiB, or `unlimited`."""

    nofile: int | str | None = None
    nproc: int | str | None = None
    memory: int | str | None = None
    core: int | str | None = None
    fsize: int | str | None = None
    stack: int | str | None = None
    memlock: int | str | None = None


class Program(Section, frozen=True, kw_only=True):
    """One supervised program of an application."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ("*",)
    directory: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    umask: str = ""
    limits: Limits = field(default_factory=Limits)
    processes: Count = 1
    stop_signal: Signal = "TERM"
    stop_wait_s: Annotated[int, Meta(ge=0, le=DAY_S)] = 10
    zero_downtime: bool = False
    drain_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 10.0
    health: Health = field(default_factory=Health)


class Task(Section, frozen=True, kw_only=True):
    """A command that runs once for each release, on one host, as one of the programs would."""

    command: tuple[str, ...]
    program: str = ""
    host: str = ""
    when: Literal["before", "after"] = "before"
    timeout_s: Seconds = 600.0


class Application(Section, frozen=True, kw_only=True):
    """What runs on the hosts: a project's release and the programs started from it."""

    project: str = ""
    groups: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    programs: Mapping[str, Program] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)


class ProgramHere(Section, frozen=True, kw_only=True):
    """What one program has in one environment only."""

    environment: Mapping[str, str] = field(default_factory=dict)


class ApplicationHere(Section, frozen=True, kw_only=True):
    """What an application has in one environment only; it stands above what the application says everywhere."""

    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    programs: Mapping[str, ProgramHere] = field(default_factory=dict)


class Host(Section, frozen=True, kw_only=True):
    """One machine: how to reach it, and the variables that commands may use."""

    address: str = ""
    port: Port = 0
    user: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


class Group(Section, frozen=True, kw_only=True):
    """Hosts with something in common; `hosts` are names or globs of names."""

    hosts: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


class Inventory(Section, frozen=True, kw_only=True):
    """Which hosts there are: in an environment's table, or in the document that its `inventory` command prints."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


class Layout(Section, frozen=True, kw_only=True):
    """Where things are on a host. Nothing else in the code knows a host path."""

    root: str = "/srv/pinwheel"
    python: str = "python3"
    supervisor_conf_dir: str = "/etc/supervisor/conf.d"
    supervisor_socket: str = "/run/supervisor.sock"
    supervisor_from: Literal["auto", "host", "index"] = "auto"


class Rollout(Section, frozen=True, kw_only=True):
    """How a rollout moves through the hosts."""

    canary: Amount = 1
    batch: int | str = "25%"
    max_unavailable: int | str = 1
    failure_budget: Amount = 0
    policy: Literal["halt", "revert-batch", "revert-all"] = "halt"


class Hooks(Section, frozen=True, kw_only=True):
    """Commands of this machine around the work on hosts, and an address that hears of rollouts."""

    drain: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    timeout_s: Seconds = 60.0
    webhook: str = ""


class Environment(Inventory, frozen=True, kw_only=True):
    """A set of hosts that is deployed to as one. `inventory` is a command that knows them, instead of tables."""

    inventory: tuple[str, ...] = ()
    user: str = ""
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    identity_file: str = ""
    known_hosts: str = ""
    become: tuple[str, ...] = ("sudo", "-n")
    index_url: str = ""
    deliver: Literal["index", "push"] = "index"
    connections: Count = 32
    keep: Count = 5
    require_statements: Literal["", "no", "present", "signed"] = ""
    layout: Layout = field(default_factory=Layout)
    rollout: Rollout = field(default_factory=Rollout)
    hooks: Hooks = field(default_factory=Hooks)
    applications: Mapping[str, ApplicationHere] = field(default_factory=dict)


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    index: Index = field(default_factory=Index)
    packaging: Packaging = field(default_factory=Packaging)
    projects: Mapping[str, Project] = field(default_factory=dict)
    repositories: Mapping[str, Repository] = field(default_factory=dict)
    applications: Mapping[str, Application] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from; paths in it are relative to `folder`."""

    config: Config
    file: Path | None

    @property
    def folder(self) -> Path:
        return self.file.parent if self.file else Path.cwd()

    def path(self, text: str) -> Path:
        """A path of the file: `~` expanded, relative ones resolved against the file's folder."""
        return self.folder / Path(text).expanduser()

    def place(self, key: str) -> str:
        """Where `key` (`environments.prod.user`) stands in the file, told as `parse` tells a fault."""
        return f"{self.file}:{line_of(_text(self.file), tuple(key.split('.')))}: {key}" if self.file else key


def find(start: Path, environ: Mapping[str, str]) -> Path | None:
    """`PINWHEEL_CONFIG`, else the nearest `pinwheel.toml` from `start` upwards, else None."""
    named = environ.get("PINWHEEL_CONFIG")
    if named:
        file = Path(named).expanduser().absolute()
        if not file.is_file():
            raise UsageError("the configuration file does not exist", where=str(file), remedy="correct PINWHEEL_CONFIG")
        return file
    start = start.absolute()
    # also a folder or a dangling link of that name: reading it says what is wrong
    return next((d / FILENAME for d in (start, *start.parents) if os.path.lexists(d / FILENAME)), None)


def load(start: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Find and read the configuration; without a file, the defaults.

    `PINWHEEL_INDEX_URL` overrides `index.url`. Raises `UsageError` that lists every fault, each with file, line
    and the path of the key.
    """
    file = find(start or Path.cwd(), environ)
    config = parse(_text(file), str(file)) if file else Config()
    url = environ.get("PINWHEEL_INDEX_URL")
    if url:
        config = config.but(index=config.index.but(url=url))
    return Loaded(config, file)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the configuration cannot be read: {error.strerror}", where=str(file), remedy="correct its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the configuration is not UTF-8: {error.reason}",
            where=f"{file}: byte {error.start}",
            remedy="save it as UTF-8, which TOML asks for",
        ) from error


def token(loaded: Loaded, environ: Mapping[str, str] = os.environ) -> str:
    """The credential for the index: `PINWHEEL_TOKEN`, else the text of `index.token_file`, else empty."""
    if environ.get("PINWHEEL_TOKEN"):
        return environ["PINWHEEL_TOKEN"]
    if not loaded.config.index.token_file:
        return ""
    file = loaded.path(loaded.config.index.token_file)
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the token file cannot be read: {getattr(error, 'strerror', 'it is not text')}",
            where=str(file),
            remedy="correct index.token_file or set PINWHEEL_TOKEN",
        ) from error


def parse(text: str, name: str) -> Config:
    """Read the text of a configuration file called `name`. Raises `UsageError` with every fault in it."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"this is not TOML: {error}", where=name, remedy="correct the line that the message names"
        ) from error

    def place(path: Keys) -> tuple[int, str]:
        line = line_of(text, path)
        return line, f"{name}:{line}: "

    return _validated(
        Config,
        raw,
        place,
        "the configuration",
        "examples/pinwheel.toml documents every key; `pinwheel init` writes a commented file",
    )


def parse_inventory(text: str, name: str) -> Inventory:
    """Read what the inventory command `name` printed, by the rules of the file. Raises `UsageError` likewise."""
    remedy = 'let it print {"hosts": {NAME: {…}}, "groups": {NAME: {"hosts": […]}}, "variables": {…}}'
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise UsageError(f"what it printed is not JSON: {error}", where=name, remedy=remedy) from error
    return _validated(Inventory, raw, lambda path: (0, f"{name}: "), "what it printed", remedy)


def _validated(kind: type[T], document: object, place: Callable[[Keys], tuple[int, str]], what: str, remedy: str) -> T:
    """The value of a document. `place` tells the line and the place of a path, for its faults."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError:
        faults = []
        for path, problem in _faults(kind, document, ()):
            line, where = place(path)
            faults.append((line, f"{where}{'.'.join(path)}: {problem}" if path else f"{where}{problem}"))
    raise UsageError(
        f"{what} has a fault" if len(faults) == 1 else f"{what} has {len(faults)} faults",
        where="\n".join(text for _, text in sorted(faults)),
        remedy=remedy,
    )


def _faults(kind: Any, value: object, path: Keys) -> Iterator[tuple[Keys, str]]:
    """Every fault of a value with the path of its key, where msgspec stops at the first and leaves names out."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield from list(_below(kind, value, path)) or [(path, _problem(kind, error))]


def _problem(kind: Any, error: msgspec.ValidationError) -> str:
    if _is_table(kind):
        return "must be a table"
    if get_origin(kind) is tuple:
        return "must be a list"
    if get_origin(kind) is Literal:
        return f"must be one of {', '.join(map(repr, get_args(kind)))}"
    problem = str(error).partition(" - at `")[0]
    return problem[:1].lower() + problem[1:]


def _below(kind: Any, value: object, path: Keys) -> Iterator[tuple[Keys, str]]:
    """The faults of what a table or a list holds."""
    if isinstance(value, dict) and get_origin(kind) is Mapping:
        for key, each in value.items():
            yield from _faults(get_args(kind)[1], each, (*path, key))
    elif isinstance(value, dict) and _is_table(kind):
        known = {each.name: each for each in msgspec.structs.fields(kind)}
        for key, each in value.items():
            if key in known:
                yield from _faults(known[key].type, each, (*path, key))
            else:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                yield (*path, key), "unknown key" + (f"; did you mean {'.'.join((*path, *near))}?" if near else "")
        yield from (
            ((*path, name), "is missing") for name, each in known.items() if each.required and name not in value
        )
    elif isinstance(value, list) and get_origin(kind) is tuple:
        for number, each in enumerate(value):
            yield from _faults(get_args(kind)[0], each, (*path, str(number)))


def _is_table(kind: Any) -> bool:
    return get_origin(kind) is Mapping or (isinstance(kind, type) and issubclass(kind, Section))


def line_of(text: str, path: Keys) -> int:
    """The line (from 1) of the statement that first sets `path`, or its nearest ancestor that is there.

    Found by parsing growing beginnings of the text: the statement that completes the first beginning in which
    the path exists is the one that sets it.
    """
    lines = text.splitlines()
    for depth in range(len(path), 0, -1):
        start = 0
        for end in range(1, len(lines) + 1):
            try:
                value: Any = tomllib.loads("\n".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a statement of several lines
            if _has(value, path[:depth]):
                return start + 1
            start = end
    return 1


def _has(value: Any, path: Keys) -> bool:
    for part in path:
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True
