"""What the clients of an index are configured with, as values: files, variables, and how they join what is there.

Each names one index and no other. The credential stands only in files marked `secret`, which their owner alone reads.
"""

from __future__ import annotations

import configparser
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from pinwheel.errors import PinwheelError, UsageError

NAME = "pinwheel"  # of the index, in files that give it one
USER = "__token__"
OUR_TOKEN = re.compile(r"pw_[A-Za-z0-9_-]{20,}")
PLAIN_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # what no format needs to quote

Form = Literal["ini", "toml", "netrc"]
Value = str | bool | tuple[str, ...]
"""Of a tuple, each must be among the words that stand there; others may be there too."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where an index is: the addresses for installers and for uploads, without a credential; `ca_file` is absolute,
    or empty for the system's authorities."""

    simple: str
    upload: str
    ca_file: str = ""

    @property
    def host(self) -> str:
        return str(urlsplit(self.simple).hostname)

    @property
    def in_clear(self) -> bool:
        """Whether others on the way can read what is sent."""
        if urlsplit(self.simple).scheme == "https" or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file: `[name]`, `[[name]]` when it is `repeated`, or a machine of a netrc file."""

    name: str
    values: Mapping[str, Value]
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class ClientFile:
    """A file that a client reads; `path` is relative to the home folder."""

    path: str
    form: Form
    tables: tuple[Table, ...] = field(repr=False)
    secret: bool = False

    @property
    def text(self) -> str:
        return joined("", self)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that one client needs: its files, variables that must be set besides, and what a person should know."""

    files: tuple[ClientFile, ...]
    environment: Mapping[str, str]
    notes: tuple[str, ...] = ()


class Disagreement(PinwheelError):
    """A file says something else already; it was left as it is."""


def settings(client: str, where: Where, token: str = "") -> Settings:
    """The settings of `client`. Without `token`, the variables name `$PINWHEEL_TOKEN` in its place.

    Raises `UsageError` for an unknown client, a token that is none, and one that would travel in clear.
    """
    if client not in CLIENTS:
        raise UsageError(f"{client} is no client that this task knows", remedy=f"choose of {', '.join(CLIENTS)}")
    if token and not PLAIN_TOKEN.fullmatch(token):
        raise UsageError("this is not a token of an index", remedy="correct PINWHEEL_TOKEN or index.token_file")
    if token and where.in_clear:
        raise UsageError(
            "the credential would travel in clear",
            where=where.simple,
            remedy="serve the index with https (--tls-cert, or nginx in front), or leave it out: --no-credential",
        )
    return CLIENTS[client](where, token)


def _pip(where: Where, token: str) -> Settings:
    # empty: what the machine's own pip.conf adds no longer counts
    values = {"index-url": where.simple, "extra-index-url": "", "find-links": ""}
    if where.ca_file:
        values["cert"] = where.ca_file
    conf = ClientFile(".config/pip/pip.conf", "ini", (Table("global", values),))
    if token:
        return Settings((conf, _machine(where, token)), {})
    scheme, rest = where.simple.split("://", 1)
    return Settings((conf,), {"PIP_INDEX_URL": f"{scheme}://{USER}:$PINWHEEL_TOKEN@{rest}"})


def _uv(where: Where, token: str) -> Settings:
    index: dict[str, Value] = {
        "name": NAME,
        "url": where.simple,
        "publish-url": where.upload,
        "default": True,  # in place of the public index, not beside it
        "authenticate": "always",
    }
    conf = ClientFile(".config/uv/uv.toml", "toml", (Table("index", index, repeated=True),))
    trust = {"SSL_CERT_FILE": where.ca_file} if where.ca_file else {}
    notes = (f"publish with `uv publish --trusted-publishing never --index {NAME}`",)
    if token:
        return Settings((conf, _machine(where, token)), trust, notes)
    keep = (
        f"or let uv keep the token: `uv auth login {where.simple} --username {USER} --password -` reads it from stdin"
    )
    return Settings((conf,), trust | _login("UV_INDEX_PINWHEEL") | _login("UV_PUBLISH"), (*notes, keep))


