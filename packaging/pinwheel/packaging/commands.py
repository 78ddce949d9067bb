"""The tasks `packaging.*`: what they are called, what they take, what they print."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Exit, task

from pinwheel.errors import PinwheelError, UsageError, describe

if TYPE_CHECKING:
    from pinwheel import config
    from pinwheel.index.client import IndexClient
    from pinwheel.packaging.inspection import Finding
    from pinwheel.packaging.release import Tools
    from pinwheel.packaging.work import Failure

PLAN_HAS_CHANGES = 4

SELECTION = {
    "name": "PROJECT: one of pinwheel.toml (may be repeated; default: none)",
    "repo": "any git repository: a path, or an address that git can clone (default: none)",
    "ref": "a tag, or a full commit id (default: the tag of the newest version)",
    "subdirectory": "the folder of the repository that holds pyproject.toml (default: its top)",
}
FILES = {"file": "PATH of a wheel or an sdist (may be repeated; at least one is needed)"}
REF_TO_BUILD = {"ref": "a tag, a branch, or a full commit id (default: the tag of the newest version)"}
OUT = {"out": "the folder for the files; made when it is not there (default: dist)"}
ALL = {"all": "every project of pinwheel.toml (default: only those selected)"}
ALL_OF_PLAN = {"all": "every project of pinwheel.toml (default, unless --name or --repo selects)"}
JSON = {"json": "print one JSON document (default: text for people)"}


@task(iterable=["name"], auto_shortflags=False, help=SELECTION | REF_TO_BUILD | OUT)
def build(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    out: str = "dist",
) -> None:
    """Build an sdist and a wheel from a commit, without publishing them.

    A branch can be built too. The files are normalised, so that the same commit gives the same bytes everywhere;
    each has its statement beside it, for packaging.publish.

    Example:
      pinwheel packaging.build --repo . --ref main --out dist
    """
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.packaging import statement
    from pinwheel.packaging.release import build as build_one
    from pinwheel.packaging.release import resolve
    from pinwheel.packaging.selection import select
    from pinwheel.packaging.workspace import deliver, full_disk_explained, open_folder, workspace

    loaded = config.load()
    tools = _tools(loaded)
    into = open_folder(out)
    jobs, failures = resolve(select(loaded, name, repo, ref, subdirectory), tools, publishable=False)
    for failure in failures:
        raise failure.error
    for job in jobs:
        with full_disk_explained(tools.cache), workspace() as folder:
            built = build_one(job, tools, folder)
            _show(built.findings)
            files: dict[str, Path | bytes] = {}
            for artifact in built.artifacts:
                filename = artifact.path.name
                if artifact.provenance:
                    about = statement.Statement(filename, artifact.sha256, artifact.provenance)
                    files[statement.attachment_name(filename)] = statement.write(about)
                files[filename] = artifact.path
            deliver(files, into)
        for artifact in built.artifacts:
            console.data(f"{artifact.sha256}  {into / artifact.path.name}")


@task(iterable=["file"], auto_shortflags=False, help=FILES | JSON)
def check(_context: Context, file: Sequence[str] | None = None, json: bool = False) -> None:
    """Inspect built files: metadata, dependencies, secrets. All findings are reported at once.

    Exits 1 when a finding forbids publishing. Files built by packaging.release are inspected anyway, and compared
    with their commit.

    Example:
      pinwheel packaging.check --file dist/acme_greet-1.0.0-py3-none-any.whl
    """
    from pinwheel import archive, console
    from pinwheel.packaging import inspection, normalise

    findings: list[Finding] = []
    for path in _paths(file):
        try:
            read = archive.read(path, path.name)
        except archive.BadArchive as error:
            findings += [inspection.Finding("error", path.name, reason, error.remedy) for reason in error.reasons]
        else:
            findings += inspection.inspect(read, normalise.contents(path))
    if json:
        console.document({"findings": [_finding(each) for each in findings]})
    else:
        for each in findings:
            console.data(str(each))
        console.say("nothing found" if not findings else f"{len(findings)} found")
    if inspection.errors(findings):
        raise Exit(code=1)


@task(iterable=["file"], auto_shortflags=False, help=FILES | JSON)
def publish(_context: Context, file: Sequence[str] | None = None, json: bool = False) -> None:
    """Bring built files into the index. Doing it again changes nothing.

    A file that the index has with the same bytes is left alone; with other bytes it is an error that names both.
    A statement beside the file, as packaging.build leaves it, goes along.

    Example:
      pinwheel packaging.publish --file dist/acme_greet-1.0.0.tar.gz --file dist/acme_greet-1.0.0-py3-none-any.whl
    """
    from pinwheel import archive, config, console
    from pinwheel.packaging import inspection, normalise
    from pinwheel.packaging import publish as publishing

    tools = _tools(config.load())
    artifacts: list[publishing.Artifact] = []
    findings: list[Finding] = []
    for path in _paths(file):
        read = archive.read(path, path.name)
        findings += inspection.inspect(read, normalise.contents(path))
        sha256 = publishing.sha256_of(path)
        about = publishing.provenance_beside(path, sha256)
        artifacts.append(publishing.Artifact(path, read.name, str(read.version), sha256, about))
    if inspection.errors(findings):
        raise inspection.NotFit("what was named", findings)
    done = []
    for version in sorted({(each.project, each.version) for each in artifacts}):
        of_version = [each for each in artifacts if (each.project, each.version) == version]
        files = publishing.publish(tools.index, tools.upload, of_version)
        publishing.record(tools.events, files, of_version[0], of_version[0].provenance)
        done += [{"filename": each.filename, "sha256": each.sha256, "outcome": each.outcome} for each in files]
    if json:
        console.document({"files": done})
    else:
        console.table(("file", "outcome"), [(each["filename"], each["outcome"]) for each in done])


@task(iterable=["name"], auto_shortflags=False, help=SELECTION | ALL | JSON)
def release(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    all: bool = False,  # noqa: A002 - it is the flag's name
    json: bool = False,
) -> None:
    """Build a tagged commit and publish it: sdist, wheel, and a statement of where they come from.

    Takes any git repository with --repo, or projects of pinwheel.toml with --name or --all, which are released in
    the order of their dependencies. What the index has from the same commit already is left alone, so a release
    can be repeated at any time. A project that fails leaves those alone that do not need it.

    Example:
      pinwheel packaging.release --repo ../acme-greet --ref v1.2.0
      pinwheel packaging.release --all
    """
    from pinwheel import config, console
    from pinwheel.packaging.release import release as release_all
    from pinwheel.packaging.selection import select
    from pinwheel.packaging.work import Failure, Release

    with _error_as_document("releases", json):
        loaded = config.load()
        wanted = select(loaded, name, repo, ref, subdirectory, everything=all)
        with console.progress("release") as progress:
            outcomes = release_all(wanted, _tools(loaded, lambda who, what: progress.update(f"{who}: {what}")))
    releases = [each for each in outcomes if isinstance(each, Release)]
    failures = [each for each in outcomes if isinstance(each, Failure)]
    _show(finding for each in releases for finding in each.findings)
    if json:
        document: dict[str, Any] = {"releases": [each.document() for each in releases]}
        if failures:
            document["failures"] = [each.document() for each in failures]
        console.document(document)
    elif releases or len(wanted) > 1:
        rows = [
            (each.name, each.version, each.commit[:12], file.filename, file.outcome)
            for each in releases
            for file in each.files
        ]
        console.table(("project", "version", "commit", "file", "outcome"), rows)
    if failures and len(wanted) == 1:
        raise failures[0].error
    _stop_at(failures)


@task(auto_shortflags=False, help={"pin": "the application's version, as in acme-shop==1.2.0"} | JSON)
def lock(_context: Context, pin: str, json: bool = False) -> None:
    """Lock what an application's version needs to run, with hashes, and keep the lock beside it in the index.

    Two documents are stored: pylock.toml (PEP 751), and requirements.txt with the same pins for installers that
    cannot read it. Only the private index is asked. Markers are kept, so one lock serves every platform.

    Example:
      pinwheel packaging.lock acme-shop==1.2.0
    """
    import sys

    from pinwheel import config, console
    from pinwheel.packaging import lock as locking
    from pinwheel.packaging.publish import origins

    loaded = config.load()
    tools = _tools(loaded)
    client = _client(loaded)
    project, version = locking.parse_pin(pin)
    locking.check_released(client, project, version)
    python = loaded.config.packaging.python or "{}.{}".format(*sys.version_info)
    with console.progress("lock") as progress:
        progress.update(f"{project} {version}: resolving for Python {python}")
        made = locking.resolve(tools.resolver, project, version, python)
    stored = locking.store(client, project, version, made)
    outcome = "locked" if stored else "already there"
    if stored:
        detail = {"sha256": made.sha256, "python": python, "pins": [f"{name}=={of}" for name, of in made.pins]}
        there = origins(client, project, str(version)).values()
        commits = {file.provenance.commit for file in there if file.provenance}
        commit = commits.pop() if len(commits) == 1 else ""
        tools.events.append("locked", project, version=str(version), commit=commit, detail=detail)
    if json:
        pins = [{"name": name, "version": of} for name, of in made.pins]
        about = {"name": project, "version": str(version), "python": python, "sha256": made.sha256}
        console.document({"lock": about | {"outcome": outcome, "packages": pins}})
    else:
        console.table(("package", "version"), made.pins)
        console.say(f"{project} {version}: {outcome}, {made.sha256[:8]}")


@task(iterable=["name"], auto_shortflags=False, help=SELECTION | ALL_OF_PLAN | JSON)
def plan(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    all: bool = False,  # noqa: A002 - it is the flag's name
    json: bool = False,
) -> None:
    """Say what packaging.release would do, and in which order. Nothing is built or published.

    Without a selection, every project of pinwheel.toml. Exits 4 when there is something to release, 1 when
    something stands in the way.

    Example:
      pinwheel packaging.plan
    """
    from pinwheel import config, console
    from pinwheel.packaging.release import survey
    from pinwheel.packaging.selection import select

    with _error_as_document("projects", json):
        loaded = config.load()
        everything = all or not (name or repo is not None)
        planned = survey(select(loaded, name, repo, ref, subdirectory, everything=everything), _tools(loaded))
    rows = planned.rows()
    if json:
        failures = [each.document() for each in planned.failed]
        console.document({"projects": [each.document() for each in rows], "failures": failures})
    else:
        cells = [(each.name, each.version, each.commit[:12], each.action, each.why) for each in rows]
        console.table(("project", "version", "commit", "action", "why"), cells)
    _stop_at(planned.failed)
    if planned.todo:
        raise Exit(code=PLAN_HAS_CHANGES)


@task(auto_shortflags=False, help={"pin": "a version in the index, as in acme-shop==1.2.0"} | JSON)
def explain(_context: Context, pin: str, json: bool = False) -> None:
    """Say where a version's files come from: repository, tag, commit, build environment, as their statements do.

    Example:
      pinwheel packaging.explain acme-shop==1.2.0
    """
    from pinwheel import config, console
    from pinwheel.packaging import lock as locking
    from pinwheel.packaging import statement
    from pinwheel.packaging.publish import origins

    client = _client(config.load())
    project, version = locking.parse_pin(pin)
    locking.check_released(client, project, version)
    there = origins(client, project, str(version))
    known = [statement.Statement(n, file.sha256, file.provenance) for n, file in there.items() if file.provenance]
    unknown = [name for name, file in there.items() if not file.provenance]
    if json:
        console.document({"statements": [statement.document(each) for each in known], "without": unknown})
        return
    for each in known:
        for label, text in statement.facts(each):
            console.data(f"{label}: {text}")
        console.data("")
    for name in unknown:
        console.data(f"{name}: has no statement; it was not built by packaging.release")


def collection() -> Collection:
    """The tasks of this station."""
    return Collection("packaging", build, check, publish, release, lock, plan, explain)


def _client(loaded: config.Loaded) -> IndexClient:
    from pinwheel.index.client import from_config

    return from_config(loaded)


def _tools(loaded: config.Loaded, report: Any = None) -> Tools:
    """Everything that releasing works with, for the index of the configuration."""
    import os
    from pathlib import Path

    from pinwheel import config, console, ledger
    from pinwheel.packaging.release import Tools
    from pinwheel.packaging.resolver import Resolver
    from pinwheel.packaging.upload import twine_to

    client = _client(loaded)
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
        report=report or (lambda who, what: console.say(f"{who}: {what}")),
    )


def _paths(files: Sequence[str] | None) -> list[Any]:
    """The files named by --file. Raises `UsageError` for none, and for one that is not there."""
    from pathlib import Path

    if not files:
        raise UsageError("no file is named", remedy="--file PATH, as often as there are files")
    paths = [Path(each) for each in files]
    for path in paths:
        if not path.is_file():
            raise UsageError("there is no such file", where=str(path), remedy="`pinwheel packaging.build` makes files")
    return paths


def _show(findings: Any) -> None:
    from pinwheel import console

    for each in findings:
        console.say(str(each))


def _finding(finding: Finding) -> dict[str, str]:
    from dataclasses import asdict

    return asdict(finding)


@contextlib.contextmanager
def _error_as_document(key: str, json: bool) -> Iterator[None]:
    """With `json`, print a document also when an error ends the task before it has a result; the error goes on."""
    from pinwheel import console
    from pinwheel.packaging.work import Failure

    try:
        yield
    except PinwheelError as error:
        if json:
            console.document({key: [], "failures": [Failure("", error).document()]})
        raise


def _stop_at(failures: Sequence[Failure]) -> None:
    """Tell every failure, and exit 1 when there is one."""
    from pinwheel import console

    for each in failures:
        console.say(f"{each.name}: {describe(each.error)}")
    if failures:
        raise Exit(code=PinwheelError.exit_code)
