"""The host's half of a deployment: one request on stdin, answers as JSON lines on stdout; docs/runner.md has them all.

It is sent to the host as source and run by the Python that is there: standard library only, 3.10 or newer. This file is
the transaction, `gate` beside it says what counts as healthy; what else there is to do on a host is an errand, a file
that is sent only with the actions that need it.
The host's folders hold the truth: a release exists once its COMPLETE does, and an application runs what the last
record of its journal says. What is not committed there goes back to what ran before, with or without a controller.
`activate` is the transaction, `revert` and `replay` undo it.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import fcntl
import functools
import http.client
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pinwheel.deploy.host.gate import SHOWN_BYTES, Document, Judge, Verdict, gate, said, tail
from pinwheel.deploy.host.wire import Wire

PROTOCOL = 1
HEARTBEAT_S = 2.0
LOCK_S = 2.0
CALL_S = 20.0  # until supervisor, or a small tool, has answered
MIB = 1 << 20
SAME_VERSION = "use the same version of pinwheel on both sides"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,199}")
STOPPED = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")  # supervisor's states in which a group can be removed

READING = frozenset({"facts", "survey", "logs", "weigh", "run"})
"""Actions that change nothing of ours: they need no fence and no lock, and nothing has to be here."""

Actions = Mapping[str, "Callable[[Job, int], Document]"]
"""What there is to do, by name: called with the job and the descriptor of the host's lock, -1 without one."""


