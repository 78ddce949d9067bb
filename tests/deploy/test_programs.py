"""Programs on a real supervisor: what they find around them, and that nobody else ever sees their secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import stat
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import BareHost, Running, bare_host, wait_until
from tests.deploy.simulated import target

from pinwheel.config import Application, Health, Layout, Limits, Program, Secret, Task
from pinwheel.deploy.host import bundle, command, runner
from pinwheel.deploy.host.wire import Wire
from pinwheel.deploy.planning import supervisor_file
from pinwheel.deploy.planning.secret_set import SecretSet, sealed
from pinwheel.deploy.planning.supervisor_file import Instance

ONE, TWO = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"
PASSWORD = "correct horse battery staple"
KEY = "-----BEGIN KEY-----\nc2VjcmV0IGJ5dGVz\n-----END KEY-----\n"

NOTES = """
import json, os, resource, signal, sys, time
def note(name, **more):
    names = ("NOFILE", "CORE", "AS")
    limits = {each: resource.getrlimit(getattr(resource, f"RLIMIT_{each}")) for each in names}
    mask = os.umask(0); os.umask(mask)
    about = {"pid": os.getpid(), "uid": os.getuid(), "cwd": os.getcwd(), "umask": mask, "limits": limits}
    key = os.environ.get("TLS_KEY")
    about["key"] = open(key).read() if key else ""
    file = os.path.join(os.environ["NOTES"], name)
    with open(file + ".tmp", "w") as out:
        json.dump({**about, "environment": dict(os.environ), "argv": sys.argv, **more}, out)
    os.rename(file + ".tmp", file)
"""

SERVICE = (
    NOTES
    + """
def stop(number, frame):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
if os.environ.get("MODE") == "talkative":
    sys.exit("cannot log in with " + os.environ["DATABASE_PASSWORD"] + " and " + open(os.environ["TLS_KEY"]).read())
note("started")
while True:
    time.sleep(0.05)
"""
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[BareHost]:
    with bare_host(tmp_path) as made:
        (made.root / "notes").mkdir(mode=0o777)
        (made.root / "notes").chmod(0o777)
        yield made


def shop(host: BareHost, **program: Any) -> Application:
    """An application of one program that notes what it finds around itself."""
    health = Health(passes=1, interval_s=0.03, min_healthy_s=0.0, deadline_s=program.pop("deadline_s", 10.0))
    about = {
        "command": ("{release}/bin/python", "-IS", "{release}/service.py"),
        "environment": {"NOTES": f"{host.root}/notes", **program.pop("environment", {})},
        "secrets": ("DATABASE_PASSWORD", "TLS_KEY"),
        "stop_wait_s": 5,
        "health": health,
    }
    secrets = {"DATABASE_PASSWORD": Secret(variable="X"), "TLS_KEY": Secret(variable="Y", as_file=True)}
    return Application(programs={"web": Program(**{**about, **program})}, secrets=secrets)


def kept(application: Application, password: str = PASSWORD) -> SecretSet:
    made = sealed("live", "shop", application, {"DATABASE_PASSWORD": password.encode(), "TLS_KEY": KEY.encode()})
    assert made is not None
    return made


def add_release(host: BareHost, release: str) -> None:
    if not (host.root / "apps/shop/releases" / release).exists():
        folder = host.add_release(release)
        (folder / "service.py").write_text(SERVICE)
        (folder / "bin").mkdir()
        (folder / "bin/python").symlink_to(Path(sys.executable).resolve())


def prepare(host: BareHost, release: str, secrets: SecretSet | None = None) -> dict[str, Any]:
    add_release(host, release)
    body = {"application": "shop", "release": release, "superfluous": []}
    return host.ask("prepare", {**body, "secrets": secrets.document() if secrets else None})


def setup(host: BareHost, application: Application, release: str, secrets: str) -> dict[str, Any]:
    here = dataclasses.replace(target("h1"), layout=Layout(root=str(host.root)))
    instance = Instance("shop", application, here, release, release.split("-")[0], secrets)
    return {"conf": supervisor_file.conf(instance), "programs": supervisor_file.programs(instance)}


def roll_out(
    host: BareHost, application: Application, release: str, expected: str | None, secrets: SecretSet
) -> dict[str, Any]:
    assert prepare(host, release, secrets)["type"] == "result"
    about = {"application": "shop", "release": release, "expected_current": expected}
    return host.ask("activate", {**about, **setup(host, application, release, secrets.id)})


def noted(host: BareHost, name: str) -> dict[str, Any]:
    file = host.root / "notes" / name
    wait_until(file.exists, name)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def sets(host: BareHost) -> set[str]:
    return {each.name for each in (host.root / "apps/shop/secrets").glob("*")}


def holders(folder: Path, values: tuple[str, ...]) -> dict[Path, int]:
    """The files below `folder` in which one of `values` stands, with their modes; our notes are not looked at."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and "notes" not in file.parts:
            text = file.read_bytes()
            if any(value.encode() in text for value in values):
                found[file] = stat.S_IMODE(file.stat().st_mode)
    return found


