"""Which upstreams there are: what a person named, or what pip on this machine is configured to use."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from pinwheel.errors import UsageError

PROXIED = ("http", "https", "all")
"""What a way out may be for, as `urllib.request` names it."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Where names that are not private are looked up: the first that has a project wins. `ca_file` is empty for the
    system's trust. `proxies` are as `urllib.request` has them: the way out by scheme, and for which hosts `no`. The
    addresses may carry a credential, which `shown` leaves out."""

    urls: tuple[str, ...]
    ca_file: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)


def named(url: str, environ: Mapping[str, str] = os.environ) -> Upstreams:
    """The upstream that a person named by its address, which everybody on the machine can read in the list of
    processes: it must not carry a credential. Raises `UsageError`."""
    if url == "auto":
        return from_pip(environ)
    try:
        parts = urlsplit(url)
        good = parts.scheme == "file" or (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        good = False
    if not good:
        where = url.rpartition("@")[2]
        raise UsageError("this is not the address of an index", where=where, remedy="--upstream https://…/simple/")
    if apart(url)[1]:
        raise UsageError(
            "the address of the upstream carries a credential, which every user of this machine could read",
            where=shown(url),
            remedy="put the whole address into PIP_INDEX_URL or pip's configuration file, and give --upstream auto",
        )
    return Upstreams((url,), environ.get("PIP_CERT", ""), _proxies(environ))


def from_pip(environ: Mapping[str, str] = os.environ) -> Upstreams:
    """What pip on this machine uses: its index-url (else its built-in default), then its extra indexes; trust is
    pip's `cert`. Raises `UsageError` when there is no pip to ask."""
    settings: dict[str, str] = {}
    for line in _pip("-m", "pip", "config", "list", environ=environ).splitlines():
        key, equals, value = line.partition("=")
        if equals and value[:1] in "'\"":
            settings[key.strip()] = str(ast.literal_eval(value))

    def setting(name: str) -> str:
        sources = (f":env:.{name}", f"install.{name}", f"global.{name}")
        return next((settings[key] for key in sources if settings.get(key)), "")

    first = setting("index-url") or _pip(
        "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)", environ=environ
    )
    urls = [first.strip(), *setting("extra-index-url").split()]
    proxy = setting("proxy")
    proxies = dict.fromkeys(("http", "https"), proxy) if proxy else _proxies(environ)
    return Upstreams(tuple(dict.fromkeys(urls)), setting("cert"), proxies)


def _proxies(environ: Mapping[str, str]) -> Mapping[str, str]:
    """`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as `urllib.request` names them; lower case wins."""
    every = {name.lower(): value for name, value in sorted(environ.items())}
    named = {name: every.get(f"{name}_proxy", "") for name in (*PROXIED, "no")}
    return {name: value for name, value in named.items() if value}


def _pip(*arguments: str, environ: Mapping[str, str]) -> str:
    for python in dict.fromkeys((sys.executable, "python3")):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                [python, "-P", *arguments], env=dict(environ), capture_output=True, text=True, timeout=60, check=False
            )
            if done.returncode == 0:
                return done.stdout
    raise UsageError(
        "there is no pip on this machine whose configuration could tell the upstream",
        remedy="name it: --upstream https://…/simple/",
    )


def shown(url: str) -> str:
    """The address without a credential."""
    return apart(url)[0]


def apart(url: str) -> tuple[str, str]:
    """An address without its credential, and the credential as `user:password`."""
    parts = urlsplit(url)
    credential, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    return urlunsplit(parts._replace(netloc=host)), unquote(credential)
