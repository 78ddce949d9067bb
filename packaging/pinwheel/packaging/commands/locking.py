"""`pinwheel packaging.lock`: make a lock, check one, compare two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.commands.options import JSON, client_of, targets_of, tools_of

if TYPE_CHECKING:
    from packaging.version import Version

    from pinwheel.config import Loaded
    from pinwheel.packaging.locking.lockfile import Lock

LOCK_HAS_CHANGES = 4
DIFFERENCE = {
    "check": "store nothing: say whether the stored lock can still be installed, and what a new one would change",
    "diff": "OLD, a version or APP==OLD: say what changed since its lock, and from which commit to which",
    "out": "the folder into which both documents are written too (default: none)",
}


@task(
    help={"pin": "the application's version, as in acme-shop==1.2.0"} | DIFFERENCE | JSON,
)
def lock(
    _context: Context, pin: str, check: bool = False, diff: str = "", out: str | None = None, json: bool = False
) -> None:
    """Lock what an application's version needs to run, with hashes, and keep the lock beside it in the index.

    Two documents are stored: pylock.toml (PEP 751), and requirements.txt with the same pins for installers that
    cannot read it. Only the private index is asked. Markers are kept, so one lock serves every platform; with
    packaging.pythons and packaging.platforms in pinwheel.toml there must be a wheel for each of these.

    --check exits 1 when the stored lock can no longer be installed as it was made, 4 when a new one would differ.

    Example:
      pinwheel packaging.lock acme-shop==1.2.0 --out locks
      pinwheel packaging.lock acme-shop==1.2.0 --check
      pinwheel packaging.lock --diff 1.1.0 acme-shop==1.2.0
    """
    from pinwheel import config
    from pinwheel.packaging.locking import lock as locking

    if check and diff:
        raise UsageError("--check and --diff are two questions", remedy="ask them one after the other")
    if diff and out is not None:
        raise UsageError("--diff makes no documents for --out", remedy="lock the version, or --check it, with --out")
    loaded = config.load()
    project, version = locking.parse_pin(pin)
    if diff:
        old_project, old = locking.parse_pin(diff if "==" in diff else f"{project}=={diff}")
        if old_project != project:
            raise UsageError(f"{old_project} and {project} are two applications", remedy="compare two of its versions")
        _compare(loaded, project, old, version, json)
        return
    locking.check_released(client_of(loaded), project, version)
    made = _check(loaded, project, version, json) if check else _make(loaded, project, version, json)
    if out is not None:
        from pinwheel.packaging.workspace import deliver, open_folder

        deliver({locking.PYLOCK: made.pylock, locking.REQUIREMENTS: made.requirements}, open_folder(out))


def _make(loaded: Loaded, project: str, version: Version, json: bool) -> Lock:
    from pinwheel import console
    from pinwheel.packaging.locking import lock as locking

    tools, targets = tools_of(loaded), targets_of(loaded)
    with console.progress("lock") as progress:
        progress.update(f"{project} {version}: resolving for {', '.join(map(str, targets))}")
        made = locking.resolve(tools.resolver, f"{project}=={version}\n", targets)
    outcome = "locked" if locking.store(client_of(loaded), project, version, made) else "already there"
    about = {"sha256": made.sha256, "python": targets[0].python, "targets": [str(each) for each in targets]}
    if outcome == "locked":
        came_from = locking.provenance(client_of(loaded), project, str(version))
        detail = about | {"pins": [f"{name}=={of}" for name, of in made.pins]}
        commit = came_from.commit if came_from else ""
        tools.events.append("locked", project, version=str(version), commit=commit, detail=detail)
    if json:
        pins = [{"name": name, "version": of} for name, of in made.pins]
        document = {"name": project, "version": str(version)} | about | {"outcome": outcome, "packages": pins}
        console.document({"lock": document})
    else:
        console.table(("package", "version"), made.pins)
        console.say(f"{project} {version}: {outcome}, {made.sha256[:8]}")
    return made


def _check(loaded: Loaded, project: str, version: Version, json: bool) -> Lock:
    from pinwheel import console
    from pinwheel.packaging.locking import lock as locking
    from pinwheel.packaging.locking.lockfile import CannotLock, changes

    client = client_of(loaded)
    kept = _stored(loaded, project, version)
    targets = targets_of(loaded)
    faults, differences = locking.faults(client, kept, targets), []
    with console.progress("lock") as progress:
        progress.update(f"{project} {version}: resolving anew, to compare")
        try:
            anew = locking.resolve(tools_of(loaded).resolver, f"{project}=={version}\n", targets)
            differences = changes(kept, anew)
        except CannotLock as error:
            faults.append(f"a new lock cannot be made: {error.problem}")
    if json:
        about = {"name": project, "version": str(version), "sha256": kept.sha256}
        console.document({"check": about | {"faults": faults, "changes": [each.document() for each in differences]}})
    else:
        for fault in faults:
            console.data(f"fault: {fault}")
        for each in differences:
            console.data(f"a new lock: {each}")
        standing = "has faults" if faults else "can be installed" + ("; a new one would differ" if differences else "")
        console.say(f"the lock of {project} {version} ({kept.sha256[:8]}) {standing}")
    if faults:
        raise Exit(code=PinwheelError.exit_code)
    if differences:
        raise Exit(code=LOCK_HAS_CHANGES)
    return kept


def _compare(loaded: Loaded, project: str, old: Version, new: Version, json: bool) -> None:
    from pinwheel import console
    from pinwheel.packaging.locking import lock as locking
    from pinwheel.packaging.locking.lockfile import changes

    client = client_of(loaded)
    found = []
    for change in changes(_stored(loaded, project, old), _stored(loaded, project, new)):
        sides = {"from": change.old, "to": change.new}
        commits = {
            side: {"repository": came.repository, "tag": came.tag, "commit": came.commit}
            for side, versions in sides.items()
            if len(versions) == 1 and (came := locking.provenance(client, change.name, versions[0]))
        }
        found.append((change, commits))
    if json:
        documents = [change.document() | commits for change, commits in found]
        console.document({"diff": {"name": project, "old": str(old), "new": str(new), "changes": documents}})
        return
    for change, commits in found:
        ends = [" ".join(filter(None, (each["tag"], each["commit"][:12]))) for each in commits.values()]
        console.data(f"{change} ({' → '.join(ends)})" if ends else str(change))
    console.say(f"{project}: {len(found)} differences between the locks of {old} and {new}")


def _stored(loaded: Loaded, project: str, version: Version) -> Lock:
    from pinwheel.packaging.locking import lock as locking

    client = client_of(loaded)
    locking.check_released(client, project, version)
    kept = locking.stored(client, project, version)
    if kept is None:
        raise PinwheelError(
            f"{project} {version} has no lock",
            where=client.url,
            remedy=f"make one: pinwheel packaging.lock {project}=={version}",
        )
    return kept