def command_lines() -> str:
    """The arguments of every process that there is."""
    lines = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(each.read_text(errors="replace").replace("\0", " "))
        except OSError:  # it has ended
            continue
    return "\n".join(lines)


@pytest.mark.slow
def test_a_program_finds_what_was_asked_for_and_supervisors_signals_reach_it(host: BareHost) -> None:
    work = host.root / "work"
    work.mkdir()
    limits = Limits(nofile=512, core=0, memory="2GiB")
    application = shop(host, directory=str(work), umask="027", limits=limits, environment={"GREETING": "50% off"})
    assert roll_out(host, application, ONE, None, kept(application))["outcome"] == "activated"
    seen = noted(host, "started")
    assert seen["pid"] == host.pid()
    assert (seen["cwd"], seen["umask"]) == (str(work), 0o027)
    assert seen["limits"] == {"NOFILE": [512, 512], "CORE": [0, 0], "AS": [2 << 30, 2 << 30]}
    assert seen["environment"]["GREETING"] == "50% off"
    assert seen["environment"]["DATABASE_PASSWORD"] == PASSWORD
    assert seen["key"] == KEY
    host.supervisor.call("stopProcessGroup", "shop")
    assert noted(host, "stopped")["pid"] == seen["pid"]


@pytest.mark.slow
def test_a_secret_is_in_its_file_and_nowhere_else(host: BareHost) -> None:
    application = shop(host)
    secrets = kept(application)
    answers = [prepare(host, ONE, secrets), roll_out(host, application, ONE, None, secrets), host.ask("facts", {})]
    assert answers[1]["outcome"] == "activated"
    values = (PASSWORD, "c2VjcmV0IGJ5dGVz", secrets.document()["programs"]["shop-web"]["values"]["TLS_KEY"]["value"])
    place = host.root / f"apps/shop/secrets/{secrets.id}/shop-web"
    assert holders(host.root.parent, values) == {place / ".environment": 0o600, place / "TLS_KEY": 0o600}
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o711
    said = json.dumps(answers) + command_lines() + repr(secrets)
    assert not [value for value in values if value in said]
    launcher = host.root / "bin" / bundle.LAUNCHER
    assert f"{launcher} --secrets {place} --" in host.conf_file.read_text()
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o644


@pytest.mark.slow
def test_a_program_that_prints_its_secrets_does_not_print_them_for_everybody(host: BareHost) -> None:
    application = shop(host, environment={"MODE": "talkative"}, deadline_s=1.0)
    answer = roll_out(host, application, ONE, None, kept(application))
    assert answer["outcome"] == "removed"
    assert "cannot log in with *** and" in answer["log_tail"]
    assert PASSWORD not in json.dumps(answer)
    assert "c2VjcmV0" not in json.dumps(answer)


