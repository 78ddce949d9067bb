"""The host's half of a deployment: one request on stdin, answers as JSON lines on stdout; docs/runner.md has them all.

It is sent to the host as source and run by the Python that is there: standard library only, 3.10 or newer. This file is
the transaction. Sent with it, `gate` says what counts as healthy, `supervisord` knows how to speak with that one, and
`generation` how two of an application run side by side. What else there is to do on a host is an errand, a file that is
sent only with the actions that need it.
The host's folders hold the truth: a release exists once its COMPLETE does, and an application runs what the last
record of its journal says. What is not committed there goes back to what ran before, with or without a controller.
`activate` is the transaction, `revert` undoes it, `settle` and `retire` complete it, and `replay` does so for one that
was cut off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pinwheel.deploy.host.files import read_json, read_text, replace_file, sync_folder
from pinwheel.deploy.host.gate import Document, Judge, Verdict, gate, said, tail
from pinwheel.deploy.host.generation import COLOURS, DRAIN_S, Setup, Sockets, other, setup_of
from pinwheel.deploy.host.supervisord import (
    CALL_S,
    STARTED,
    Misconfigured,
    Refusal,
    Supervisor,
    check_files,
    check_reload,
    log_sizes,
    parse_conf,
    read_logs,
    stop_patience_s,
)
from pinwheel.deploy.host.wire import Wire

PROTOCOL = 1
FORMAT = 2  # of the journal; records of the first have no number, and know no colours
HEARTBEAT_S = 2.0
LOCK_S = 2.0
SAME_VERSION = "use the same version of pinwheel on both sides"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,199}")

READING = frozenset({"facts", "survey", "logs", "weigh", "run"})
"""Actions that change nothing of ours: they need no fence and no lock, and nothing has to be here."""

Actions = Mapping[str, "Callable[[Job, int], Document]"]
"""What there is to do, by name: called with the job and the descriptor of the host's lock, -1 without one."""


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
    """One application on this host: its files, its processes, and its journal, which has one record per line, durable
    before anybody is told.

    A record has `format`, `event`, `at`, `rollout`, `release` (the new one) and `previous` (what ran before, or None).
    `begin` stands before any change and carries what is needed to undo and to complete it. A torn last line was not
    acted on. Whatever reads records raises `Refusal` unsupported for those of a newer pinwheel.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job, self.name, self.folder = job, name, job.root / "apps" / name
        self.supervisor = Supervisor(job.socket)
        self.conf_file = job.conf_dir / f"pinwheel-{name}.conf"
        self.sockets = Sockets(self.folder / "run")
        # beside it, so that going back is a rename, which needs no space on the disk
        self.saved_conf = job.conf_dir / f".pinwheel-{name}.conf.previous"
        self._journal = self.folder / "journal.jsonl"

    def records(self) -> Iterator[Document]:
        """The journal, newest first."""
        for line in reversed((read_text(self._journal) or "").splitlines()):
            with contextlib.suppress(ValueError):
                record: Document = json.loads(line)
                if record.get("format", 1) > FORMAT:
                    problem = f"this host was last touched by a newer pinwheel: {self.name}'s journal has format"
                    problem += f" {record['format']}, and this one knows {FORMAT}"
                    raise Refusal("unsupported", problem, self._journal, "use the newer pinwheel here, too")
                yield record

    def last(self, event: str = "") -> Document | None:
        """The newest record, or the newest of that `event`."""
        return next((each for each in self.records() if event in ("", each["event"])), None)

    def record(self, event: str, **fields: Any) -> Document:
        document = {"format": FORMAT, "event": event, "at": time_text(), **fields}
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
    def colour(self) -> str:
        """The colour of `current`; empty when nothing of it is replaced without downtime."""
        last, begin = self.last(), self.last("begin") or {}
        found: str = begin.get("colour" if last and last["event"] == "commit" else "former_colour", "")
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

    def group(self, colour: str) -> str:
        """Supervisor's group for the programs of a colour, and for those without one. No name has an @ of its own."""
        return f"{self.name}@{colour}" if colour else self.name

    def file(self, colour: str) -> Path:
        """Supervisor's file for that group."""
        return self.conf_file.with_name(f"pinwheel-{self.group(colour)}.conf")

    @property
    def files(self) -> list[Path]:
        """Supervisor's files for every group that there may be."""
        return [self.file(each) for each in ("", *COLOURS)]

    @property
    def groups(self) -> list[str]:
        return [self.group(each) for each in ("", *COLOURS)]

    def conf(self, colour: str) -> str | None:
        """What the files say of a generation in `colour`; None when there are none."""
        texts = [read_text(self.file(each)) for each in dict.fromkeys(("", colour))]
        return None if texts == [None] * len(texts) else "".join(text or "" for text in texts)

    def processes(self, colour: str) -> list[Document]:
        """Supervisor's information about the generation in `colour`."""
        return self.supervisor.processes(self.group(""), self.group(colour))

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


