"""The errands `weigh` and `prune`: what nobody needs any more, and what of it is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pinwheel.deploy.host.files import sync_folder
from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.kept_secrets import sweep
from pinwheel.deploy.host.runner import Application, Job, Virtualenv, applications, run
from pinwheel.deploy.host.supervisord import Misconfigured, Refusal

CACHE_S = 120.0
OLD_S = 30 * 86_400.0
"""A log to which no process belongs any more is old when nobody has written to it for so long."""


def weigh(job: Job, held: int = -1) -> Document:
    """What `prune` would remove. Changes nothing."""
    doomed, kept = found(job, job.body["applications"], job.body["whole"])
    return {"removed": [named(job, each) for each in doomed], "kept": kept, "bytes": freed_bytes(job, doomed)}


def prune(job: Job, held: int) -> Document:
    """Remove the releases that `applications` of the body names and nothing uses, their secrets, and debris; with
    `whole` also what the cache holds for the removed releases alone."""
    told = weigh(job)
    doomed, _ = found(job, job.body["applications"], job.body["whole"])
    names = only_of(doomed, [each for app in applications(job) for each in app.releases()]) if job.body["whole"] else []
    remove(job, doomed)
    for app in applications(job):
        if app.name in job.body["applications"]:
            sweep(app)
    uv = job.root / "bin/uv"
    if job.body["whole"] and uv.exists():
        extra = {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(job.root / "cache")}
        for words in ([("cache", "clean", *names)] if names else []) + [("cache", "prune")]:
            run(job, (str(uv), *words), CACHE_S, extra, (held,))  # a cache that stays as it is does no harm
    return told


def remove(job: Job, doomed: Sequence[Path]) -> None:
    """One that is cut off leaves debris, and no half release."""
    for each in doomed:
        job.check()
        job.progress(f"remove {named(job, each)}")
        if each.is_dir() and not each.is_symlink():
            (each / "COMPLETE").unlink(missing_ok=True)  # first: what is half removed must not count as a release
            sync_folder(each)
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def found(job: Job, asked: Mapping[str, Sequence[str]], whole: bool) -> tuple[list[Path], dict[str, str]]:
    """What can go, and by name the releases that were `asked` for, by application, and stay, with the reason."""
    doomed, kept = [], {}
    apps = [each for each in applications(job) if each.name in asked]
    used = users([each.folder for app in apps for each in app.releases()])
    for app in apps:
        for release in app.releases():
            if not release.complete:
                doomed.append(release.folder)  # nobody builds while we hold the lock
            elif release.name in asked[app.name]:
                if why := _needed(app, release, used):
                    kept[f"{app.name} {release.name}"] = why
                else:
                    doomed.append(release.folder)
        doomed += [*app.folder.glob(".*.tmp"), *app.folder.glob("releases/*/.*.tmp"), *old_logs(app)]
    if whole:
        doomed += [*(job.root / "tmp").iterdir(), *(job.root / "state").glob(".*.tmp")]
    return [each for each in doomed if not any(above in doomed for above in each.parents)], kept


def _needed(app: Application, release: Virtualenv, used: Mapping[Path, int]) -> str:
    """Why this release must stay; empty when it may go."""
    commits = (each for each in app.records() if each["event"] == "commit" and each["release"] != each["previous"])
    before = next(commits, {"previous": None})["previous"]
    if release.name == app.current or (app.in_doubt and release.name == (app.last() or {}).get("release")):
        return "it runs"
    if release.name == before:
        return "it ran before"
    return f"process {used[release.folder]} uses it" if release.folder in used else ""


def users(folders: Sequence[Path]) -> dict[Path, int]:
    """Those of `folders` that a process uses, as program, working folder, argument or mapped file, with its pid."""
    marks = {f"{name}/": each for each in folders for name in {str(each), str(each.resolve())}}
    found: dict[Path, int] = {}
    for process in Path("/proc").glob("[0-9]*") if marks else ():
        if process.name != str(os.getpid()):
            text = "\n".join(_uses(process))
            found |= {each: int(process.name) for mark, each in marks.items() if mark in text}
    return found


def _uses(process: Path) -> Iterator[str]:
    for link in ("exe", "cwd"):
        with contextlib.suppress(OSError):  # it has ended, or is not for us to look at
            yield f"{(process / link).readlink()}/"
    for file in ("cmdline", "maps"):
        with contextlib.suppress(OSError):
            yield (process / file).read_text(errors="replace").replace("\0", "\n")


def old_logs(app: Application) -> list[Path]:
    """Logs of processes that are no more; none when supervisor does not say which there are."""
    try:
        running = app.supervisor.processes(*app.groups)
    except (Refusal, Misconfigured):
        return []
    live = tuple(each[key] for each in running for key in ("stdout_logfile", "stderr_logfile") if each[key])
    before = time.time() - OLD_S
    stray = (each for each in (app.folder / "log").glob("*.log*") if not str(each).startswith(live or "/"))
    return [each for each in stray if each.is_file() and each.stat().st_mtime < before]


def only_of(doomed: Sequence[Path], releases: Sequence[Virtualenv]) -> list[str]:
    """The distributions of which the doomed releases hold a version that no other one holds."""
    gone, stay = set[str](), set[str]()
    for each in releases:
        into = gone if each.folder in doomed else stay
        into |= {info.name for info in each.folder.glob("lib/*/site-packages/*.dist-info")}
    return sorted({name.partition("-")[0] for name in gone - stay})


def freed_bytes(job: Job, doomed: Sequence[Path]) -> int:
    """What is freed on the disk: files count that have no link elsewhere but in the cache, which lets go of them."""
    links, sizes = Counter[tuple[int, int]](), dict[tuple[int, int], tuple[int, int]]()
    cached = {key for key, _, _ in _files(job.root / "cache")} if doomed and job.body["whole"] else set()
    for each in doomed:
        for key, count, size in _files(each):
            links[key] += 1
            sizes[key] = count, size
    return sum(size for key, (count, size) in sizes.items() if links[key] + (key in cached) >= count)


def _files(top: Path) -> Iterator[tuple[tuple[int, int], int, int]]:
    """(device, inode), links and bytes on the disk of each file below `top`, or of `top`."""
    below = (os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names)  # noqa: PTH118 (faster)
    for file in [str(top)] if top.is_file() else below:
        with contextlib.suppress(OSError):
            about = os.lstat(file)
            yield (about.st_dev, about.st_ino), about.st_nlink, about.st_blocks * 512


def named(job: Job, path: Path) -> str:
    return str(path.relative_to(job.root))


ACTIONS = {"weigh": weigh, "prune": prune}