def _poetry(where: Where, token: str) -> Settings:
    tables = [Table(f"repositories.{NAME}", {"url": where.upload})]
    if where.ca_file:
        tables.append(Table(f"certificates.{NAME}", {"cert": where.ca_file}))
    files = [ClientFile(".config/pypoetry/config.toml", "toml", tuple(tables))]
    if token:
        credential = Table(f"http-basic.{NAME}", _credential(token))
        files.append(ClientFile(".config/pypoetry/auth.toml", "toml", (credential,), secret=True))
    return Settings(
        tuple(files),
        {} if token else _login("POETRY_HTTP_BASIC_PINWHEEL"),
        (
            f"poetry takes its indexes from each project: `poetry source add --priority primary {NAME} {where.simple}`",
            f"publish with `poetry publish -r {NAME}`",
        ),
    )


def _pdm(where: Where, token: str) -> Settings:
    trust = {"ca_certs": where.ca_file} if where.ca_file else {}
    credential = _credential(token) if token else {}
    tables = (
        Table("pypi", {"url": where.simple, **credential, **trust}),
        Table(f"repository.{NAME}", {"url": where.upload, **credential, **trust}),
    )
    conf = ClientFile(".config/pdm/config.toml", "toml", tables, secret=bool(token))
    variables = {} if token else _login("PDM_PYPI") | _login("PDM_PUBLISH")
    return Settings((conf,), variables, (f"publish with `pdm publish -r {NAME}`",))


def _twine(where: Where, token: str) -> Settings:
    trust = {"ca_cert": where.ca_file} if where.ca_file else {}
    credential = _credential(token) if token else {"username": USER}
    tables = (
        Table("distutils", {"index-servers": (NAME,)}),
        Table(NAME, {"repository": where.upload, **credential, **trust}),
    )
    hatch = {"HATCH_INDEX_USER": USER, "HATCH_INDEX_AUTH": "$PINWHEEL_TOKEN"}
    variables = {} if token else _login("TWINE") | _login("FLIT") | hatch
    if where.ca_file:
        # hatch and flit look for it nowhere else
        variables |= {"HATCH_INDEX_CA_CERT": where.ca_file, "REQUESTS_CA_BUNDLE": where.ca_file}
    notes = (
        f"publish with `twine upload -r {NAME}` or `flit publish --repository {NAME}`",
        f"hatch reads the same file when it is given the address: `hatch publish -r {where.upload}`",
    )
    return Settings((ClientFile(".pypirc", "ini", tables, secret=bool(token)),), variables, notes)


def _netrc(where: Where, token: str) -> Settings:
    if not token:
        raise UsageError(
            "a netrc file holds nothing but the credential, and there is none",
            remedy="set PINWHEEL_TOKEN or index.token_file",
        )
    return Settings((_machine(where, token),), {})


def _machine(where: Where, token: str) -> ClientFile:
    return ClientFile(".netrc", "netrc", (Table(where.host, {"login": USER, "password": token}),), secret=True)


CLIENTS: Mapping[str, Callable[[Where, str], Settings]] = {
    "pip": _pip,
    "uv": _uv,
    "poetry": _poetry,
    "pdm": _pdm,
    "twine": _twine,
    "netrc": _netrc,
}


def _credential(token: str) -> dict[str, Value]:
    return {"username": USER, "password": token}


def _login(prefix: str) -> dict[str, str]:
    return {f"{prefix}_USERNAME": USER, f"{prefix}_PASSWORD": "$PINWHEEL_TOKEN"}


def joined(text: str, file: ClientFile) -> str:
    """`text` with what `file` wants besides; all else in it stays, comments too. Twice is the same as once.

    A token of ours in the place of the new one is replaced: it was rotated. Raises `Disagreement`, which names keys
    and never values.
    """
    reader = _READERS[file.form]
    old = _read(reader, text, file)
    clashes = []
    for table in file.tables:
        there = _at(old, table, file.form)
        for key, value in table.values.items():
            had = there.get(key, value)
            if had == value or isinstance(value, tuple):
                continue
            if key == "password" and isinstance(had, str) and OUR_TOKEN.fullmatch(had):
                text = text.replace(had, str(value))
            else:
                clashes.append(f"{table.name}.{key}")
    if clashes:
        raise Disagreement(
            f"this file says something else for {', '.join(clashes)}",
            where=file.path,
            remedy="take that out by hand and run the command again, or put in what it prints without --write",
        )
    before = _read(reader, text, file)
    after = text
    for table in file.tables:
        after = _with(after, _read(reader, after, file), table, file.form)
    if not _holds(_read(reader, after, file), before, file):
        raise Disagreement(
            "what stands in this file cannot be added to",
            where=file.path,
            remedy="put in by hand what the command prints without --write",
        )
    return after


