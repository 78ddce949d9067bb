"""`pinwheel packaging.plan`, `packaging.release` and `packaging.publish`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invoke import Context, Exit, task

from pinwheel.packaging.commands.options import (
    ALL,
    ALL_OF_PLAN,
    FILES,
    JSON,
    SELECTION,
    error_as_document,
    paths_of,
    say_unsigned,
    show,
    stop_at,
    tools_of,
)

PLAN_HAS_CHANGES = 4


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

    with error_as_document("projects", json):
        loaded = config.load()
        everything = all or not (name or repo is not None)
        planned = survey(select(loaded, name, repo, ref, subdirectory, everything=everything), tools_of(loaded))
    rows = planned.rows()
    if json:
        failures = [each.document() for each in planned.failed]
        console.document({"projects": [each.document() for each in rows], "failures": failures})
    else:
        cells = [(each.name, each.version, each.commit[:12], each.action, each.why) for each in rows]
        console.table(("project", "version", "commit", "action", "why"), cells)
    stop_at(planned.failed)
    if planned.todo:
        raise Exit(code=PLAN_HAS_CHANGES)


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

    with error_as_document("releases", json):
        loaded = config.load()
        wanted = select(loaded, name, repo, ref, subdirectory, everything=all)
        with console.progress("release") as progress:
            tools = tools_of(loaded, lambda who, what: progress.update(f"{who}: {what}"))
            outcomes = release_all(wanted, tools)
    releases = [each for each in outcomes if isinstance(each, Release)]
    failures = [each for each in outcomes if isinstance(each, Failure)]
    show(finding for each in releases for finding in each.findings)
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
    if tools.signer is None and any(file.outcome == "published" for each in releases for file in each.files):
        say_unsigned(loaded)
    if failures and len(wanted) == 1:
        raise failures[0].error
    stop_at(failures)


@task(iterable=["file"], auto_shortflags=False, help=FILES | JSON)
def publish(_context: Context, file: Sequence[str] | None = None, json: bool = False) -> None:
    """Bring built files into the index. Doing it again changes nothing.

    A file that the index has with the same bytes is left alone; with other bytes it is an error that names both.
    A statement beside the file, as packaging.build leaves it, goes along with its signature.

    Example:
      pinwheel packaging.publish --file dist/acme_greet-1.0.0.tar.gz --file dist/acme_greet-1.0.0-py3-none-any.whl
    """
    from functools import partial

    from pinwheel import config, console
    from pinwheel.packaging import publish as publishing
    from pinwheel.packaging.inspection.examine import examine
    from pinwheel.packaging.inspection.findings import Finding, NotFit, allow, errors
    from pinwheel.packaging.proof import require
    from pinwheel.packaging.selection import allowances
    from pinwheel.packaging.verify import prove_file

    loaded = config.load()
    tools = tools_of(loaded)
    artifacts: list[publishing.Artifact] = []
    findings: list[Finding] = []
    for path in paths_of(file):
        examined = examine(path)
        read = examined.distribution
        findings += allow(examined.findings, allowances(loaded, read.name))
        proof = prove_file(path, None)
        if proof.paper:
            require([proof])  # whose statement is about other bytes has been changed since it was built
        artifacts.append(publishing.Artifact(path, read.name, str(read.version), proof.sha256, proof.paper))
    if errors(findings):
        raise NotFit("what was named", findings)
    show(findings)
    done = []
    for version in sorted({(each.project, each.version) for each in artifacts}):
        of_version = [each for each in artifacts if (each.project, each.version) == version]
        tell = partial(publishing.record, tools.events, of=of_version[0], provenance=of_version[0].provenance)
        files = publishing.publish(tools.index, tools.upload, of_version, tell)
        done += [{"filename": each.filename, "sha256": each.sha256, "outcome": each.outcome} for each in files]
    if json:
        console.document({"files": done})
    else:
        console.table(("file", "outcome"), [(each["filename"], each["outcome"]) for each in done])
