"""The errand `prepare`: a release built beside what runs."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from pathlib import Path

from pinwheel.deploy.host.files import free_bytes, replace_file, sync_folder
from pinwheel.deploy.host.gate import Document, tail
from pinwheel.deploy.host.kept_secrets import keep
from pinwheel.deploy.host.runner import MIB, Application, Given, Job, Virtualenv, run, time_text
from pinwheel.deploy.host.supervisord import Refusal

RESERVE_BYTES = 16 * MIB  # stays free beside a release, so that journals and logs can be written
TOOL_S = 900.0


def prepare(job: Job, held: int) -> Document:
    """Build a release beside what runs. Either it is COMPLETE at the end, or nothing is left of it."""
    began, app = time.monotonic(), Application(job, job.body["application"])
    release, needed = app.release(job.body["release"]), job.body["space_bytes"] + RESERVE_BYTES
    created = not release.complete
    keep(job, app)
    if created:
        for each in app.releases():
            if not each.complete:
                shutil.rmtree(each.folder)
        if (free := free_bytes(job.root)) < needed:
            problem = f"{-(-needed // MIB)} MiB are needed and {free // MIB} MiB are free"  # the one up, the other down
            raise Refusal("no-space", problem, job.root, "free some space")
        (app.folder / "log").mkdir(parents=True, exist_ok=True)
        release.folder.parent.mkdir(exist_ok=True)
        try:
            job.progress(f"install {release.name}")
            make_virtualenv(job, held, release.folder, job.body["requirements"])
            run_tool(job, held, str(release.folder / "bin/python"), "-I", "-c", f"import {module(release, job.body)}")
            about = {key: job.body[key] for key in ("application", "version", "release", "lock_sha256", "commit")}
            about["signer"] = job.body.get("signer", "")
            release.note(**about, verdict="prepared", prepared_at=time_text(), conf=None, programs=None)
            os.sync()  # all of it is on the disk before it counts
            replace_file(release.folder / "COMPLETE", "")
            sync_folder(release.folder.parent)
        finally:
            if not release.complete:
                shutil.rmtree(release.folder, ignore_errors=True)
    size = sum(each.lstat().st_size for each in release.folder.rglob("*"))
    return {"created": created, "how": "uv", "seconds": round(time.monotonic() - began, 3), "bytes": size}


def module(release: Virtualenv, body: Given) -> str:
    """The module that must be importable: the one that is called as the project is, if there is one."""
    name = re.sub(r"[-.]+", "_", str(body["project"])).lower()
    found = [*release.folder.glob(f"lib/*/site-packages/{name}"), *release.folder.glob(f"lib/*/*/{name}.py")]
    return name if found else "sys"


def run_tool(job: Job, held: int, *argv: str) -> None:
    """Run a tool that must succeed. Raises `Refusal` prepare-failed with the end of its output, or aborted.

    The credential is in its environment, in no argv and no file. It inherits the host's lock `held`: should we be
    killed, nobody starts beside it.
    """
    extra = {"UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_DEFAULT_INDEX": job.body["index_url"]}
    # the authorities that the host trusts: uv's own list knows no private one. The second is its old name for that
    extra |= {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    extra |= {"UV_CACHE_DIR": str(job.root / "cache"), "TMPDIR": str(job.root / "tmp")}
    code, output = run(job, argv, TOOL_S, extra, (held,))
    job.check()
    if f"(os error {errno.ENOSPC})" in output and code != 0:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.root))
    if code != 0:
        ending = f"did not end within {TOOL_S:g} s" if code is None else f"failed with exit code {code}"
        problem = f"{' '.join((Path(argv[0]).name, *argv[1:3]))} … {ending}:\n{tail(output)}"
        raise Refusal("prepare-failed", problem, job.host, "correct it and run again")


def make_virtualenv(job: Job, held: int, folder: Path, requirements: str) -> None:
    """A virtualenv with `requirements`; with hashes in them, exactly those files and nothing else."""
    uv, listed = str(job.root / "bin/uv"), job.root / "tmp/requirements.txt"
    if not Path(uv).exists():
        raise Refusal("not-ready", "there is no uv yet", job.host, "run pinwheel deploy.bootstrap")
    replace_file(listed, requirements)
    run_tool(job, held, uv, "venv", "--no-project", "--python", job.python, str(folder))
    strict = ("--require-hashes", "--no-deps") if "--hash=" in requirements else ()
    into = ("--python", str(folder / "bin/python"), "--only-binary", ":all:")
    run_tool(job, held, uv, "pip", "install", *into, *strict, "-r", str(listed))
    listed.unlink()


ACTIONS = {"prepare": prepare}