@pytest.mark.slow
def test_going_back_brings_back_the_old_secrets_and_what_no_release_needs_is_removed(host: BareHost) -> None:
    application = shop(host)
    old, new, newer = (kept(application, password) for password in ("first password", "second password", "third one"))
    assert roll_out(host, application, ONE, None, old)["outcome"] == "activated"
    assert roll_out(host, application, TWO, ONE, new)["outcome"] == "activated"
    assert noted(host, "started")["environment"]["DATABASE_PASSWORD"] == "second password"
    assert sets(host) == {old.id, new.id}
    assert host.facts()["secrets"] == new.id
    (host.root / "notes/started").unlink()
    prepare(host, ONE)
    assert host.back(ONE, TWO)["outcome"] == "activated"
    assert noted(host, "started")["environment"]["DATABASE_PASSWORD"] == "first password"
    assert roll_out(host, application, TWO, ONE, newer)["outcome"] == "activated"
    prepare(host, TWO, newer)
    assert sets(host) == {old.id, newer.id}


@pytest.mark.slow
def test_a_release_goes_back_to_its_former_secrets_and_they_stay_for_as_long_as_it_has_them(host: BareHost) -> None:
    """As a policy takes a host back that had only got another conf or other secrets."""
    application = shop(host)
    old, new = kept(application, "first password"), kept(application, "second password")
    assert roll_out(host, application, ONE, None, old)["outcome"] == "activated"
    setup_before = json.loads((host.root / "apps/shop/releases" / ONE / "release.json").read_text())["programs"]
    assert roll_out(host, application, ONE, ONE, new)["outcome"] == "activated"
    prepare(host, ONE, new)
    assert sets(host) == {old.id, new.id}, "a lost controller may be followed by another one"
    (host.root / "notes/started").unlink()
    back = {"application": "shop", "release": ONE, "expected_current": ONE, "conf": None, "programs": None}
    assert host.ask("activate", {**back, "former": True})["outcome"] == "activated"
    assert noted(host, "started")["environment"]["DATABASE_PASSWORD"] == "first password"
    about = json.loads((host.root / "apps/shop/releases" / ONE / "release.json").read_text())
    assert about["programs"] == setup_before, "its health checks, and what a one-off command needs"
    here = host.facts()
    assert (here["secrets"], here["drift"]) == (old.id, False)
    assert host.ask("prune", {"applications": {"shop": []}, "whole": False})["type"] == "result"
    assert sets(host) == {old.id}


def test_pruning_takes_the_secrets_with_the_releases(host: BareHost) -> None:
    secrets = kept(shop(host))
    prepare(host, ONE, secrets)
    assert sets(host) == {secrets.id}
    assert host.ask("prune", {"applications": {"shop": [ONE]}, "whole": False})["type"] == "result"
    assert sets(host) == set()


@pytest.mark.slow
def test_an_activation_without_its_secrets_is_refused_before_anything_stops(host: BareHost) -> None:
    application = shop(host)
    assert roll_out(host, application, ONE, None, kept(application))["outcome"] == "activated"
    before = host.pid()
    add_release(host, TWO)
    about = {"application": "shop", "release": TWO, "expected_current": ONE}
    refused = host.ask("activate", {**about, **setup(host, application, TWO, "0123456789abcdef")})
    assert (refused["type"], refused["code"]) == ("error", "not-prepared")
    assert host.pid() == before