def _with(text: str, parsed: Mapping[str, Any], table: Table, form: Form) -> str:
    there = _at(parsed, table, form)
    missing = {key: value for key, value in table.values.items() if key not in there}
    if form == "netrc":
        words = [f"{key} {value}" for key, value in missing.items()]
        # first: nothing after a `default` or a macro is read
        return f"machine {table.name} {' '.join(words)}\n{text}" if missing else text
    rows = text.removesuffix("\n").split("\n") if text else []
    for key, value in table.values.items():
        if isinstance(value, tuple) and key in there:
            at = next(number for number, row in enumerate(rows) if re.match(rf"{key}\s*[=:]", row, re.IGNORECASE))
            rows[at + 1 : at + 1] = [f"    {word}" for word in value if word not in there[key].split()]
        elif isinstance(value, tuple):
            # without such a list, twine looks at every section that it knows of
            missing[key] = (*(name for name in parsed if name not in (*value, table.name)), *value)
    lines = [line for key, value in missing.items() for line in _written(key, value, form)]
    header = f"[[{table.name}]]" if table.repeated else f"[{table.name}]"
    at = next((number for number, row in enumerate(rows) if row.split("#")[0].strip() == header), -1)
    if at >= 0 and not table.repeated:
        rows[at + 1 : at + 1] = lines
    elif lines:
        rows += [*([""] if rows else []), header, *lines]
    return "".join(f"{row}\n" for row in rows)


def _written(key: str, value: Value, form: Form) -> list[str]:
    if isinstance(value, tuple):
        return [f"{key} =", *(f"    {word}" for word in value)]
    return [f"{key} = {json.dumps(value) if form == 'toml' else value}".rstrip()]


def _holds(after: Mapping[str, Any], before: Mapping[str, Any], file: ClientFile) -> bool:
    """Whether `after` is `before` and what `file` wants, and nothing else."""
    found, expected = json.loads(json.dumps([after, before]))
    for table in file.tables:
        if table.repeated:
            expected.setdefault(table.name, [dict(table.values)])
            continue
        here, there = expected, found
        for part in _path(table, file.form):
            here, there = here.setdefault(part, {}), there.get(part, {})
        for key, value in table.values.items():
            if isinstance(value, tuple):
                words = there.pop(key, "").split()
                if not {*here.pop(key, "").split(), *value} <= set(words):
                    return False
            else:
                here[key] = value
    return bool(found == expected)


def _path(table: Table, form: Form) -> Sequence[str]:
    return table.name.split(".") if form == "toml" else (table.name,)


def _at(parsed: Mapping[str, Any], table: Table, form: Form) -> Mapping[str, Any]:
    """The table of that name in a parsed file; of repeated ones the last, as more than one index is no single one."""
    here: Any = parsed
    for part in _path(table, form):
        here = here.get(part, {}) if isinstance(here, Mapping) else {}
    if isinstance(here, list):
        here = here[-1] if here else {}
    return here if isinstance(here, Mapping) else {}


def _read(reader: Callable[[str], dict[str, Any]], text: str, file: ClientFile) -> dict[str, Any]:
    try:
        return reader(text)
    except ValueError as error:
        raise Disagreement(
            "this file cannot be understood", where=file.path, remedy="correct it, and run the command again"
        ) from error


def read_ini(text: str) -> dict[str, dict[str, str]]:
    """The sections of an INI file as pip and twine read it. Raises `ValueError`."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError("no INI file") from error
    return {name: dict(parser.items(name)) for name in parser.sections()}


def read_toml(text: str) -> dict[str, Any]:
    """Raises `ValueError`."""
    return tomllib.loads(text)


def read_netrc(text: str) -> dict[str, dict[str, str]]:
    """Logins by machine, those of `default` under the empty name. What is no login (macros) is left out."""
    machines: dict[str, dict[str, str]] = {}
    here: dict[str, str] = {}
    macro = False
    for line in text.splitlines():
        macro = macro and bool(line.strip())
        if macro or line.lstrip().startswith("#"):
            continue
        words = iter(line.split())
        for word in words:
            if word == "machine":
                here = machines.setdefault(next(words, ""), {})
            elif word == "default":
                here = machines.setdefault("", {})
            elif word in ("login", "password", "account"):
                here[word] = next(words, "")
            elif word == "macdef":
                macro = True
                break
    return machines


_READERS: Mapping[Form, Callable[[str], dict[str, Any]]] = {"ini": read_ini, "toml": read_toml, "netrc": read_netrc}