def process_document(info: Document) -> Document:
    since = time_text(info["start"]) if info["pid"] else None
    return {"program": info["name"], "pid": info["pid"], "state": info["statename"], "since": since}


def start_supervisor(job: Job) -> bool:
    """See to it that supervisor answers. Whether it had to be started. Raises `Refusal`."""
    supervisor = Supervisor(job.socket)
    if not job.conf_dir.is_dir():
        remedy = "install supervisor on the host, or correct layout.supervisor_conf_dir"
        raise Refusal("not-ready", "supervisor's folder for configuration is not there", job.conf_dir, remedy)
    if supervisor.state():
        return False
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
    return True


def check_foreign(app: Application, setup: Setup) -> None:
    """Refuse, before anything stops, when supervisor could not reload or we would touch what is not ours."""
    confs = [setup.conf, *(each["conf"] for each in setup.colours.values())]
    check_others(app, {f"program:{app.name}"}.union(*(parse_conf(conf).sections() for conf in confs)))
    if not any(each.exists() for each in app.files) and app.current is None and app.supervisor.processes(*app.groups):
        problem = f"supervisor already runs a group {app.name} that is not pinwheel's"
        raise Refusal("foreign-conf", problem, app.name, "rename the application or that group")


def check_others(app: Application, sections: Collection[str] = ()) -> None:
    """Refuse when somebody else's file keeps supervisor from reloading, or has one of our `sections`."""
    check_files({*app.conf_file.parent.glob("*.conf")} - {*app.files}, sections)
    check_reload(app.supervisor, app.files)


# --- activation


def activate(job: Job, held: int) -> Document:
    """Let a release run in the place of another, or everything be as before. The commit in the journal decides."""
    began, app = time.monotonic(), Application(job, job.body["application"])
    release, previous, colour = app.release(job.body["release"]), app.current, app.colour
    setup = admitted(app, release)
    again, only = asked_again(app, setup)
    start_supervisor(job)
    check_foreign(app, setup)
    fits = bool(colour) == bool(setup.colours)
    same, outcome = previous == release.name and fits and app.conf(colour) == setup.text(colour), "unchanged"
    running = all(each["statename"] == "RUNNING" for each in app.processes(colour))
    verdict = Verdict(False)
    if same and running and again is None:
        verdict = watch(app, colour, setup.all_programs(colour), job.aborted)
    reason, log_tail = verdict.reason, ""
    if not verdict.healthy:
        job.check()
        restart = same and not (again and not only)  # not when it is about a program that has a colour
        stored = kept_setup(app, release.name)
        if stored and release.name == previous and job.body["conf"] is not None:
            release.note(former=stored._asdict())  # there is no older release of it to go back to
        verdict, outcome, log_tail = switch(app, release, setup, restart, only)
        reason = verdict.reason or retire(app)
    else:
        release.note(**setup._asdict())
    processes = [process_document(each) for each in app.processes(app.colour)]
    seconds = round(time.monotonic() - began, 3)
    words = {"reason": reason, "program": verdict.program, "probe": verdict.saw, "log_tail": log_tail}
    return {"outcome": outcome, **words, "processes": processes, "seconds": seconds}


def admitted(app: Application, release: Virtualenv) -> Setup:
    """How `release` is to run. Raises `Refusal`, before anything stops, when it cannot, or another one runs than the
    controller thinks."""
    job = app.job
    asked, former = job.body["conf"] is not None, job.body.get("former", False)
    setup = setup_of(job.body) if asked else former_setup(release) if former else kept_setup(app, release.name)
    if not release.complete or setup is None:
        problem = f"{app.name} {release.name} {'never ran' if release.complete else 'is not prepared'} here"
        raise Refusal("not-prepared", problem, job.host, "roll its version out")
    expected = job.body["expected_current"]
    if app.current != expected:
        problem = f"{app.name} is at {app.current or 'no release'} here, not at {expected or 'no release'}"
        raise Refusal("moved", problem, job.host, "somebody else was here; plan again")
    for each in map(Given, setup.all_programs(other("") if setup.colours else "")):
        if (kept := each.get("secrets")) and not (app.folder / "secrets" / kept).is_dir():
            problem = f"the secrets of {each['name']} are not here"
            raise Refusal("not-prepared", problem, job.host, "roll its version out")
        deadline = Judge(each, 0.0).health["deadline_s"]  # raises for what it cannot read
        if not 0 < deadline < float("inf"):
            raise Refusal("bad-request", f"deadline_s is {deadline}", each["name"], "write a number of seconds above 0")
    return setup


