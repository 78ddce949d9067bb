"""`pinwheel packaging.build` and `packaging.check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

if TYPE_CHECKING:
    from pinwheel.packaging.inspection import Finding

from pinwheel.packaging.commands.options import (
    FILES,
    JSON,
    OUT,
    REF_TO_BUILD,
    SELECTION,
    finding_document,
    paths_of,
    show,
    tools_of,
)


@task(iterable=["name"], auto_shortflags=False, help=SELECTION | REF_TO_BUILD | OUT | JSON)
def build(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    out: str = "dist",
    json: bool = False,
) -> None:
    """Build an sdist and a wheel from a commit, without publishing them.

    A branch can be built too. The files are normalised, so that the same commit gives the same bytes everywhere;
    each has its statement beside it, for packaging.publish.

    Example:
      pinwheel packaging.build --repo . --ref main --out dist
      pinwheel packaging.build --name acme-shop --json
    """
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.packaging import statement
    from pinwheel.packaging.release import build as build_one
    from pinwheel.packaging.selection import select
    from pinwheel.packaging.survey import resolve
    from pinwheel.packaging.workspace import deliver, full_disk_explained, open_folder, workspace

    loaded = config.load()
    tools = tools_of(loaded)
    into = open_folder(out)
    jobs, failures = resolve(select(loaded, name, repo, ref, subdirectory), tools, publishable=False)
    for failure in failures:
        raise failure.error
    told: list[dict[str, str]] = []
    for job in jobs:
        with full_disk_explained(tools.cache), workspace() as folder:
            built = build_one(job, tools, folder)
            show(built.findings)
            files: dict[str, Path | bytes] = {}
            for artifact in built.artifacts:
                filename = artifact.path.name
                if artifact.provenance:
                    about = statement.Statement(filename, artifact.sha256, artifact.provenance)
                    files[statement.attachment_name(filename)] = statement.write(about)
                files[filename] = artifact.path
            deliver(files, into)
        for artifact in built.artifacts:
            told.append({"file": str(into / artifact.path.name), "sha256": artifact.sha256})
            if not json:
                console.data(f"{artifact.sha256}  {into / artifact.path.name}")
    if json:
        console.document({"files": told})


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
    for path in paths_of(file):
        try:
            read = archive.read(path, path.name)
        except archive.BadArchive as error:
            findings += [inspection.Finding("error", path.name, reason, error.remedy) for reason in error.reasons]
        else:
            findings += inspection.inspect(read, normalise.contents(path))
    if json:
        console.document({"findings": [finding_document(each) for each in findings]})
    else:
        for each in findings:
            console.data(str(each))
        console.say("nothing found" if not findings else f"{len(findings)} found")
    if inspection.errors(findings):
        raise Exit(code=1)