class Refusal(Exception):
    """The action is not done; becomes an `error` answer."""

    def __init__(self, code: str, problem: str, where: object = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.code, self.problem, self.where, self.remedy = code, problem, str(where), remedy


class Misconfigured(Exception):
    """Supervisor does not do what its files, or we, want. Its own words."""


class Given(dict[str, Any]):
    """A document from the controller; what it lacks is the controller's fault."""

    def __missing__(self, key: str) -> Any:
        raise Refusal("bad-request", f"the request lacks {key}", remedy=SAME_VERSION)


class Job:
    """One request, read. `aborted` is set when stdin ends or a signal asks to stop; what is committed ignores it."""

    def __init__(self, request: Document, wire: Wire, aborted: threading.Event) -> None:
        """Raises `Refusal` unsupported or bad-request."""
        asked, self.wire, self.aborted, self.stdin_turn = Given(request), wire, aborted, threading.Lock()
        self.body, layout = Given(asked["body"]), Given(asked["layout"])
        wire.hide_password(str(self.body.get("index_url", "")))
        self.action, self.host, self.environment = str(asked["action"]), asked["host"], asked["environment"]
        self.rollout, self.fence, self.by = asked["rollout"], asked["fence"], str(asked.get("by", ""))
        self.root, self.conf_dir = Path(layout["root"]), Path(layout["supervisor_conf_dir"])
        self.python, self.socket = layout["python"], layout["supervisor_socket"]
        self.unit = Path(f"/etc/systemd/system/pinwheel{str(self.root).replace('/', '-')}.service")  # of our supervisor
        theirs = Path(self.socket).exists() or shutil.which("supervisord")
        ours = (self.root / "supervisor/COMPLETE").exists() or not theirs
        self.own_supervisor = {"index": True, "host": False}.get(layout["supervisor_from"], ours)
        if asked["protocol"] != PROTOCOL:
            problem = f"this runner does not speak protocol {asked['protocol']}"
            raise Refusal("unsupported", problem, self.host, SAME_VERSION)
        if self.action not in READING and type(self.fence) is not int:
            raise Refusal("bad-request", "an action that changes the host needs a fence", self.host, SAME_VERSION)
        if not (self.root.is_absolute() and self.conf_dir.is_absolute()) or " " in str(self.conf_dir):
            raise Refusal("bad-request", "paths must be absolute, without spaces", self.root, "correct the layout")
        for key in {"application", "release"} & {*self.body}:  # they become parts of paths
            if not NAME.fullmatch(str(self.body[key])):
                raise Refusal("bad-request", f"{key} is not a name: {self.body[key]!r}", self.host, "rename it")

    def check(self) -> None:
        if self.aborted.is_set():
            raise Refusal("aborted", "the controller went away before the commit", self.host, "run it again")

    def progress(self, text: str) -> None:
        self.wire.send("progress", text=text)


# --- files


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(file: Path, data: str | bytes, mode: int = 0o600) -> None:
    """Give `file` new contents: after a crash it is the old one or the new one, whole; durable once this returns."""
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
            out.write(data.encode() if isinstance(data, str) else data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = str(file)  # writing names none
        raise
    sync_folder(file.parent)


def read_text(file: Path) -> str | None:
    """The text of a file; None when there is none."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace")
    return None


def read_json(file: Path) -> Document:
    """The document in a file that only `replace_file` writes; empty when there is none."""
    return dict(json.loads(read_text(file) or "{}"))


def free_bytes(folder: Path) -> int:
    """What is free on the file system that holds, or would hold, `folder`."""
    return shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists())).free


def time_text(seconds: float | None = None) -> str:
    """RFC 3339, UTC; now by default."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Virtualenv:
    """One virtualenv below an application. Without COMPLETE it is debris."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name, self._about = folder, folder.name, folder / "release.json"

    @property
    def complete(self) -> bool:
        return (self.folder / "COMPLETE").exists()

    def about(self) -> Document:
        return read_json(self._about)

    def note(self, **changes: Any) -> None:
        """Change entries of release.json."""
        if (after := {**self.about(), **changes}) != self.about():
            replace_file(self._about, json.dumps(after, indent=1))


class Application:
    """The files of one application, and its journal: one record per line, durable before anybody is told.

    A record has `event`, `at`, `rollout`, `release` (the new one) and `previous` (what ran before, or None). `begin`
    stands before any change and carries what is needed to undo and to complete it. A torn last line was not acted on.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.name, self.folder = name, job.root / "apps" / name
        self.conf_file = job.conf_dir / f"pinwheel-{name}.conf"
        # beside it, so that going back is a rename, which needs no space on the disk
        self.saved_conf = job.conf_dir / f".pinwheel-{name}.conf.previous"
        self._journal = self.folder / "journal.jsonl"

    def records(self) -> Iterator[Document]:
        """The journal, newest first."""
        for line in reversed((read_text(self._journal) or "").splitlines()):
            with contextlib.suppress(ValueError):
                yield json.loads(line)

    def last(self, event: str = "") -> Document | None:
        """The newest record, or the newest of that `event`."""
        return next((each for each in self.records() if event in ("", each["event"])), None)

    def record(self, event: str, **fields: Any) -> Document:
        document = {"event": event, "at": time_text(), **fields}
        opened = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(opened, "a+b") as out:
            os.fchmod(opened, 0o600)  # `begin` holds the programs' environment; an older runner left it to the umask
            start = out.seek(0, os.SEEK_END)
            torn = start > 0 and os.pread(out.fileno(), 1, start - 1) != b"\n"
            out.write(b"\n" * torn + json.dumps(document).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
        if start == 0:
            sync_folder(self.folder)
        return document

    @property
    def current(self) -> str | None:
        """What runs, or ran before the activation that is in doubt."""
        last = self.last() or {"event": "", "previous": None}
        found: str | None = last["release" if last["event"] == "commit" else "previous"]
        return found

    @property
    def in_doubt(self) -> bool:
        last = self.last()
        return last is not None and last["event"] == "begin"

    def secrets(self) -> Iterator[str]:
        """Every value that is kept here for programs, as text; what we may not read we cannot tell either."""
        for file in (self.folder / "secrets").glob("*/*/*"):
            with contextlib.suppress(OSError):
                text = file.read_text(errors="replace")
                values = (
                    [each.partition("=")[2] for each in text.split("\0")] if file.name == ".environment" else [text]
                )
                yield from (value for value in values if not value.startswith(str(self.folder)))  # a secret file's path

    def release(self, name: str) -> Virtualenv:
        return Virtualenv(self.folder / "releases" / name)

    def releases(self) -> list[Virtualenv]:
        """Complete or not, by name."""
        return [Virtualenv(each) for each in sorted((self.folder / "releases").glob("*")) if each.is_dir()]


def applications(job: Job) -> list[Application]:
    return [Application(job, each.name) for each in sorted((job.root / "apps").glob("*")) if each.is_dir()]


@contextlib.contextmanager
def locked(job: Job) -> Iterator[int]:
    """Hold the host's lock; yields its descriptor. A tool that inherits it holds the lock for as long as it lives."""
    with os.fdopen(os.open(job.root / "state/lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    holder = lock.read().strip()
                    raise Refusal("locked", "another action is at work on this host", holder, "wait for it") from None
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}, rollout {job.rollout}, {job.action} since {time_text()}\n")
        lock.flush()
        yield lock.fileno()


def check_fence(job: Job) -> None:
    """Refuse whoever holds an older token than this host has seen; remember a newer one before anything is done."""
    file = job.root / "state/fence.json"
    seen = read_json(file)
    highest = seen.get(job.environment, 0)
    if job.fence < highest:
        problem = f"a newer rollout has taken over {job.environment}: token {highest}, this one has {job.fence}"
        raise Refusal("fenced", problem, job.host, "see what the newer one does before starting again")
    if job.fence > highest:
        replace_file(file, json.dumps({**seen, job.environment: job.fence}))


# --- children


def own_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what would change how uv, pip and Python behave, and with `extra`."""
    odd = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_")
    return {key: value for key, value in os.environ.items() if not key.startswith(odd)} | dict(extra)


def run(
    job: Job, argv: Sequence[str], timeout_s: float, extra: Mapping[str, str] | None = None, held: Sequence[int] = ()
) -> tuple[int | None, str]:
    """Run a child to its end: exit code and output. None when it was killed: too slow, or aborted (with `held` only).

    It has our own environment and `extra`.
    """
    env = own_environment(extra or {})
    # no pipe, which a descendant could keep open, and no file, for which the disk may have no space
    with os.fdopen(os.memfd_create("output"), "w+b") as out:
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(argv, env=env, cwd=job.root, start_new_session=True, pass_fds=held, **streams)
        code, deadline = None, time.monotonic() + timeout_s
        while code is None and time.monotonic() < deadline and not (held and job.aborted.is_set()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(0.05)
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        out.seek(0)
        return code, out.read().decode(errors="replace").strip()


# --- supervisor


class Supervisor:
    """supervisord behind its unix socket. `update` is never among the calls: it would apply other people's edits."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, method: str, *arguments: Any) -> Any:
        """Raises `Misconfigured` for a fault, `Refusal` supervisor-unreachable."""
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(CALL_S)
            connection.sock.connect(self._path)
            body = xmlrpc.client.dumps(arguments, f"supervisor.{method}")
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            answer = connection.getresponse()
            if answer.status != 200:  # an exception inside of it, for instance over a file that is not UTF-8
                raise Misconfigured(f"supervisor answers {answer.status} to {method}")
            return xmlrpc.client.loads(answer.read())[0][0]
        except xmlrpc.client.Fault as fault:
            raise Misconfigured(fault.faultString) from fault
        except (OSError, http.client.HTTPException) as error:
            problem = f"supervisor does not answer: {said(error)}"
            raise Refusal("supervisor-unreachable", problem, self._path, "see whether supervisor runs there") from error
        finally:
            connection.close()

    def state(self) -> Document | None:
        """Version and state; None when nobody answers."""
        with contextlib.suppress(Refusal):
            return {"version": self.call("getSupervisorVersion"), "state": self.call("getState")["statename"]}
        return None

    def processes(self, group: str) -> list[Document]:
        """Supervisor's information about each process of a group; none when it does not run that group."""
        return [each for each in self.call("getAllProcessInfo") if each["group"] == group]

    def apply(self, group: str, wanted: bool, restart: bool, patience_s: float, only: Sequence[str] = ()) -> None:
        """Make this one group be as its file says, or be gone. What is not changed goes on, unless `restart`; then only
        the processes named in `only`, if there are any, begin anew.

        Raises `Misconfigured`; nothing has stopped then if it is about the files.
        """
        ((_, changed, removed),) = self.call("reloadConfig")  # reads the files, applies nothing
        active, differs = bool(self.processes(group)), not wanted or group in (*changed, *removed)
        if active and only and not differs:
            self.stop(group, patience_s, only)
            for name in only:
                self.call("startProcess", f"{group}:{name}", False)
        elif active and (restart or differs):
            self.stop(group, patience_s)
            self.call("removeProcessGroup", group)
            active = False
        if wanted and not active:
            self.call("addProcessGroup", group)

    def stop(self, group: str, patience_s: float, only: Sequence[str] = ()) -> None:
        """Stop the processes of a group, or those named in `only`, and wait for their end. Raises `Misconfigured`."""
        asked, deadline = False, time.monotonic() + patience_s
        while left := [
            each
            for each in self.processes(group)
            if each["statename"] not in STOPPED and (not only or each["name"] in only)
        ]:
            for each in () if asked else left:
                self.call("stopProcess", f"{group}:{each['name']}", False)
            asked = True
            if time.monotonic() > deadline:
                raise Misconfigured(f"{left[0]['name']} (pid {left[0]['pid']}) does not stop")
            time.sleep(0.05)


def process_document(info: Document) -> Document:
    since = time_text(info["start"]) if info["pid"] else None
    return {"program": info["name"], "pid": info["pid"], "state": info["statename"], "since": since}


def running_supervisor(job: Job) -> tuple[Supervisor, bool]:
    """Supervisor, and whether it had to be started. Raises `Refusal`."""
    supervisor = Supervisor(job.socket)
    if not job.conf_dir.is_dir():
        remedy = "install supervisor on the host, or correct layout.supervisor_conf_dir"
        raise Refusal("not-ready", "supervisor's folder for configuration is not there", job.conf_dir, remedy)
    if supervisor.state():
        return supervisor, False
    if not job.own_supervisor:
        remedy = "start supervisor on the host, or correct layout.supervisor_socket"
        raise Refusal("supervisor-unreachable", "supervisor does not answer", job.socket, remedy)
    if not (job.root / "supervisor/COMPLETE").exists():
        raise Refusal("not-ready", "there is no supervisor yet", job.host, "run pinwheel deploy.bootstrap")
    Path(job.socket).parent.mkdir(parents=True, exist_ok=True)  # it may be gone after a reboot
    # in a session of its own; it forks once more and lets go of everything, so it outlives this channel
    by_hand = (str(job.root / "supervisor/bin/supervisord"), "-c", str(job.root / "etc/supervisord.conf"))
    run(job, ("systemctl", "start", job.unit.name) if job.unit.exists() else by_hand, CALL_S)
    deadline = time.monotonic() + CALL_S
    while not supervisor.state():
        if time.monotonic() > deadline:
            log = job.root / "state/supervisord.log"
            problem = f"supervisor does not start:\n{tail(read_text(log) or '')}"
            raise Refusal("supervisor-unreachable", problem, log, "read its log")
        time.sleep(0.05)
    return supervisor, True


def parse_conf(text: str) -> configparser.RawConfigParser:
    """Read a file as supervisor does. Raises `configparser.Error`."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def stop_patience_s(conf: str | None) -> float:
    """How long a group may take to stop: its longest stopwaitsecs, and time for the kill after it."""
    waits = re.findall(r"^stopwaitsecs\s*=\s*(\d+)", conf or "", re.MULTILINE)
    return max((10.0, *map(float, waits))) + 15.0


def check_foreign(app: Application, conf: str, supervisor: Supervisor) -> None:
    """Refuse, before anything stops, when supervisor could not reload or we would touch what is not ours."""
    broken, remedy = "somebody else's file keeps supervisor from reloading", "ask its owner to correct it"
    ours = {*parse_conf(conf).sections(), f"program:{app.name}"}
    for file in sorted({*app.conf_file.parent.glob("*.conf")} - {app.conf_file}):
        try:
            clashes = ours & {*parse_conf(file.read_text() if file.is_file() else "").sections()}
        except (configparser.Error, UnicodeDecodeError) as error:
            raise Refusal("foreign-conf", f"{broken}: {error}", file, remedy) from error
        if clashes:
            problem = f"somebody else's file has our section [{min(clashes)}]"
            raise Refusal("foreign-conf", problem, file, "rename the application or that section")
    if not app.conf_file.exists() and app.current is None and supervisor.processes(app.name):
        problem = f"supervisor already runs a group {app.name} that is not pinwheel's"
        raise Refusal("foreign-conf", problem, app.name, "rename the application or that group")
    try:
        supervisor.call("reloadConfig")
    except Misconfigured as error:
        file = Path((re.search(r"file: '([^']+)'", str(error)) or [""] * 2)[1])
        if file != app.conf_file:  # ours is about to be replaced
            raise Refusal("foreign-conf", f"{broken}: {error}", file, remedy) from error


# --- activation


def activate(job: Job, held: int) -> Document:
    """Let a release run in the place of another, or everything be as before. The commit in the journal decides."""
    began, app = time.monotonic(), Application(job, job.body["application"])
    release, expected = app.release(job.body["release"]), job.body["expected_current"]
    stored, previous = release.about(), app.current
    conf, programs = (stored.get(key) if job.body[key] is None else job.body[key] for key in ("conf", "programs"))
    if not release.complete or conf is None or programs is None:
        problem = f"{app.name} {release.name} {'never ran' if release.complete else 'is not prepared'} here"
        raise Refusal("not-prepared", problem, job.host, "roll its version out")
    if previous != expected:
        problem = f"{app.name} is at {previous or 'no release'} here, not at {expected or 'no release'}"
        raise Refusal("moved", problem, job.host, "somebody else was here; plan again")
    for each in map(Given, programs):
        if (kept := each.get("secrets")) and not (app.folder / "secrets" / kept).is_dir():
            raise Refusal(
                "not-prepared", f"the secrets of {each['name']} are not here", job.host, "roll its version out"
            )
        deadline = Judge(each, 0.0).health["deadline_s"]  # what it cannot read is refused before anything stops
        if not 0 < deadline < float("inf"):
            raise Refusal("bad-request", f"deadline_s is {deadline}", each["name"], "write a number of seconds above 0")
    again = job.body.get("restart")  # None, a program, or "" for all of them
    only = [name for each in programs if again and again == each["name"] for name in each["processes"]]
    if again and not only:
        known = ", ".join(each["name"] for each in programs)
        raise Refusal("no-program", f"{app.name} has no program {again} here", job.host, f"name one of {known}")
    supervisor, _ = running_supervisor(job)
    check_foreign(app, conf, supervisor)
    same, outcome = previous == release.name and read_text(app.conf_file) == conf, "unchanged"
    running = all(each["statename"] == "RUNNING" for each in supervisor.processes(app.name))
    passes = same and running and again is None
    verdict = watch(job, app, programs, supervisor, job.aborted) if passes else Verdict(False)
    log_tail = ""
    if not verdict.healthy:
        job.check()
        verdict, outcome, log_tail = switch(job, app, release, conf, programs, supervisor, same, only)
    else:
        release.note(programs=programs)
    processes = [process_document(each) for each in supervisor.processes(app.name)]
    seconds = round(time.monotonic() - began, 3)
    words = {"reason": verdict.reason, "program": verdict.program, "probe": verdict.saw, "log_tail": log_tail}
    return {"outcome": outcome, **words, "processes": processes, "seconds": seconds}


def switch(
    job: Job,
    app: Application,
    release: Virtualenv,
    conf: str,
    programs: Any,
    supervisor: Supervisor,
    restart: bool,
    only: Sequence[str],
) -> tuple[Verdict, str, str]:
    """Run `conf`; on any failure, also one of our own making, go back. The verdict, the outcome, and the log's tail."""
    before = read_text(app.conf_file)
    sizes = {str(each): each.stat().st_size for each in (app.folder / "log").glob("*")}
    if before is not None:
        replace_file(app.saved_conf, before)
    entry = {"rollout": job.rollout, "by": job.by, "release": release.name, "previous": app.current}
    try:
        begin = app.record("begin", **entry, conf=conf, programs=programs, saved=before is not None)
    except OSError:
        app.saved_conf.unlink(missing_ok=True)
        raise
    verdict, outcome, log_tail = Verdict(False, "the runner failed", fault=False), "", ""
    try:
        job.progress(f"start {release.name}")
        replace_file(app.conf_file, conf)
        try:
            supervisor.apply(app.name, True, restart, stop_patience_s(before), only)
            found = watch(job, app, programs, supervisor, job.aborted)
        except Misconfigured as error:
            found = Verdict(False, str(error))
        if found.healthy:
            app.record("commit", **entry)  # when it cannot be written, that is no fault of the release
            outcome = "activated"
        verdict = found
    finally:
        if not outcome:
            with contextlib.suppress(Refusal, Misconfigured):
                log_tail = tail("".join(read_logs(supervisor.processes(app.name), sizes)))
            outcome = revert(job, app, begin, verdict)
    with contextlib.suppress(OSError):  # it is decided; the next action writes down what is missing
        settle(app)
    return verdict, outcome, log_tail


def watch(
    job: Job,
    app: Application,
    programs: Sequence[Document],
    supervisor: Supervisor,
    aborted: threading.Event | None = None,
) -> Verdict:
    """The gate, on this host."""
    return gate(programs, lambda: supervisor.processes(app.name), functools.partial(run, job), aborted)


def read_logs(processes: Sequence[Document], sizes: Mapping[str, int]) -> Iterator[str]:
    """What has come to the processes' logs since they had `sizes`."""
    for name in sorted({each[key] for each in processes for key in ("stdout_logfile", "stderr_logfile")} - {""}):
        with contextlib.suppress(OSError), Path(name).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = sizes.get(name, 0)
            log.seek(max(start if start <= size else 0, size - SHOWN_BYTES))  # smaller: it was rotated meanwhile
            yield log.read(SHOWN_BYTES).decode(errors="replace")


def revert(job: Job, app: Application, begin: Document, why: Verdict) -> str:
    """Bring back what ran before `begin`, and gate it; whether anybody listens makes no difference. The outcome."""
    job.progress(f"go back to {begin['previous'] or 'nothing'}")
    if not begin["saved"]:
        app.conf_file.unlink(missing_ok=True)
    elif app.saved_conf.exists():
        app.saved_conf.replace(app.conf_file)
    sync_folder(app.conf_file.parent)
    try:
        supervisor, _ = running_supervisor(job)
        broken = any(each["statename"] not in ("RUNNING", "STARTING") for each in supervisor.processes(app.name))
        supervisor.apply(app.name, begin["saved"], broken, stop_patience_s(begin["conf"]))
        outcome = "removed"
        if begin["saved"]:
            former = app.release(begin["previous"]).about() if begin["previous"] else {}
            names = [each["name"] for each in supervisor.processes(app.name)]
            programs = former.get("programs") or [{"name": name, "health": {}} for name in names]
            healthy = watch(job, app, programs, supervisor).healthy
            outcome = "reverted" if healthy else "revert-unhealthy"
    except (Misconfigured, Refusal) as error:
        problem = f"{app.name} could not go back to {begin['previous'] or 'nothing'}: {error}"
        raise Refusal("in-doubt", problem, job.host, "correct it; the next action on this host goes back") from error
    if why.fault and begin["release"] != begin["previous"]:
        app.release(begin["release"]).note(verdict="bad", reason=why.reason)
    about = {key: begin.get(key, "") for key in ("rollout", "by", "release", "previous")}
    app.record(outcome, **about, reason=why.reason)
    return outcome


def settle(app: Application) -> None:
    """Write down what follows from a commit; once more after a crash, if need be. `current` is for people only."""
    last, begin = app.last(), app.last("begin")
    if last and begin and last["event"] == "commit":
        release = app.release(last["release"])
        if release.complete and release.about().get("activated_at") != last["at"]:
            stored = {"conf": begin["conf"], "programs": begin["programs"]}
            release.note(**stored, verdict="good", reason="", activated_at=last["at"])
        link, target = app.folder / "current", f"releases/{last['release']}"
        if not link.is_symlink() or str(link.readlink()) != target:
            made = app.folder / ".current"
            made.unlink(missing_ok=True)
            made.symlink_to(target)
            made.replace(link)
    if not app.in_doubt:
        app.saved_conf.unlink(missing_ok=True)


def replay(job: Job) -> None:
    """End what was cut off before: an activation without a commit goes back, one with a commit is completed."""
    for app in applications(job):
        begin = app.last()
        if app.in_doubt and begin:
            revert(job, app, begin, Verdict(False, "it was cut off", fault=False))
        settle(app)


# --- the process


def perform(job: Job, errands: Actions) -> Document:
    """Do what is asked; what changes the host, one at a time and by the newest token only. Raises `Refusal`."""
    act = {"activate": activate, **errands}.get(job.action)
    if act is None:
        raise Refusal("unsupported", f"this runner has no action {job.action}", job.host, SAME_VERSION)
    for app in applications(job):
        job.wire.hide(*app.secrets())
    if job.action in READING:
        return act(job, -1)
    for folder in (job.root / "state", job.root / "tmp"):
        if job.action == "bootstrap":
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise Refusal("not-ready", "this host is not ready", job.host, "run pinwheel deploy.bootstrap")
    with locked(job) as held:
        check_fence(job)
        replay(job)
        return act(job, held)


def answer(wire: Wire, aborted: threading.Event, errands: Actions) -> int:
    """Read the request, do it, and say how it ended. The exit code. No traceback gets out of here."""
    try:
        read = sys.stdin.buffer.read
        job = Job(json.loads(read(int.from_bytes(read(8), "big")) or "{}"), wire, aborted)
        threading.Thread(target=listen, args=(job,), daemon=True).start()
        wire.send("result", **perform(job, errands))
        return 0
    except Refusal as error:
        refusal = error
    except OSError as error:
        codes = {errno.ENOSPC: "no-space", errno.EDQUOT: "no-space", errno.EROFS: "not-permitted"}
        codes |= {errno.EACCES: "not-permitted", errno.EPERM: "not-permitted"}
        code, remedy = codes.get(error.errno or 0, "unexpected"), "see to it on the host and run again"
        refusal = Refusal(code, said(error), error.filename or "", remedy)
    except BaseException as error:  # noqa: BLE001 (the one handler for what nobody expected)
        last = traceback.extract_tb(error.__traceback__)[-1]
        remedy = f"this is a fault of pinwheel; please report it, with {Path(last.filename).name} line {last.lineno}"
        refusal = Refusal("unexpected", f"{type(error).__name__}: {error}", "", remedy)
    wire.send("error", **vars(refusal))
    return 1


def listen(job: Job) -> None:
    """Notice the end of stdin: the controller wants no more, or is gone. An errand that reads there holds the turn."""
    with contextlib.suppress(OSError):
        while select.select([0], [], [])[0]:
            with job.stdin_turn:
                if select.select([0], [], [], 0)[0] and not os.read(0, 4096):
                    break
    job.aborted.set()


def beat(wire: Wire) -> None:
    while True:
        time.sleep(HEARTBEAT_S)
        wire.send("heartbeat")


def main(errands: Actions) -> None:
    """Answer the one request on stdin and end; `errands` are the actions that were sent along."""
    os.umask(0o022)  # programs may run as other users
    wire, aborted = Wire(1), threading.Event()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # a handler, because children would inherit that it is ignored
    signal.signal(signal.SIGHUP, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: aborted.set())
    wire.send("hello", protocol=PROTOCOL, runner="1", python=platform.python_version(), pid=os.getpid())
    threading.Thread(target=beat, args=(wire,), daemon=True).start()
    os._exit(answer(wire, aborted, errands))  # at once: `listen` waits in a read