@pytest.mark.slow
def test_a_limit_that_cannot_be_is_told_by_the_log(host: BareHost) -> None:
    application = shop(host, limits=Limits(nofile=1 << 40), deadline_s=1.0)
    answer = roll_out(host, application, ONE, None, kept(application))
    assert answer["outcome"] == "removed"
    assert "the limit nofile cannot be" in answer["log_tail"]


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")
def test_the_programs_user_alone_can_read_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody, python = pwd.getpwnam("nobody"), Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("there is no Python that everybody may start")
    monkeypatch.setattr(sys, "executable", str(python))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, others_start(Path(folder)) as host:
        application = shop(host, user="nobody", limits=Limits(nofile=256), directory="/")
        secrets = kept(application)
        assert roll_out(host, application, ONE, None, secrets)["outcome"] == "activated"
        seen = noted(host, "started")
        assert (seen["uid"], seen["key"]) == (nobody.pw_uid, KEY)
        place = host.root / f"apps/shop/secrets/{secrets.id}/shop-web"
        for each in (place, place / ".environment", place / "TLS_KEY"):
            assert (each.stat().st_uid, each.stat().st_mode & 0o077) == (nobody.pw_uid, 0)
        running = host.start("run", one_off("sh", "-c", "id -un; echo $HOME; cat $TLS_KEY"))
        assert running.end()["exit"] == 0
        assert said_by(running) == ["nobody", nobody.pw_dir, "***", "***", "***"]
        assert prepare(host, TWO, kept(shop(host, user="nobody-at-all")))["code"] == "not-ready"
        assert sets(host) == {secrets.id}


@contextlib.contextmanager
def others_start(folder: Path) -> Iterator[BareHost]:
    """A bare host that other users can look into."""
    folder.chmod(0o755)
    supervisord = Path(sysconfig.get_path("scripts")) / "supervisord"
    with bare_host(folder, supervisord) as host:
        (host.root / "notes").mkdir()
        (host.root / "notes").chmod(0o777)
        yield host


# --- tasks and one-off commands


def migration(host: BareHost, *argv: str, mode: str = "run", timeout_s: float = 20.0) -> dict[str, Any]:
    """The body that runs `argv` as the task `migrate` of the first release."""
    application = shop(host)
    task = Task(command=argv, timeout_s=timeout_s)
    here = dataclasses.replace(target("h1"), layout=Layout(root=str(host.root)))
    application = application.but(tasks={"migrate": task})
    secrets = kept(application)
    prepare(host, ONE, secrets)
    (made,) = supervisor_file.tasks(Instance("shop", application, here, ONE, "1.0.0", secrets.id))
    about = {"application": "shop", "release": ONE, "task": "migrate", "program": made.program, "mode": mode}
    return {**about, "command": made.command, "timeout_s": made.timeout_s}


def one_off(*argv: str) -> dict[str, Any]:
    return {"application": "shop", "program": "shop-web", "command": argv}


def said_by(running: Running) -> list[str]:
    return [each["text"] for each in running.said if each["type"] == "progress"]


def state(host: BareHost) -> str:
    records: Mapping[str, Any] = json.loads((host.root / "apps/shop/tasks.json").read_text())
    return str(records[f"{ONE}/migrate"]["state"])


def test_a_task_that_is_done_does_not_run_again(host: BareHost) -> None:
    body = migration(host, "sh", "-c", 'echo "migrate with $DATABASE_PASSWORD"; echo x >> $NOTES/ran')
    running = host.start("task", body)
    first = running.end()
    assert (first["state"], first["ran"], first["exit"]) == ("done", True, 0)
    assert first["output"] == "migrate with ***"
    assert "migrate with ***" in said_by(running)
    second = host.ask("task", body)
    assert (second["state"], second["ran"]) == ("done", False)
    assert (host.root / "notes/ran").read_text() == "x\n"
    assert host.facts()["tasks"][f"{ONE}/migrate"]["state"] == "done"


@pytest.mark.slow
def test_a_task_that_failed_tells_why_and_runs_again(host: BareHost) -> None:
    body = migration(host, "sh", "-c", "echo no such table; exit 3")
    for _ in range(2):
        answer = host.ask("task", body)
        assert (answer["state"], answer["exit"], answer["output"]) == ("failed", 3, "no such table")
    assert state(host) == "failed"


@pytest.mark.slow
def test_a_task_that_is_too_slow_is_killed(host: BareHost) -> None:
    host.hasten(command, "GRACE_S", 0.1)
    answer = host.ask("task", migration(host, "sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60", timeout_s=0.2))
    assert (answer["state"], answer["exit"]) == ("failed", None)


