"""The errand `facts`: what is on this host. Changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from pinwheel.deploy.host.files import free_bytes, read_json
from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.means import has_pip, uv_version, wheels_of
from pinwheel.deploy.host.runner import Application, Job, applications, kept_setup, process_document
from pinwheel.deploy.host.supervisord import Refusal, Supervisor, check_files

DIGITS = 16
"""So many digits of a sha256 tell the wheels of a fleet apart; whether they are the same is decided by all of them."""


def facts(job: Job, held: int = -1) -> Document:
    """What is here. Changes nothing, needs nothing to be here, and asks for no lock."""
    state = Supervisor(job.socket).state()
    uv = uv_version(job)
    there = {**{str(each): each.is_dir() for each in folders(job)}, "supervisor": bool(state)}
    musl = next((each.name for each in Path("/lib").glob("ld-musl-*")), "")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libc": ["musl", ""] if musl else list(platform.libc_ver()),
        "free_bytes": free_bytes(job.root),
        "ready": all(there.values()) and (bool(uv) or has_pip()),
        "missing": [name for name, found in {**there, "uv": bool(uv)}.items() if not found],
        "uv": uv,
        "pip": has_pip(),
        "supervisor": state,
        "foreign": foreign(job),
        "fence": read_json(job.root / "state/fence.json"),
        "applications": {app.name: application_facts(app, bool(state)) for app in applications(job)},
    }


def application_facts(app: Application, answers: bool) -> Document:
    """What is here of it, and runs, if supervisor `answers`; without the journal of a newer pinwheel."""
    known = [each.about() for each in app.releases() if each.complete]
    current, colour, in_doubt, unsupported = None, app.sockets.served, False, ""
    try:
        current, colour, in_doubt = app.current, app.colour, app.in_doubt
    except Refusal as newer:
        unsupported = newer.problem
    conf = app.conf(colour)
    setup = kept_setup(app, current)
    # a colour that the kept setup does not know is a drift, too
    stored = setup.text(colour) if setup and (not colour or colour in setup.colours) else None
    programs = setup.all_programs(colour) if stored is not None and setup else []
    running = app.processes(colour) if answers else []
    memory = memory_bytes([each["pid"] for each in running])
    records = [] if unsupported else list(app.records())
    # a restart, or another conf, is no new release
    deployed = (each for each in records if each["event"] == "commit" and each["release"] != each["previous"])
    told = ("event", "at", "by", "rollout", "release", "previous", "reason")  # never conf, which may hold secrets
    shown = ("release", "version", "lock_sha256", "verdict", "activated_at", "commit", "signer")
    return {
        "current": current,
        "colour": colour,
        "in_doubt": in_doubt,
        "unsupported": unsupported,
        "releases": [{**{key: each.get(key) for key in shown}, "wheels": shared_wheels(each)} for each in known],
        "conf": conf,
        "conf_sha256": conf and hashlib.sha256(conf.encode()).hexdigest(),
        "secrets": next((each["secrets"] for each in programs if each.get("secrets")), ""),
        "tasks": read_json(app.folder / "tasks.json"),
        "drift": not in_doubt and not unsupported and (conf != stored or app.sockets.served != colour),
        "deployed": {
            key: each.get(key) for each in [next(deployed, {})] for key in ("at", "by", "rollout", "previous")
        },
        "last": {key: records[0].get(key) for key in told} if records else None,
        "processes": [
            {
                **process_document(each),
                "uptime_s": max(0, each["now"] - each["start"]) if each["pid"] else 0,
                "memory_bytes": memory.get(each["pid"], 0),
            }
            for each in running
        ],
    }


def foreign(job: Job) -> str:
    """Which file of somebody else's keeps supervisor from reloading, as far as the files show it; empty when none does.
    supervisor knows more, and is not asked: it would take in what it reads."""
    ours = {file for app in applications(job) for file in app.files}
    with contextlib.suppress(OSError):  # not for us to read
        try:
            check_files({*job.conf_dir.glob("*.conf")} - ours, ())
        except Refusal as broken:
            return f"{broken.problem} ({broken.where})"
    return ""


def memory_bytes(pids: Sequence[int]) -> dict[int, int]:
    """What each of `pids`, with all that it has started, has in memory; pages that several share count for each."""
    parents, sizes, page = dict[int, int](), dict[int, int](), os.sysconf("SC_PAGE_SIZE")
    for stat in Path("/proc").glob("[0-9]*/stat") if pids else ():
        with contextlib.suppress(OSError):  # it has ended
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()  # proc_pid_stat(5), from the third on
            parents[int(stat.parent.name)], sizes[int(stat.parent.name)] = int(fields[1]), int(fields[21]) * page
    found = dict.fromkeys(pids, 0)
    for each, size in sizes.items():
        above = each
        while above and above not in found:
            above = parents.get(above, 0)
        if above:
            found[above] += size
    return found


def shared_wheels(about: Document) -> list[str]:
    """The beginnings of the sha256 of every wheel in a release that another one may share: enough to plan with, and
    little where there are many hosts."""
    return sorted(each["sha256"][:DIGITS] for each in wheels_of(about).values())


def folders(job: Job) -> list[Path]:
    ours = [job.root / "etc", job.conf_dir, Path(job.socket).parent] if job.own_supervisor else []
    return [*(job.root / name for name in ("state", "tmp", "bin", "cache", "apps")), *ours]


ACTIONS = {"facts": facts}