def asked_again(app: Application, setup: Setup) -> tuple[str | None, list[str]]:
    """What is to start again though it runs: a program, "" for all of them, None for nothing; and of a program that has
    no colour the processes. Raises `Refusal`."""
    again = app.job.body.get("restart")
    known = [each["name"] for each in setup.all_programs(other("") if setup.colours else "")]
    if again and again not in known:
        problem = f"{app.name} has no program {again} here"
        raise Refusal("no-program", problem, app.job.host, f"name one of {', '.join(known)}")
    return again, setup.processes_of(again or "", "")


def switch(
    app: Application, release: Virtualenv, setup: Setup, restart: bool, only: Sequence[str]
) -> tuple[Verdict, str, str]:
    """Run `setup`; on any failure, also of our own making, go back. The verdict, the outcome, and the log's tail."""
    before, former_colour = read_text(app.conf_file), app.colour
    colour = other(former_colour) if setup.colours else ""
    if restart and only:  # what stands in a colour goes on
        colour = former_colour
    sizes = log_sizes(app.folder / "log")
    if before is not None:
        replace_file(app.saved_conf, before)
    entry = {"rollout": app.job.rollout, "by": app.job.by, "release": release.name, "previous": app.current}
    colours = {"colour": colour, "former_colour": former_colour}
    try:
        begin = app.record("begin", **entry, **setup._asdict(), **colours, saved=before is not None)
    except OSError:
        app.saved_conf.unlink(missing_ok=True)
        raise
    verdict, outcome, log_tail = Verdict(False, "the runner failed", fault=False), "", ""
    try:
        app.job.progress(f"start {release.name}")
        try:
            found = Verdict(True)
            if colour != former_colour and colour:
                found = start_beside(app, colour, setup)
            if found.healthy and setup.conf:
                found = start_instead(app, colour, setup, restart, only)
        except Misconfigured as error:
            found = Verdict(False, str(error))
        if found.healthy:
            app.record("commit", **entry)  # when it cannot be written, that is no fault of the release
            outcome = "activated"
        verdict = found
    finally:
        if not outcome:
            with contextlib.suppress(Refusal, Misconfigured):
                blamed = setup.processes_of(verdict.program, colour)  # what others write all the while hides the cause
                seen = [each for each in app.processes(colour) if not blamed or each["name"] in blamed]
                log_tail = tail("".join(read_logs(seen, sizes)))
            outcome = revert(app, begin, verdict)
    with contextlib.suppress(OSError):  # it is decided; the next action writes down what is missing
        settle(app)
    return verdict, outcome, log_tail


def start_beside(app: Application, colour: str, setup: Setup) -> Verdict:
    """Start the programs of a colour that nobody is led to yet, and gate them. What runs is not touched."""
    group, conf, programs = app.group(colour), setup.colours[colour]["conf"], setup.colours[colour]["programs"]
    try:
        app.sockets.make_room(colour, programs)
    except LookupError as error:  # as supervisor would say of a user that is not there
        raise Misconfigured(str(error)) from error
    replace_file(app.file(colour), conf)
    # again, if a generation that could not be ended still runs in this colour
    app.supervisor.apply(group, True, True, stop_patience_s(conf))
    return gate(programs, lambda: app.supervisor.processes(group), functools.partial(run, app.job), app.job.aborted)


def start_instead(app: Application, colour: str, setup: Setup, restart: bool, only: Sequence[str]) -> Verdict:
    """Stop the old ones of the programs that have no colour, start the new ones, and gate the whole generation."""
    before = read_text(app.conf_file)
    replace_file(app.conf_file, setup.conf)
    app.supervisor.apply(app.name, True, restart, stop_patience_s(before), only)
    return watch(app, colour, setup.all_programs(colour), app.job.aborted)


def watch(
    app: Application, colour: str, programs: Sequence[Document], aborted: threading.Event | None = None
) -> Verdict:
    """The gate, on this host, for the generation in `colour`."""
    return gate(programs, lambda: app.processes(colour), functools.partial(run, app.job), aborted)


def kept_setup(app: Application, release: str | None) -> Setup | None:
    """How a release ran when it passed its gate here; None when it never did, or nobody knows."""
    about = app.release(release).about() if release else {}
    return None if about.get("conf") is None or about.get("programs") is None else setup_of(about)


def former_setup(release: Virtualenv) -> Setup | None:
    """How a release ran before it was last activated with another setup."""
    former = release.about().get("former")
    return setup_of(former) if former else None