@pytest.mark.slow
def test_a_task_goes_on_without_its_controller_and_is_known_to_be_done(host: BareHost) -> None:
    running = host.start(
        "task", migration(host, "sh", "-c", "echo begun; while [ ! -e $NOTES/go ]; do sleep 0.02; done")
    )
    while running.hear("progress")["text"] != "begun":
        pass
    running.hang_up()
    locked = host.ask("task", migration_again(host))
    assert locked["code"] == "locked"
    (host.root / "notes/go").touch()
    wait_until(lambda: state(host) == "done", "the task")


def migration_again(host: BareHost) -> dict[str, Any]:
    """The body of the task alone: nothing is prepared for it."""
    return {"application": "shop", "release": ONE, "task": "migrate", "mode": "run"}


@pytest.mark.slow
def test_a_task_whose_runner_was_killed_is_in_doubt_until_a_person_says_what_it_is(host: BareHost) -> None:
    body = migration(host, "sh", "-c", "echo begun; sleep 0.1; echo x >> $NOTES/ran")
    running = host.start("task", body)
    while running.hear("progress")["text"] != "begun":
        pass
    running.kill()
    wait_until(
        lambda: (refused := host.ask("task", body))["code"] == "task-unknown" and "nobody saw" in refused["problem"]
    )
    assert host.ask("task", {**body, "mode": "again"})["state"] == "done"
    assert (host.root / "notes/ran").read_text() in ("x\n", "x\nx\n")


@pytest.mark.slow
def test_a_task_can_be_taken_for_done(host: BareHost) -> None:
    body = migration(host, "false", mode="done")
    assert host.ask("task", body)["state"] == "done"
    assert host.ask("task", {**body, "mode": "run"})["ran"] is False


@pytest.mark.slow
def test_a_command_runs_as_the_program_does_and_its_exit_code_comes_back(host: BareHost) -> None:
    application = shop(host, limits=Limits(nofile=512))
    assert roll_out(host, application, ONE, None, kept(application))["outcome"] == "activated"
    running = host.start(
        "run", one_off("sh", "-c", "command -v python; ulimit -n; echo $DATABASE_PASSWORD >&2; exit 7")
    )
    assert running.end()["exit"] == 7
    release = host.root / "apps/shop/releases" / ONE
    assert said_by(running) == [f"{release}/bin/python", "512", "***"]
    missing = host.start("run", one_off("no-such-program"))
    assert missing.end()["exit"] == 127
    assert said_by(missing) == ["pinwheel: cannot start: no-such-program: No such file or directory"]
    error = host.ask("run", {**one_off("true"), "program": "shop-mail"})
    assert (error["code"], "name one of shop-web" in error["remedy"]) == ("not-prepared", True)


@pytest.mark.slow
def test_a_command_needs_no_lock_and_ends_with_its_controller(host: BareHost) -> None:
    application = shop(host)
    assert roll_out(host, application, ONE, None, kept(application))["outcome"] == "activated"
    job = runner.Job(host.request("prepare", {}), Wire(-1), threading.Event())
    with runner.locked(job):
        running = host.start("run", one_off("sh", "-c", "echo $$; sleep 60"))
        pid = int(running.hear("progress")["text"])
        running.close_stdin()
        assert running.end()["code"] == "aborted"
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the command")


@pytest.mark.slow
def test_a_line_without_an_end_is_told_in_pieces_and_no_piece_holds_half_a_secret(host: BareHost) -> None:
    application = shop(host)
    assert roll_out(host, application, ONE, None, kept(application))["outcome"] == "activated"
    running = host.start("run", one_off("python", "-c", f"print('x' * 8180 + {PASSWORD!r} + 'y' * 9000, end='')"))
    assert running.end()["exit"] == 0
    told = "".join(said_by(running))
    assert PASSWORD not in told
    assert "horse" not in told
    assert told.count("y") > 8000
