"""The errands `task` and `run`: a command in a release's environment, as one of the application's programs would run.

`task` is for what must happen once for a release. It is written down before it starts and when it has ended, holds the
host's lock for as long as it lives, and is not cut off when the controller goes away: half a migration is worse.
`run` is for people. It needs no lock, leaves nothing behind, and ends when the controller goes away.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinwheel.deploy.host.files import read_json, replace_file
from pinwheel.deploy.host.gate import Document, tail
from pinwheel.deploy.host.generation import every_program
from pinwheel.deploy.host.kept_secrets import account, keep_launcher
from pinwheel.deploy.host.runner import Application, Given, Job, Virtualenv, own_environment, time_text
from pinwheel.deploy.host.supervisord import Refusal

GRACE_S = 5.0
"""Between SIGTERM and SIGKILL for a command that has to end."""

LINE_BYTES = 8192
"""A longer line is told in pieces."""


def task(job: Job, held: int) -> Document:
    """Run a task of a release unless it was done before. `mode`: "run", "again" although nobody knows how it ended
    before, or "done", which only writes down that it is."""
    app, name, mode = Application(job, job.body["application"]), job.body["task"], job.body["mode"]
    release, file = app.release(job.body["release"]), app.folder / "tasks.json"
    key, records = f"{release.name}/{name}", read_json(app.folder / "tasks.json")
    before = records.get(key, {"state": ""})

    def note(state: str) -> None:
        entry = {"state": state, "at": time_text(), "rollout": job.rollout}
        replace_file(file, json.dumps({**records, key: entry}, indent=1))

    if not release.complete:
        raise Refusal("not-prepared", f"{app.name} {release.name} is not prepared here", job.host, "roll it out again")
    if before["state"] == "done" or mode == "done":
        if before["state"] != "done":
            note("done")
        return {"state": "done", "ran": False, "exit": 0, "output": "", "seconds": 0.0}
    if before["state"] == "running" and mode != "again":  # we have the lock, so it does not run any more
        problem = f"{name} began at {before['at']} in rollout {before['rollout']}, and nobody saw how it ended"
        raise Refusal(
            "task-unknown", problem, job.host, f"see what it did, then add --task-done or --task-again {name}"
        )
    job.check()
    note("running")
    began = time.monotonic()
    try:
        code, output = execute(job, app, release, job.body["program"], job.body["timeout_s"], held)
    except (Refusal, OSError):  # it did not start
        note("failed")
        raise
    note("done" if code == 0 else "failed")
    seconds = round(time.monotonic() - began, 3)
    return {"state": "done" if code == 0 else "failed", "ran": True, "exit": code, "output": output, "seconds": seconds}


def run(job: Job, held: int = -1) -> Document:
    """Run a command beside the release that runs, as one of its programs was activated."""
    app, began = Application(job, job.body["application"]), time.monotonic()
    release, wanted = app.release(app.current or ""), job.body["program"]
    stored = every_program(release.about()) if app.current else []
    program = next((each for each in stored if each["name"] == wanted), None)
    if program is None or "run" not in program:
        problem = f"{app.name} has no program {wanted} here" if app.current else f"{app.name} does not run here"
        known = ", ".join(each["name"] for each in stored if "run" in each)
        remedy = f"roll it out, or name one of {known}" if known else "roll it out; an older pinwheel stored too little"
        raise Refusal("not-prepared", problem, job.host, remedy)
    code, _ = execute(job, app, release, program, None, held)
    if job.aborted.is_set():
        raise Refusal("aborted", "the command was ended, because the controller is gone", job.host, "run it again")
    return {"exit": code, "seconds": round(time.monotonic() - began, 3)}


def execute(
    job: Job, app: Application, release: Virtualenv, program: Document, timeout_s: float | None, held: int
) -> tuple[int | None, str]:
    """Run the request's command to its end: exit code, None when it was too slow, and the end of its output.

    What it says is told line by line meanwhile. `timeout_s` None: until the controller goes away.
    """
    about, launcher = Given(program["run"]), keep_launcher(job)
    if not Path(about["directory"]).is_dir():
        raise Refusal("bad-request", "the program's folder is not there", about["directory"], "make it on the host")
    words = [str(release.folder / "bin/python"), "-I", "-S", str(launcher)]
    for limit, number in about["limits"].items():
        words += ["--limit", f"{limit}={number}"]
    if program.get("secrets"):
        words += ["--secrets", str(app.folder / "secrets" / program["secrets"] / program["name"])]
    owner: dict[str, Any] = {"umask": int(about["umask"], 8)} if about["umask"] else {}
    extra = {"PATH": f"{release.folder}/bin:{os.environ.get('PATH', os.defpath)}"}
    if about["user"]:
        user = account(job, about["user"])
        extra |= {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
        if user.pw_uid != os.geteuid():
            groups = os.getgrouplist(user.pw_name, user.pw_gid)
            owner |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
    with subprocess.Popen(
        [*words, "--", *job.body["command"]],
        cwd=about["directory"],
        env={**own_environment(extra), **about["environment"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if held < 0 else (held,),
        **owner,
    ) as child:
        return follow(job, child, timeout_s)


def follow(job: Job, child: subprocess.Popen[bytes], timeout_s: float | None) -> tuple[int | None, str]:
    """Tell what `child` says, line by line, until it has ended; make it end when it has to."""
    told = ""
    end = Ending(job, child, timeout_s)
    for line in lines(child, end):
        text = line.decode(errors="replace").rstrip("\r")
        job.progress(text)
        told = f"{told}{text}\n"[-2 * LINE_BYTES :]
    code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    return None if end.late else code, tail(job.wire.masked(told).strip())


class Ending:
    """Whether a child has to end, and the signals for its process group: SIGTERM, and SIGKILL if that does not do."""

    def __init__(self, job: Job, child: subprocess.Popen[bytes], timeout_s: float | None) -> None:
        self._aborted, self._child, self.late = job.aborted if timeout_s is None else None, child, False
        self._signals = [(time.monotonic() + (timeout_s or float("inf")), signal.SIGTERM)]

    def see(self) -> bool:
        """Has it ended? If not, and it is time, the next signal is sent."""
        if self._child.poll() is not None:
            return True
        now = time.monotonic()
        if self._signals and self._aborted is not None and self._aborted.is_set():
            self._aborted, self._signals = None, [(now, signal.SIGTERM)]
        if self._signals and now >= self._signals[0][0]:
            _, number = self._signals.pop()
            self.late = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            if number == signal.SIGTERM:
                self._signals = [(now + GRACE_S, signal.SIGKILL)]
        return False


def lines(child: subprocess.Popen[bytes], end: Ending) -> Iterator[bytes]:
    """What it says, until it has ended. A descendant may hold on to the pipe; nobody waits for what that says."""
    assert child.stdout is not None  # noqa: S101 (for the type checker)
    rest, listening, ended = b"", True, False
    while not ended or listening:
        ended = end.see()
        if select.select([child.stdout] if listening else [], [], [], 0 if ended else 0.1)[0]:
            data = os.read(child.stdout.fileno(), 65536)
            listening = bool(data)
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
            if len(rest) > LINE_BYTES:
                yield rest
                rest = b""
        elif ended:
            break
    if rest:
        yield rest


ACTIONS = {"task": task, "run": run}
