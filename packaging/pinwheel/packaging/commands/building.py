"""`pinwheel packaging.build` and `packaging.check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invoke import Context, Exit, task

from pinwheel.packaging.commands.options import (
    FILES,
    JSON,
    OUT,
    PYTHON,
    REF_TO_BUILD,
    SELECTION,
    VERIFY,
    paths_of,
    say_unsigned,
    show,
    tools_of,
)


@task(iterable=["name"], help=SELECTION | REF_TO_BUILD | PYTHON | OUT | VERIFY | JSON)
def build(
    _context: Context,
    name: Sequence[str] | None = None,
    repo: str | None = None,
    ref: str | None = None,
    subdirectory: str = "",
    python: str | None = None,
    out: str = "dist",
    verify: bool = False,
    json: bool = False,
) -> None:
    """Build an sdist and a wheel from a commit, without publishing them.

    A branch can be built too. The files are normalised, so that the same commit gives the same bytes everywhere;
    each has its statement beside it, for packaging.publish. With --verify everything is built a second time, on another
    path, with another umask and time zone, from files of other ages; what differs is shown, and the exit code is 1.

    Example:
      pinwheel packaging.build --repo . --ref main --out dist
      pinwheel packaging.build --name acme-shop --python 3.12 --verify --json
    """
    from dataclasses import asdict, replace
    from pathlib import Path

    from pinwheel import config, console
    from pinwheel.packaging.building.commit import build as build_one
    from pinwheel.packaging.building.comparison import Difference
    from pinwheel.packaging.building.reproduction import reproduce
    from pinwheel.packaging.publishing.papers import documents
    from pinwheel.packaging.releasing.selection import select
    from pinwheel.packaging.releasing.survey import resolve
    from pinwheel.packaging.targets import oldest_first
    from pinwheel.packaging.workspace import below, deliver, full_disk_explained, open_folder, workspace

    loaded = config.load()
    tools = tools_of(loaded)
    into = open_folder(out)
    wanted = select(loaded, name, repo, ref, subdirectory)
    if python is not None:
        wanted = [replace(each, pythons=oldest_first([python], "--python")) for each in wanted]
    jobs, failures = resolve(wanted, tools, publishable=False)
    for failure in failures:
        raise failure.error
    if tools.signer:
        tools.signer.check()
    told: list[dict[str, str]] = []
    differences: list[Difference] = []
    for job in jobs:
        with console.group(f"build {job.called}"), full_disk_explained(tools.cache), workspace() as folder:
            built = build_one(job, tools, below(folder, "first"))
            show(built.findings)
            if verify:
                found = reproduce(job, tools, built, below(folder, "once-more/elsewhere"))
                for each in found or [f"{built.name} {built.version}: reproducible"]:
                    console.say(str(each))
                differences += found
            files: dict[str, Path | bytes] = {}
            for artifact in built.artifacts:
                filename = artifact.path.name
                if artifact.paper:
                    files |= documents(filename, artifact.paper)
                files[filename] = artifact.path
            deliver(files, into)
        for artifact in built.artifacts:
            told.append({"file": str(into / artifact.path.name), "sha256": artifact.sha256})
            if not json:
                console.data(f"{artifact.sha256}  {into / artifact.path.name}")
    if json:
        document: dict[str, Any] = {"files": told}
        if verify:
            document |= {"reproducible": not differences, "differences": [asdict(each) for each in differences]}
        console.document(document)
    console.summarise(("built", "sha256"), [(each["file"], each["sha256"]) for each in told])
    if tools.signer is None:
        say_unsigned(loaded)
    if differences:
        raise Exit(code=1)


@task(iterable=["file"], help=FILES | JSON)
def check(_context: Context, file: Sequence[str] | None = None, json: bool = False) -> None:
    """Inspect built files: metadata, dependencies, secrets. All findings are reported at once.

    Exits 1 when a finding forbids publishing. A finding that pinwheel.toml allows the project is shown with its
    reason. Files built by packaging.release are inspected anyway, and compared with their commit.

    Example:
      pinwheel packaging.check --file dist/acme_greet-1.0.0-py3-none-any.whl
    """
    from pinwheel import archive, config, console
    from pinwheel.packaging.inspection.examine import examine
    from pinwheel.packaging.inspection.findings import Finding, allow, errors
    from pinwheel.packaging.releasing.selection import allowances

    loaded = config.load()
    findings: list[Finding] = []
    for path in paths_of(file):
        try:
            examined = examine(path)
        except archive.BadArchive as error:
            findings += [Finding("error", "archive", path.name, reason, error.remedy) for reason in error.reasons]
        else:
            findings += allow(examined.findings, allowances(loaded, examined.distribution.name))
    if json:
        console.document({"findings": [each.document() for each in findings]})
    else:
        for each in findings:
            console.data(str(each))
            console.annotate(each.severity, f"{each.problem} ({each.remedy})", each.file)
        rows = [(each.severity, each.file, each.problem, each.remedy) for each in findings]
        console.summarise(("checked", "file", "problem", "remedy"), rows or [("nothing found", "", "", "")])
        console.say("nothing found" if not findings else f"{len(findings)} found")
    if errors(findings):
        raise Exit(code=1)
