"""The errand `facts`: what is on this host. Changes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from pathlib import Path

from pinwheel.deploy.host.gate import Document
from pinwheel.deploy.host.runner import (
    CALL_S,
    Application,
    Job,
    Supervisor,
    applications,
    free_bytes,
    process_document,
    read_json,
    read_text,
    run,
)


def facts(job: Job, held: int = -1) -> Document:
    """What is here. Changes nothing, needs nothing to be here, and asks for no lock."""
    supervisor = Supervisor(job.socket)
    state = supervisor.state()
    uv = uv_version(job)
    there = {**{str(each): each.is_dir() for each in folders(job)}, "uv": bool(uv), "supervisor": bool(state)}
    musl = next((each.name for each in Path("/lib").glob("ld-musl-*")), "")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libc": ["musl", ""] if musl else list(platform.libc_ver()),
        "free_bytes": free_bytes(job.root),
        "ready": all(there.values()),
        "missing": [name for name, found in there.items() if not found],
        "uv": uv,
        "supervisor": state,
        "fence": read_json(job.root / "state/fence.json"),
        "applications": {app.name: application_facts(app, supervisor if state else None) for app in applications(job)},
    }


def application_facts(app: Application, supervisor: Supervisor | None) -> Document:
    known = [each.about() for each in app.releases() if each.complete]
    current, conf = app.current, read_text(app.conf_file)
    stored = next((each["conf"] for each in known if each["release"] == current), None)
    shown = ("release", "version", "lock_sha256", "verdict", "activated_at", "commit", "signer")
    return {
        "current": current,
        "in_doubt": app.in_doubt,
        "releases": [{key: each.get(key) for key in shown} for each in known],
        "conf": conf,
        "conf_sha256": conf and hashlib.sha256(conf.encode()).hexdigest(),
        "drift": not app.in_doubt and conf != stored,
        "processes": [process_document(each) for each in (supervisor.processes(app.name) if supervisor else ())],
    }


def folders(job: Job) -> list[Path]:
    ours = [job.root / "etc", job.conf_dir, Path(job.socket).parent] if job.own_supervisor else []
    return [*(job.root / name for name in ("state", "tmp", "bin", "cache", "apps")), *ours]


def uv_version(job: Job) -> str | None:
    with contextlib.suppress(OSError, IndexError):
        return run(job, (str(job.root / "bin/uv"), "--version"), CALL_S)[1].split()[1]
    return None


ACTIONS = {"facts": facts}
