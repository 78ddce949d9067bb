"""What is unsafe in the configuration of clients: with a second index beside it, a private name can come from there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pinwheel.index.installers.settings import read_ini, read_toml

SECRET = re.compile(r"^\s*password\s*[=:]\s*\S|\bpassword[ \t]+\S|://[^/\s@]+:[^/\s@$]+@", re.MULTILINE | re.IGNORECASE)
UNSAFE = ("unsafe-best-match", "unsafe-first-match")
PUBLIC = "the public index"  # which poetry knows without an address
RULES = ("extra-index-url", "find-links")


@dataclass(frozen=True, slots=True)
class ClientFault:
    """`where` is a file or variable; `grave` when somebody else could decide what is installed."""

    where: str
    problem: str
    remedy: str
    grave: bool = True


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text and what to call it."""

    where: str
    text: str


def holds_secret(text: str) -> bool:
    """Whether a client's file seems to hold a password."""
    return SECRET.search(text) is not None


def pip_faults(files: Iterable[Text], environ: Mapping[str, str], base: str) -> Iterator[ClientFault]:
    """What pip does with `files`, from the weakest to the one that decides, and with its variables."""
    said: dict[tuple[str, str], tuple[str, str]] = {}
    for file in files:
        try:
            sections = read_ini(file.text)
        except ValueError:
            yield _unreadable(file.where)
            continue
        for section, values in sections.items():
            for key, value in values.items():
                said[section, key.replace("_", "-")] = (value, file.where)
    for rule in (*RULES, "trusted-host", "index-url"):
        variable = f"PIP_{rule.upper().replace('-', '_')}"
        if environ.get(variable):  # an empty one leaves the files as they are
            said = {key: value for key, value in said.items() if key[1] != rule}
            said["", rule] = (environ[variable], variable)
    for (section, key), (value, where) in said.items():
        named = f"{section}.{key}" if section else key
        remedy = "take it out, or `pinwheel index.client pip --write`" if section else f"unset {where}"
        if key in RULES:
            for address in value.split():
                yield from _other(address, base, where, f"pip's {named}", remedy)
        if key == "index-url" and value and not _is(value, base):
            yield ClientFault(where, f"pip's {named} is {_shown(value)}, not the index", remedy, grave=False)
        if key == "trusted-host" and _host(base) in {word.partition(":")[0] for word in value.split()}:
            yield ClientFault(where, f"pip's {named} switches off the check of the index's certificate", "take it out")


def uv_faults(files: Iterable[Text], environ: Mapping[str, str], base: str) -> Iterator[ClientFault]:
    """What uv's own files and variables say."""
    for file in files:
        try:
            parsed = read_toml(file.text)
        except ValueError:
            yield _unreadable(file.where)
            continue
        yield from _uv_table(parsed, file.where, "uv's ", "take it out, or `pinwheel index.client uv --write`", base)
    for variable in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        for word in environ.get(variable, "").split():
            address = re.sub(r"^[A-Za-z0-9._-]+=", "", word)
            yield from _other(address, base, variable, "the variable", f"unset {variable}")
    if environ.get("UV_INDEX_STRATEGY") in UNSAFE:
        yield _strategy("UV_INDEX_STRATEGY", "the variable", "unset UV_INDEX_STRATEGY")


def project_faults(file: Text, base: str, *, pdm_default: str = "") -> Iterator[ClientFault]:
    """What a repository's own file brings along: pyproject.toml, uv.toml, or requirements for pip.

    `pdm_default` is the address that this user's pdm takes for its default index.
    """
    if file.where.endswith(".txt"):
        yield from _requirements(file, base)
        return
    try:
        parsed = read_toml(file.text)
    except ValueError:
        yield _unreadable(file.where)
        return
    remedy = "take it out of the repository: which index counts is for its user to say"
    if file.where.endswith("uv.toml"):
        yield from _uv_table(parsed, file.where, "", remedy, base)
        return
    tools = parsed.get("tool", {})
    yield from _uv_table(_table(tools.get("uv")), file.where, "tool.uv.", remedy, base)
    yield from _poetry(_tables(_table(tools.get("poetry")).get("source")), file.where, base)
    yield from _pdm(_table(tools.get("pdm")), file.where, base, pdm_default)


