"""What the tasks of packaging have in common: the help of their flags, what they work with, how they end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from invoke import Exit

from pinwheel.errors import PinwheelError, UsageError, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinwheel import config
    from pinwheel.index.client import IndexClient
    from pinwheel.packaging.inspection.findings import Finding
    from pinwheel.packaging.proving.proof import Judge
    from pinwheel.packaging.proving.signatures import Signer
    from pinwheel.packaging.targets import Target
    from pinwheel.packaging.tools import Tools
    from pinwheel.packaging.work import Failure

SELECTION = {
    "name": "PROJECT: one of pinwheel.toml (may be repeated; default: none)",
    "repo": "any git repository: a path, or an address that git can clone (default: none)",
    "ref": "a tag, or a full commit id (default: the tag of the newest version)",
    "subdirectory": "the folder of the repository that holds pyproject.toml (default: its top)",
}
FILES = {"file": "PATH of a wheel or an sdist (may be repeated; at least one is needed)"}
REF_TO_BUILD = {"ref": "a tag, a branch, or a full commit id (default: the tag of the newest version)"}
OUT = {"out": "the folder for the files; made when it is not there (default: dist)"}
PYTHON = {"python": "make wheels with this Python alone, as in 3.12 (default: the pythons of pinwheel.toml)"}
VERIFY = {"verify": "build a second time in other surroundings and compare (default: build once)"}
ALL = {"all": "every project of pinwheel.toml (default: only those selected)"}
ALL_OF_PLAN = {"all": "every project of pinwheel.toml (default, unless --name or --repo selects)"}
CHANGED = {"changed": "only what is new since its last release (default: all that is selected)"}
JOBS = {"jobs": "build so many at the same time (default: 0, which means as many as there are cores)"}
JSON = {"json": "print one JSON document (default: text for people)"}


def client_of(loaded: config.Loaded) -> IndexClient:
    from pinwheel.index.client import from_config

    return from_config(loaded)


def tools_of(loaded: config.Loaded, report: Callable[[str, str], None] | None = None) -> Tools:
    """Everything that releasing works with, for the index of the configuration."""
    import os
    from pathlib import Path

    from packaging.utils import canonicalize_name

    from pinwheel import config, console, ledger
    from pinwheel.packaging.building import linkage
    from pinwheel.packaging.publishing.upload import twine_to
    from pinwheel.packaging.repositories.access import keyring
    from pinwheel.packaging.resolver import Resolver
    from pinwheel.packaging.tools import Tools

    client = client_of(loaded)
    token = config.token(loaded)
    named = loaded.config.packaging.cache
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = loaded.path(named) if named else Path(base) / "pinwheel"
    ca_file = str(loaded.path(loaded.config.index.ca_file)) if loaded.config.index.ca_file else ""
    return Tools(
        index=client,
        upload=twine_to(client.url, token, ca_file),
        events=ledger.Ledger(client, ledger.default_spool(os.environ, client.url)),
        resolver=Resolver(client.simple_url(), token, ca_file, cache / "uv"),
        cache=cache,
        keyring=keyring(loaded),
        report=report or (lambda who, what: console.say(f"{who}: {what}")),
        oldest_glibc=linkage.glibc(loaded.config.packaging.oldest_glibc, loaded.place("packaging.oldest_glibc")),
        ours=frozenset(canonicalize_name(name) for name in loaded.config.projects),
        signer=signer_of(loaded),
    )


def targets_of(loaded: config.Loaded) -> tuple[Target, ...]:
    """The machines that locks must serve, the oldest Python first."""
    from pinwheel.packaging.targets import targets

    return targets(loaded.config.packaging.served, loaded.config.packaging.platforms)


def signer_of(loaded: config.Loaded) -> Signer | None:
    """Who signs statements, as the configuration says; None for nobody."""
    import os

    from pinwheel.packaging.proving.signatures import signer

    key = os.environ.get("PINWHEEL_SIGNING_KEY") or loaded.config.packaging.signing_key
    return signer(str(loaded.path(key)) if key else "")


def judge_of(loaded: config.Loaded, allowed_signers: str = "") -> Judge | None:
    """Who tells whether a signature counts: the file that the flag names, else that of the configuration. None, and a
    word about it, when neither names one."""
    from pathlib import Path

    from pinwheel import console
    from pinwheel.packaging.proving.signatures import AllowedSigners

    if allowed_signers:
        return AllowedSigners(Path(allowed_signers))
    if loaded.config.packaging.allowed_signers:
        return AllowedSigners(loaded.path(loaded.config.packaging.allowed_signers))
    console.say("who signed is not judged: packaging.allowed_signers names no file")
    return None


def say_unsigned(loaded: config.Loaded) -> None:
    """Why the statements that were made just now are not signed."""
    import os

    from pinwheel import console

    if os.environ.get("PINWHEEL_SIGNING_KEY") or loaded.config.packaging.signing_key:
        console.say("the statements are not signed: ssh-keygen is not installed (openssh-client)")
    else:
        console.say("the statements are not signed: packaging.signing_key names no key")


def paths_of(files: Sequence[str] | None) -> list[Path]:
    """The files named by --file. Raises `UsageError` for none, and for one that is not there."""
    from pathlib import Path

    if not files:
        raise UsageError("no file is named", remedy="--file PATH, as often as there are files")
    paths = [Path(each) for each in files]
    for path in paths:
        if not path.is_file():
            raise UsageError("there is no such file", where=str(path), remedy="`pinwheel packaging.build` makes files")
    return paths


def show(findings: Iterable[Finding]) -> None:
    """Every finding on a line of its own, and where the CI system shows it beside the change."""
    from pinwheel import console

    for each in findings:
        console.say(str(each))
        console.annotate(each.severity, f"{each.problem} ({each.remedy})", each.file)


@contextlib.contextmanager
def error_as_document(key: str, json: bool) -> Iterator[None]:
    """With `json`, print a document also when an error ends the task before it has a result; the error goes on."""
    from pinwheel import console
    from pinwheel.packaging.work import Failure

    try:
        yield
    except PinwheelError as error:
        if json:
            console.document({key: [], "failures": [Failure("", error).document()]})
        raise


def stop_at(failures: Sequence[Failure]) -> None:
    """Tell every failure, and exit 1 when there is one."""
    from pinwheel import console

    for each in failures:
        console.say(f"{each.name}: {describe(each.error)}")
        console.annotate("error", f"{each.name}: {each.error.problem}")
    if failures:
        raise Exit(code=PinwheelError.exit_code)
