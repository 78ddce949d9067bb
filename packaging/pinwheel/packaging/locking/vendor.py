"""Bring what third parties have published into our own index: the files that a lock pins, each with a statement.

A name belongs to our index alone from its first file on, and an upstream is not asked for it again. So everything is
fetched, checked and laid ready on this machine's disk before the first upload; a run that was cut off in between is
completed by the next one from there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from pinwheel import archive
from pinwheel.errors import PinwheelError
from pinwheel.index.client import IndexFile
from pinwheel.packaging.building import isolation, normalise
from pinwheel.packaging.locking import vendored
from pinwheel.packaging.locking.closure import Source, build_missing
from pinwheel.packaging.locking.lock import resolve
from pinwheel.packaging.locking.lockfile import Lock, Pinned, gaps, needed
from pinwheel.packaging.locking.vendored import BuiltHere, Vendored
from pinwheel.packaging.publishing.publish import Artifact, Index, check_project, publish, sha256_of, uploader
from pinwheel.packaging.resolver import Resolver
from pinwheel.packaging.statement import attachment_name
from pinwheel.packaging.targets import Target
from pinwheel.packaging.tools import Tools
from pinwheel.packaging.work import Outcome, Published
from pinwheel.packaging.workspace import alone, full_disk_explained, logs, workspace

PLAN = "vendored.json"
FETCHED_AT_ONCE = 8
LOOKED_AT = 3  # files, of which one may lack the statement that a run before us was about to store


class CannotVendor(PinwheelError):
    """A file that is needed is not to be had, or not ours to take. The index was not changed."""


@dataclass(frozen=True, slots=True)
class From:
    """The index that files are taken from. `foreign`: it is not our own, so none of our names may be told to it."""

    source: Source
    resolver: Resolver
    foreign: bool = False
    private: Callable[[str], bool] = lambda _name: False


@dataclass(frozen=True, slots=True)
class Taken:
    """One file that our index has now. `built_from` names the sdist when it was built here."""

    name: str
    version: str
    filename: str
    sha256: str
    outcome: Outcome
    built_from: str = ""


@dataclass(slots=True)
class Workbench:
    """Where wheels are built from sdists: they end up in the folder `links`, with what is known of each in `made`."""

    tools: Tools
    source: Source
    links: Path
    made: dict[str, Vendored] = field(default_factory=dict)

    def build(self, name: str, sdist: IndexFile) -> Path:
        """Make a wheel of the sdist. Raises `BuildFailed`, `BadArchive`."""
        from pinwheel.packaging.building.assemble import Workplace, wheel_from

        self.tools.report(name, f"building {sdist.filename}, which has no wheel for every target")
        output = logs(self.tools.cache / "logs", f"{name}-{sdist.version}")
        with workspace() as folder:
            fetched = self.source.download(sdist, folder / "fetched")
            archive.read(fetched, fetched.name)  # sound, and nothing in it leads out of the folder
            epoch = _newest(fetched)
            variables = {"SOURCE_DATE_EPOCH": str(epoch)}
            place = Workplace(
                self.tools.resolver, folder, output, variables, self.tools.environ, cut_off=isolation.cut_off()
            )
            of_sdist = wheel_from(fetched, folder / "dist", place)
            wheel = of_sdist.path
            normalise.normalise(wheel, epoch)
            read = archive.read(wheel, wheel.name)
            if (read.name, read.version) != (name, Version(sdist.version)):
                raise CannotVendor(
                    f"{sdist.filename} builds {wheel.name}", remedy="the sdist is at fault; require another version"
                )
            final = Path(shutil.move(wheel, self.links / wheel.name))
        shutil.rmtree(output, ignore_errors=True)
        network = "none" if place.cut_off else "open"
        built = BuiltHere(epoch, of_sdist.python, normalise.VERSION, network, of_sdist.dependencies)
        self.made[final.name] = replace(
            _vendored(name, sdist.version, final.name, sha256_of(final), self.source.url),
            source=sdist.filename,
            source_sha256=sdist.sha256,
            built=built,
        )
        return final


def vendor(
    wanted: Sequence[Requirement] | Lock, taken_from: From, targets: Sequence[Target], tools: Tools
) -> list[Taken]:
    """Bring the closure of `wanted`, or the very files of a lock, into our index: what fits `targets`.

    What is there already stays as it is. Raises `CannotVendor`, `CannotLock`, `BuildFailed`, `Conflict`.
    """
    known_by = hashlib.sha256(tools.index.url.encode()).hexdigest()[:16]
    spool = tools.cache / "vendor" / known_by
    with full_disk_explained(tools.cache), alone(tools.cache / "locks", f"vendor-{known_by}"):
        ready = spool / "ready"
        done = deliver(ready, tools) if ready.is_dir() else []
        shutil.rmtree(spool, ignore_errors=True)
        links = spool / "links"
        links.mkdir(parents=True)
        bench = Workbench(tools, taken_from.source, links)
        lock = wanted if isinstance(wanted, Lock) else _resolved(wanted, taken_from, targets, bench)
        if without := gaps(lock, targets):
            lacks = ", ".join(f"{package.name} {package.version} for {target}" for package, target in without)
            raise CannotVendor(f"the lock has no wheel of {lacks}", remedy="lock the application again")
        there, missing = _sorted_out(lock, targets, tools.index, taken_from)
        if missing:
            if tools.signer:
                tools.signer.check()
            who = uploader(tools.index)
            for name in sorted({package.name for package, _ in missing}):
                check_project(tools.index, who, name)
            _lay_ready(missing, taken_from.source, bench, spool / "collecting")
            (spool / "collecting").rename(ready)  # the moment from which on a run can be completed without a source
            there += deliver(ready, tools)
        shutil.rmtree(spool, ignore_errors=True)
    resumed = [each for each in done if each.filename not in {other.filename for other in there}]
    fresh = {each.filename: each for each in done}
    return sorted(
        [*resumed, *(fresh.get(each.filename, each) for each in there)], key=lambda each: (each.name, each.filename)
    )


def deliver(ready: Path, tools: Tools) -> list[Taken]:
    """Publish what lies in the folder `ready`, one version after the other, and each file's statement."""
    plan = [vendored.read(body.encode()) for body in json.loads((ready / PLAN).read_text())]
    versions: dict[tuple[str, str], list[Vendored]] = {}
    for each in plan:
        versions.setdefault((each.name, each.version), []).append(each)
    done = []
    for (name, version), files in versions.items():
        tools.report(name, f"publishing {version}")
        artifacts = [
            Artifact(ready / each.filename, name, version, each.sha256, tools.paper(vendored.write(each)))
            for each in files
        ]
        tell = functools.partial(_record, tools, name, version, files)
        outcomes = {each.filename: each.outcome for each in publish(tools.index, tools.upload, artifacts, tell)}
        done += [
            Taken(name, version, each.filename, each.sha256, outcomes[each.filename], each.source if each.built else "")
            for each in files
        ]
    return done