def stored_pdm_default(text: str) -> str:
    """The address of the default index in pdm's own configuration, empty when it says none."""
    try:
        return str(_table(read_toml(text).get("pypi")).get("url", ""))
    except ValueError:
        return ""


def _uv_table(table: Mapping[str, Any], where: str, prefix: str, remedy: str, base: str) -> Iterator[ClientFault]:
    for below, keys in ((prefix, table), (f"{prefix}pip.", _table(table.get("pip")))):
        for index in _tables(keys.get("index")):
            # an explicit one is asked only for what is pinned to it
            if not index.get("explicit"):
                yield from _other(index.get("url", ""), base, where, f"{below}index", remedy)
        for key in ("index-url", *RULES):
            said = keys.get(key, [])
            for address in said if isinstance(said, list) else [said]:
                yield from _other(address, base, where, f"{below}{key}", remedy)
        if keys.get("index-strategy") in UNSAFE:
            yield _strategy(where, f"{below}index-strategy", remedy)
        if _host(base) in {str(host).partition(":")[0] for host in _list(keys.get("allow-insecure-host"))}:
            yield ClientFault(
                where, f"{below}allow-insecure-host switches off the check of the index's certificate", "take it out"
            )


def _poetry(sources: list[Mapping[str, Any]], where: str, base: str) -> Iterator[ClientFault]:
    asked = [source for source in sources if source.get("priority") != "explicit"]
    for source in asked:
        name = str(source.get("name", ""))
        if source.get("url") or name.lower() == "pypi":
            address = source.get("url") or PUBLIC
            yield from _other(address, base, where, f"tool.poetry.source {name}", "poetry source remove " + name)
    if sources and not any(source.get("priority", "primary") in ("primary", "default") for source in asked):
        yield ClientFault(
            where,
            "no tool.poetry.source is primary, so the public index is asked too",
            'give the index priority = "primary"',
        )


def _pdm(table: Mapping[str, Any], where: str, base: str, stored: str) -> Iterator[ClientFault]:
    sources = _tables(table.get("source"))
    for source in sources:
        name = source.get("name", "")
        yield from _other(
            source.get("url", ""), base, where, f"tool.pdm.source {name}", "take it out of the repository"
        )
        if source.get("verify_ssl") is False and _is(source.get("url", ""), base):
            yield ClientFault(
                where,
                f"tool.pdm.source {name} switches off the check of the index's certificate",
                "take verify_ssl out",
            )
    if sources and not _is(stored, base) and not any(source.get("name") == "pypi" for source in sources):
        yield ClientFault(
            where,
            "no tool.pdm.source is named pypi, so pdm's default index is asked too",
            'give the index the name "pypi", or `pinwheel index.client pdm --write`',
        )


def _requirements(file: Text, base: str) -> Iterator[ClientFault]:
    options = {"--extra-index-url", "--find-links", "-f", "--index-url", "-i"}
    for number, line in enumerate(file.text.splitlines(), 1):
        if not line.lstrip().startswith("-"):
            continue
        try:
            words = shlex.split(line.replace("=", " ", 1), comments=True)
        except ValueError:
            continue
        if len(words) > 1 and words[0] in options:
            yield from _other(words[1], base, f"{file.where}:{number}", words[0], "take the line out")


def _other(address: Any, base: str, where: str, what: str, remedy: str) -> Iterator[ClientFault]:
    """A fault when `address` is not the index; a folder of this machine is milder, as nobody outside can fill it."""
    address = str(address)
    if not address or _is(address, base):
        return
    local = address.startswith("file:") or ("://" not in address and address != PUBLIC)
    beside = f"names {_shown(address)} beside the index"
    yield ClientFault(where, f"{what} {beside}: a private name can come from there", remedy, grave=not local)


def _is(address: str, base: str) -> bool:
    return f"{_shown(address, '').rstrip('/')}/".startswith(f"{base.rstrip('/')}/")


def _shown(address: str, credential: str = "…@") -> str:
    return re.sub(r"(?<=://)[^/@\s]*@", credential, address)


def _strategy(where: str, what: str, remedy: str) -> ClientFault:
    return ClientFault(where, f"{what} takes the highest version of all indexes, whoever published it", remedy)


def _unreadable(where: str) -> ClientFault:
    return ClientFault(where, "this file cannot be understood", "correct it", grave=False)


def _host(base: str) -> str:
    return str(urlsplit(base).hostname)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in _list(value) if isinstance(each, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
