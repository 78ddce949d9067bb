"""How git gets into a repository: a deploy key, a token, or what the user's own ssh and git know.

No secret stands in an argv or in a file of ours: ssh is told where the key is, and git asks a program that reads the
token when it is needed.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from pinwheel import config
from pinwheel.errors import UsageError
from pinwheel.packaging.repositories.addresses import address as address_of
from pinwheel.packaging.workspace import put

OTHERS = stat.S_IRWXG | stat.S_IRWXO
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PATIENCE = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15")


class Way(Protocol):
    """One way into a repository; `remedy` says what to look at when the door stays shut."""

    @property
    def remedy(self) -> str: ...

    def opened(self, env: Mapping[str, str], environ: Mapping[str, str], program: Path) -> dict[str, str]:
        """`env` with what git needs to get in. `environ` is what the user set; a program that answers git's questions
        may be written to the path `program`. Raises `UsageError` for a key or token that is not fit for use."""
        ...

    def masked(self, text: str, environ: Mapping[str, str]) -> str:
        """`text` without the secret: a server may repeat what it was sent."""
        ...


@dataclass(frozen=True, slots=True)
class Own:
    """What the user's agent, `GIT_SSH_COMMAND` and `GIT_ASKPASS` know. `ca_file` is trusted instead of the system's."""

    ca_file: Path | None = None

    @property
    def remedy(self) -> str:
        return (
            "try `git ls-remote` with the address; keys come from ssh-agent or GIT_SSH_COMMAND, tokens from"
            " GIT_ASKPASS, both also from a [repositories] table of pinwheel.toml"
        )

    def opened(self, env: Mapping[str, str], environ: Mapping[str, str], program: Path) -> dict[str, str]:
        return {"GIT_SSH_COMMAND": shlex.join(("ssh", *PATIENCE)), **env, **_trust(self.ca_file)}

    def masked(self, text: str, environ: Mapping[str, str]) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Ssh:
    """One key and no other, for hosts that `known_hosts` knows and no others. Without a `key` the agent's are tried."""

    key: Path | None
    known_hosts: Path | None

    @property
    def remedy(self) -> str:
        known = self.known_hosts or "~/.ssh/known_hosts"
        key = f"the server must know the key without a passphrase in {self.key}; " if self.key else ""
        return f"{key}{known} must hold the host's key: `ssh-keyscan HOST` shows it, its administrator confirms it"

    def opened(self, env: Mapping[str, str], environ: Mapping[str, str], program: Path) -> dict[str, str]:
        words = ["ssh", *PATIENCE, "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"]
        if self.known_hosts:
            _read(self.known_hosts, "known_hosts")
            words += ["-o", f"UserKnownHostsFile={_option(self.known_hosts)}", "-o", "GlobalKnownHostsFile=/dev/null"]
        if self.key:
            _read(self.key, "deploy_key", private=True)
            # without -F a key of ~/.ssh/config is tried too, and may open the repository as somebody else
            words += ["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
            words += ["-o", "PreferredAuthentications=publickey", "-o", f"IdentityFile={_option(self.key)}"]
        kept = {name: value for name, value in env.items() if name not in ("GIT_SSH", "GIT_SSH_VARIANT")}
        return kept | {"GIT_SSH_COMMAND": shlex.join(words)}

    def masked(self, text: str, environ: Mapping[str, str]) -> str:
        return text


@dataclass(frozen=True, slots=True)
class Token:
    """A token for the host of one address, from the variable `variable` or else from `file`.

    git asks the program in `GIT_ASKPASS`, which tells the token to this host alone: a redirect must not carry it away.
    """

    address: str
    user: str
    variable: str
    file: Path | None
    ca_file: Path | None = None

    @property
    def remedy(self) -> str:
        source = " or ".join(filter(None, (self.variable, str(self.file or ""))))
        return f"the token in {source} must be valid for the user {self.user!r}, and may read the repository"

    def opened(self, env: Mapping[str, str], environ: Mapping[str, str], program: Path) -> dict[str, str]:
        self._secret(environ)
        put(program, self._answers(environ), 0o700)
        made = {name: value for name, value in env.items() if name != "GIT_SSL_NO_VERIFY"} | _trust(self.ca_file)
        if environ.get(self.variable):
            made[self.variable] = environ[self.variable]
        # curl would offer the host what ~/.netrc has for it first, be it for another service
        return made | {"GIT_ASKPASS": str(program), "HOME": os.devnull}

    def masked(self, text: str, environ: Mapping[str, str]) -> str:
        secret = self._secret(environ)
        for shown in (secret, quote(secret, safe=""), base64.b64encode(f"{self.user}:{secret}".encode()).decode()):
            text = text.replace(shown, "…")
        return text

    def _secret(self, environ: Mapping[str, str]) -> str:
        if environ.get(self.variable):
            return environ[self.variable].strip()
        if self.file is None:
            raise UsageError(
                f"the variable {self.variable} is not set, which holds the token",
                where=self.address,
                remedy=f"set {self.variable}, or name a token_file in the repository's table",
            )
        secret = _read(self.file, "token_file", private=True).strip()
        if not secret:
            raise UsageError("the token file is empty", where=str(self.file), remedy="write the token into it")
        return secret

    def _answers(self, environ: Mapping[str, str]) -> str:
        """A shell program without the secret. git puts the address in single quotes, git-lfs in double ones, with the
        path after the host."""
        parts = urlsplit(self.address)
        lines = ["#!/bin/sh", "case $1 in"]
        tell = f"cat {shlex.quote(str(self.file))}"
        if environ.get(self.variable):
            tell = f'printf "%s\\n" "${self.variable}"'
        named = f"{parts.scheme}://{quote(self.user, safe='')}@{parts.netloc}"
        for question, asked, answer in (
            ("Username", f"{parts.scheme}://{parts.netloc}", f'printf "%s\\n" {shlex.quote(self.user)}'),
            ("Password", named, tell),
        ):
            texts = (f"{question} for '{asked}'", f'{question} for "{asked}"', f'{question} for "{asked}/')
            lines.append(f"{'|'.join(f'{shlex.quote(text)}*' for text in texts)}) {answer} ;;")
        return "\n".join([*lines, "*) exit 1 ;;", "esac", ""])


@dataclass(frozen=True, slots=True)
class Keyring:
    """The ways that pinwheel.toml names, by address. One that ends in a slash counts for all repositories below it.
    `projects` are the addresses of those that pinwheel.toml builds."""

    tables: Mapping[str, config.Repository] = field(default_factory=dict)
    projects: frozenset[str] = frozenset()
    folder: Path = Path()

    def declares(self, address: str) -> bool:
        """Whether pinwheel.toml names the repository."""
        return address in self.projects or self._table(address) is not None

    def way(self, address: str) -> Way:
        """The way into the repository. Raises `UsageError` when its table does not fit the address."""
        table = self._table(address) or config.Repository()
        of_url = address.startswith("https://")
        of_ssh = not of_url and not address.startswith("/") and not address.startswith(("http://", "git://"))
        wrong = ""
        if (table.deploy_key or table.known_hosts) and not of_ssh:
            wrong = "deploy_key and known_hosts are for ssh addresses"
        elif (table.token_env or table.token_file) and not of_url:
            wrong = "a token is sent over https alone"
        elif table.token_env and not VARIABLE.fullmatch(table.token_env):
            wrong = "token_env is the name of a variable, not the token"  # which it might be: it is not shown
        if wrong:
            raise UsageError(wrong, where=f'[repositories] for "{address}"', remedy="correct the table, or its address")
        known_hosts, ca_file = self._path(table.known_hosts), self._path(table.ca_file)
        if table.token_env or table.token_file:
            return Token(address, table.user, table.token_env, self._path(table.token_file), ca_file)
        key = self._path(table.deploy_key)
        return Ssh(key, known_hosts) if key or known_hosts else Own(ca_file)

    def _table(self, address: str) -> config.Repository | None:
        above = [key for key in self.tables if key.endswith("/") and urlsplit(key).netloc and address.startswith(key)]
        return self.tables.get(address) or (self.tables[max(above, key=len)] if above else None)

    def _path(self, text: str) -> Path | None:
        return (self.folder / Path(text).expanduser()).absolute() if text else None


def keyring(loaded: config.Loaded) -> Keyring:
    """What the configuration says of repositories."""
    return Keyring(
        {address_of(key, loaded.folder): table for key, table in loaded.config.repositories.items()},
        frozenset(address_of(each.repository, loaded.folder) for each in loaded.config.projects.values()),
        loaded.folder,
    )


def _read(file: Path, key: str, *, private: bool = False) -> str:
    """The text of a file that the configuration names under `key`. Raises `UsageError`."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            if private and os.fstat(opened.fileno()).st_mode & OTHERS:
                raise UsageError(f"others can read the {key}", where=str(file), remedy=f"chmod 600 {file}")
            return opened.read()
    except OSError as error:
        raise UsageError(
            f"the {key} cannot be read: {error.strerror}",
            where=str(file),
            remedy=f"correct {key} in the repository's table of pinwheel.toml, or the file's permissions",
        ) from error


def _option(path: Path) -> str:
    """A path as ssh reads it in an option: in quotes, with the signs of its own language doubled."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _trust(ca_file: Path | None) -> dict[str, str]:
    if ca_file is None:
        return {}
    _read(ca_file, "ca_file")
    return {"GIT_SSL_CAINFO": str(ca_file)}