def _record(tools: Tools, name: str, version: str, files: Sequence[Vendored], _published: Sequence[Published]) -> None:
    named = {each.filename: each.sha256 for each in files}
    detail = {"index": files[0].index, "files": named, "built": [each.filename for each in files if each.built]}
    tools.events.append("vendored", name, version=version, detail=detail)


def own_names(index: Any) -> frozenset[str]:
    """The names of our index whose files are our own and were not taken from elsewhere."""
    names = index.projects()
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        own = pool.map(lambda name: is_own(index, index.own_files(name), name), names)
    return frozenset(name for name, ours in zip(names, own, strict=True) if ours)


def is_own(index: Index, files: Sequence[IndexFile], name: str) -> bool:
    """Whether a project of ours with these `files` is one that we make, and not one that was vendored."""
    newest = sorted((file for file in files if file.version), key=lambda file: Version(file.version))[-LOOKED_AT:]
    return bool(files) and not any(vendored_at(index, name, file.version, file.filename) for file in newest)


def vendored_at(index: Index, name: str, version: str, filename: str) -> Vendored | None:
    """Where a file of our index was taken from; None for one of our own."""
    paper = index.attachment(name, version, attachment_name(filename)) if version else None
    return vendored.of(paper) if paper else None


def _resolved(wanted: Sequence[Requirement], taken_from: From, targets: Sequence[Target], bench: Workbench) -> Lock:
    build_missing(wanted, _Guarded(taken_from), targets, bench.build)
    text = "".join(f"{each}\n" for each in wanted)
    return resolve(taken_from.resolver, text, targets, bench.links)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A source that is never asked for a name of ours when it is not our own."""

    of: From

    @property
    def url(self) -> str:
        return self.of.source.url

    def files(self, project: str) -> tuple[IndexFile, ...]:
        _guard(self.of, project)
        return self.of.source.files(project)

    def download(self, file: IndexFile, into: Path) -> Path:
        return self.of.source.download(file, into)

    def metadata(self, file: IndexFile) -> bytes:
        return self.of.source.metadata(file)


def _guard(taken_from: From, name: str) -> None:
    if taken_from.foreign and taken_from.private(name):
        raise CannotVendor(
            f"{name} is a name of ours, and {taken_from.source.url} must not hear of it",
            where=name,
            remedy="vendor only what third parties have made; publish our own with packaging.release",
        )


def _sorted_out(
    lock: Lock, targets: Sequence[Target], index: Index, taken_from: From
) -> tuple[list[Taken], list[tuple[Pinned, list[str]]]]:
    """What our index has of the lock's files already, and what it lacks: packages with filenames."""
    there: list[Taken] = []
    missing: list[tuple[Pinned, list[str]]] = []
    for package in lock.packages:
        wanted = dict(needed(package, targets).files)
        files = index.own_files(package.name)
        have = {file.filename for file in files if wanted.get(file.filename) == file.sha256}
        there += [Taken(package.name, package.version, name, wanted[name], "already there") for name in sorted(have)]
        lacking = sorted(set(wanted) - have)
        if lacking and files and is_own(index, files, package.name):
            raise CannotVendor(
                f"{package.name} is a project of ours, and {lacking[0]} is not in the index",
                where=index.url,
                remedy="release it, or lock the application again",
            )
        if lacking:
            _guard(taken_from, package.name)
            missing.append((package, lacking))
    return there, missing