def revert(app: Application, begin: Document, why: Verdict) -> str:
    """Bring back what ran before `begin`, and gate it; whether anybody listens makes no difference. The outcome."""
    app.job.progress(f"go back to {begin['previous'] or 'nothing'}")
    colour, former_colour = begin.get("colour", ""), begin.get("former_colour", "")
    if not begin["saved"]:
        app.conf_file.unlink(missing_ok=True)
    elif app.saved_conf.exists():
        app.saved_conf.replace(app.conf_file)
    if colour and colour != former_colour:
        app.file(colour).unlink(missing_ok=True)
    sync_folder(app.conf_file.parent)
    stays = {former_colour} - {""} | ({""} if begin["saved"] else set())
    patience_s = stop_patience_s(setup_of(begin).text(colour))
    try:
        start_supervisor(app.job)
        for each in dict.fromkeys(("", former_colour, colour)):
            broken = any(one["statename"] not in STARTED for one in app.supervisor.processes(app.group(each)))
            app.supervisor.apply(app.group(each), each in stays, broken, patience_s)
        outcome = "removed"
        if stays:
            former = kept_setup(app, begin["previous"])
            names = [each["name"] for each in app.processes(former_colour)]
            unknown = [{"name": name, "health": {}} for name in names]
            programs = former.all_programs(former_colour) if former else unknown
            healthy = watch(app, former_colour, programs).healthy
            outcome = "reverted" if healthy else "revert-unhealthy"
    except (Misconfigured, Refusal) as error:
        problem = f"{app.name} could not go back to {begin['previous'] or 'nothing'}: {error}"
        remedy = "correct it; the next action on this host goes back"
        raise Refusal("in-doubt", problem, app.job.host, remedy) from error
    if why.fault and begin["release"] != begin["previous"]:
        app.release(begin["release"]).note(verdict="bad", reason=why.reason)
    about = {key: begin.get(key, "") for key in ("rollout", "by", "release", "previous")}
    app.record(outcome, **about, reason=why.reason)
    return outcome


def settle(app: Application) -> None:
    """Lead visitors to what was committed, and write it down; once more after a crash, if need be. `current` is for
    people only."""
    if app.in_doubt:
        return
    if app.sockets.served != app.colour:
        app.sockets.serve(app.colour)
        sync_folder(app.sockets.folder)
    last, begin = app.last(), app.last("begin")
    if last and begin and last["event"] == "commit":
        release = app.release(last["release"])
        if release.complete and release.about().get("activated_at") != last["at"]:
            release.note(**setup_of(begin)._asdict(), verdict="good", reason="", activated_at=last["at"])
        link, target = app.folder / "current", f"releases/{last['release']}"
        if not link.is_symlink() or str(link.readlink()) != target:
            made = app.folder / ".current"
            made.unlink(missing_ok=True)
            made.symlink_to(target)
            made.replace(link)
    app.saved_conf.unlink(missing_ok=True)


def retire(app: Application) -> str:
    """End what the committed generation has no place for, when nobody is connected to it any more; its files are the
    mark that this is still to be done. Why it could not be: then the next action tries again."""
    last, begin = app.last(), app.last("begin")
    if not (last and begin and last["event"] == "commit"):
        return ""
    stays = {begin.get("colour", ""), *([""] if begin["conf"] else ())}
    try:
        for colour in [each for each in ("", *COLOURS) if each not in stays and app.file(each).exists()]:
            app.job.progress(f"end what ran before, {begin['previous']}")
            former = kept_setup(app, begin["previous"])
            if colour:
                app.sockets.drain(colour, former.drain_s(colour) if former else DRAIN_S)
            start_supervisor(app.job)
            app.supervisor.apply(app.group(colour), False, False, stop_patience_s(read_text(app.file(colour))))
            app.file(colour).unlink()
            sync_folder(app.conf_file.parent)
    except (Misconfigured, Refusal) as error:
        return f"what ran before could not be ended, the next action tries again: {error}"
    return ""


def replay(job: Job) -> None:
    """End what was cut off before: an activation without a commit goes back, one with a commit is completed."""
    for app in applications(job):
        last, begin = app.last(), app.last("begin")
        if app.in_doubt and begin:
            revert(app, begin, Verdict(False, "it was cut off", fault=False))
        elif last and begin and last["event"] == "commit" and app.sockets.served not in ("", app.colour):
            # after a power loss it has only just started; until it answers, visitors are better off where they are
            with contextlib.suppress(Misconfigured, Refusal):
                start_supervisor(job)
                watch(app, app.colour, setup_of(begin).all_programs(app.colour))
        settle(app)
        retire(app)


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
        for app in applications(job):
            app.last()  # refuses those of a newer pinwheel, before anything is touched
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
