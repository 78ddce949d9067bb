"""`pinwheel packaging.plan`, `packaging.release` and `packaging.publish`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from invoke import Context, Exit, task

from pinwheel.packaging.commands.options import (
    ALL,
    ALL_OF_PLAN,
    CHANGED,
    FILES,
    JOBS,
    JSON,
    SELECTION,
    error_as_document,
    paths_of,
    say_unsigned,
    show,
    stop_at,
    tools_of,
)

if TYPE_CHECKING:
    from pinwheel import console
    from pinwheel.packaging.work import Failure, Release

PLAN_HAS_CHANGES = 4


@task(iterable=["name"], help=SELECTION | ALL_OF_PLAN | CHANGED | JSON)
def plan(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    all: bool = False,  # noqa: A002 - it is the flag's name
    changed: bool = False,
    json: bool = False,
) -> None:
    """Say what packaging.release would do, in which order and why. Nothing is built or published.

    Without a selection, every project of pinwheel.toml. Says also what a release does not change: commits that no
    tag releases yet, and what was built with something that is newer now. Exits 4 when there is something to
    release, 1 when something stands in the way.

    Example:
      pinwheel packaging.plan
    """
    from pinwheel import config, console
    from pinwheel.packaging.building.normalise import VERSION
    from pinwheel.packaging.releasing.selection import select
    from pinwheel.packaging.releasing.survey import survey

    with error_as_document("projects", json):
        loaded = config.load()
        everything = all or not (name or repo is not None)
        wanted = select(loaded, name, repo, ref, subdirectory, everything=everything)
        with console.board("plan") as board:
            planned = survey(wanted, tools_of(loaded, board.update), changed=changed, count=True)
    rows = planned.rows(normaliser=VERSION)
    if json:
        failures = [each.document() for each in planned.failed]
        console.document({"projects": [each.document() for each in rows], "failures": failures})
    else:
        cells = [(each.name, each.version, each.commit[:12], each.action, each.told) for each in rows]
        console.table(("project", "version", "commit", "action", "why"), cells)
    stop_at(planned.failed)
    if planned.todo:
        raise Exit(code=PLAN_HAS_CHANGES)


@task(iterable=["name"], help=SELECTION | ALL | CHANGED | JOBS | JSON)
def release(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    all: bool = False,  # noqa: A002 - it is the flag's name
    changed: bool = False,
    jobs: int = 0,
    json: bool = False,
) -> None:
    """Build a tagged commit and publish it: sdist, wheel, and a statement of where they come from.

    Takes any git repository with --repo, or projects of pinwheel.toml with --name or --all, each as soon as what it
    needs is released. What the index has from the same commit already is left alone, so a release can be repeated
    at any time. A project that fails leaves those alone that do not need it.

    With --changed, a project without a version tag is passed over, a version that somebody else published is left
    alone, and only what was released now is printed.

    Example:
      pinwheel packaging.release --repo ../acme-greet --ref v1.2.0
      pinwheel packaging.release --all --changed
    """
    from pinwheel import config, console
    from pinwheel.errors import UsageError
    from pinwheel.packaging import schedule
    from pinwheel.packaging.releasing.release import release as release_all
    from pinwheel.packaging.releasing.selection import select
    from pinwheel.packaging.work import Failure, Release

    with error_as_document("releases", json):
        if jobs < 0:
            raise UsageError("--jobs is less than nothing", remedy="--jobs 4, or leave it away")
        loaded = config.load()
        wanted = select(loaded, name, repo, ref, subdirectory, everything=all)
        with console.board("release") as board:
            tools = tools_of(loaded, board.update)
            outcomes = release_all(
                wanted,
                tools,
                jobs=jobs or schedule.cores(),
                changed=changed,
                tell=lambda outcome: _tell(board, outcome),
            )
    failures = [each for each in outcomes if isinstance(each, Failure)]
    releases = [each for each in outcomes if isinstance(each, Release)]
    shown = [each for each in releases if not changed or each.outcome == "published"]
    show(finding for each in releases for finding in each.findings)
    if json:
        document: dict[str, Any] = {"releases": [each.document() for each in shown]}
        if failures:
            document["failures"] = [each.document() for each in failures]
        console.document(document)
    elif shown or (len(wanted) > 1 and not changed):
        rows = [
            (each.name, each.version, each.commit[:12], file.filename, file.outcome)
            for each in shown
            for file in each.files
        ]
        console.table(("project", "version", "commit", "file", "outcome"), rows)
    if tools.signer is None and any(file.outcome == "published" for each in releases for file in each.files):
        say_unsigned(loaded)
    if failures and len(wanted) == 1:
        raise failures[0].error
    if len(wanted) > 1:
        console.say(_summary(releases, failures))
    stop_at(failures)


def _tell(board: console.Board, outcome: Release | Failure) -> None:
    """One line for an outcome, as soon as it is there; none for what was there before."""
    from pinwheel.packaging.work import Blocked, Release

    if isinstance(outcome, Release):
        if outcome.outcome == "published":
            board.finish(outcome.name, f"released {outcome.version}")
        else:
            board.update(outcome.name, "")
    else:
        said = outcome.error.problem.partition("\n")[0]
        board.finish(outcome.name, said if isinstance(outcome.error, Blocked) else f"failed: {said}")


def _summary(releases: Sequence[Release], failures: Sequence[Failure]) -> str:
    """How many ended in which way, and what to do next."""
    from pinwheel.packaging.work import Blocked

    blocked = [each for each in failures if isinstance(each.error, Blocked)]
    counts = {
        "released": sum(each.outcome == "published" for each in releases),
        "already there": sum(each.outcome == "already there" for each in releases),
        "failed": len(failures) - len(blocked),
        "not tried": len(blocked),
    }
    told = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "nothing is tagged yet"
    if failures:
        return f"{told}; correct what follows and run the same command again: it leaves alone what is released"
    if not counts["released"]:
        return f"{told}; `pinwheel packaging.plan` tells of commits that no tag releases yet"
    return told


@task(iterable=["file"], help=FILES | JSON)
def publish(_context: Context, file: Sequence[str] | None = None, json: bool = False) -> None:
    """Bring built files into the index. Doing it again changes nothing.

    A file that the index has with the same bytes is left alone; with other bytes it is an error that names both.
    A statement beside the file, as packaging.build leaves it, goes along with its signature.

    Example:
      pinwheel packaging.publish --file dist/acme_greet-1.0.0.tar.gz --file dist/acme_greet-1.0.0-py3-none-any.whl
    """
    from functools import partial

    from pinwheel import config, console
    from pinwheel.packaging.inspection.examine import examine
    from pinwheel.packaging.inspection.findings import Finding, NotFit, allow, errors
    from pinwheel.packaging.proving.proof import require
    from pinwheel.packaging.proving.verify import prove_file
    from pinwheel.packaging.publishing import publish as publishing
    from pinwheel.packaging.releasing.selection import allowances

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