def _lay_ready(missing: Sequence[tuple[Pinned, list[str]]], source: Source, bench: Workbench, folder: Path) -> None:
    """Fetch every file that is missing into `folder`, beside a plan of what they are."""
    folder.mkdir()
    papers: list[Vendored] = []
    to_fetch: list[IndexFile] = []
    for package, filenames in missing:
        offered = {file.filename: file for file in source.files(package.name)}
        pinned = dict(package.files)
        for filename in filenames:
            made = bench.made.get(filename)
            if made is not None and made.sha256 == pinned[filename]:
                shutil.move(bench.links / filename, folder / filename)
                sdist = offered[made.source]
                to_fetch.append(sdist)  # what it was built from stays beside it
                whole = _vendored(package.name, package.version, sdist.filename, sdist.sha256, source.url)
                papers += [whole, replace(made, version=package.version)]
                continue
            file = offered.get(filename)
            if file is None or file.sha256 != pinned[filename]:
                said = f"with sha256 {file.sha256}, locked was {pinned[filename]}" if file else "no longer"
                raise CannotVendor(
                    f"{filename} is offered {said}",
                    where=source.url,
                    remedy="name an index that has it with --from, or lock the application again",
                )
            to_fetch.append(file)
            papers.append(_vendored(package.name, package.version, filename, file.sha256, source.url))
    bench.tools.report("fetching", f"{len(to_fetch)} files")
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        list(pool.map(lambda file: source.download(file, folder), to_fetch))
    (folder / PLAN).write_text(json.dumps([vendored.write(each).decode() for each in papers]))


def _vendored(name: str, version: str, filename: str, sha256: str, index: str) -> Vendored:
    """A file that is taken as it is."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Vendored(name, version, filename, sha256, index, filename, sha256, version_of("pinwheel-kit"), at)


def _newest(sdist: Path) -> int:
    """When the sdist's newest file was changed, in seconds since 1970: what stands for a commit's time."""
    with tarfile.open(sdist, "r:gz") as opened:
        return max((int(member.mtime) for member in opened), default=0)
