"""`pinwheel index.import`, and what `index.serve --packages` shares with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from invoke import task

from pinwheel.errors import UsageError
from pinwheel.index.commands.options import DATA, DATA_HELP, JSON_HELP

if TYPE_CHECKING:
    from pathlib import Path

    from pinwheel.index.server.assembly import Stored

MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What became of a folder: how many files are published now or were before, and which were refused and why."""

    folder: Path
    published: int
    known: int
    refused: Sequence[tuple[str, str]]

    def document(self) -> dict[str, Any]:
        refused = [{"file": file, "reason": reason} for file, reason in self.refused]
        return {"folder": str(self.folder), "published": self.published, "known": self.known, "refused": refused}


@task(
    name="import",
    positional=["folder"],
    help={
        "folder": "a pypiserver folder; it stays as it is",
        "data": DATA_HELP,
        "report": "file that gets what was refused and why, as JSON (default: none)",
        "json": JSON_HELP,
    },
)
def import_(_context: Any, folder: str, data: str = DATA, report: str = "", json: bool = False) -> None:
    """Take over the files of a pypiserver folder: those that are sound are published, the others are named.

    Works on the data folder itself, also while the server runs; makes it when it is not there. Interrupted at any
    moment it goes on where it was when it is run again. Files that were taken over before and are as they were then
    are not read again.

    Example:
        pinwheel index.import /srv/pypiserver/packages --data /srv/index --report refused.json
    """
    from pathlib import Path

    from pinwheel import console
    from pinwheel.index.server.assembly import stored

    if not Path(folder).is_dir():
        raise UsageError("there is no such folder", where=folder, remedy="name pypiserver's folder of packages")
    index = stored(Path(data), create=True)
    try:
        done = take_over(index, Path(folder))
    finally:
        index.close()
    if report:
        _write_report(Path(report), done)
    if json:
        console.document(done.document())


def take_over(index: Stored, folder: Path) -> TakenOver:
    """Import the folder, showing how far it is, and sum up. Raises `NoSpace`."""
    from pinwheel import console
    from pinwheel.archive import Limits
    from pinwheel.index.intake.importing import distributions, import_all
    from pinwheel.index.server.assembly import now

    found = distributions(folder)
    counts = {"published": 0, "known": 0}
    refused: list[tuple[str, str]] = []
    with console.counted(f"taking over {folder}", len(found), "files") as progress:
        for imported in import_all(
            found,
            records=index.records,
            blobs=index.blobs,
            memory=index.imports,
            temporary=index.temporary,
            limits=Limits(),
            now=now,
        ):
            progress.advance()
            if imported.became == "refused":
                refused.append((str(imported.path.relative_to(folder.resolve())), imported.reason))
            else:
                counts[imported.became] += 1
    for file, reason in refused[:MOST_TOLD]:
        console.say(f"refused {file}: {reason}")
    if len(refused) > MOST_TOLD:
        console.say(f"and {len(refused) - MOST_TOLD} more were refused; --report FILE of `index.import` names all")
    console.say(f"took over {folder}: {counts['published']} published, {counts['known']} known, {len(refused)} refused")
    return TakenOver(folder, counts["published"], counts["known"], refused)


def _write_report(file: Path, done: TakenOver) -> None:
    import json

    try:
        file.write_text(json.dumps(done.document(), indent=2) + "\n", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"the report cannot be written: {error.strerror}",
            where=str(file),
            remedy="name another file with --report and run it again, which is quick now",
        ) from error
