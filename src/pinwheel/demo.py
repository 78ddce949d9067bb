"""`pinwheel demo`: two applications from git to running services on rootless hosts, and back.

The demo is a user. Every step is a child process with exactly the words that are printed before it, and this
module imports nothing of pinwheel but the lab in which the hosts stand, and what every command speaks with.
tests/test_architecture.py sees to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from pinwheel import console, stage
from pinwheel.deploy.lab import Lab
from pinwheel.errors import PinwheelError

ENVIRONMENT = "demo"
LIBRARY = "acme-greet"
SERVICE = "acme-shop"
STARTED = "PINWHEEL_TASKS_STARTED"
"""Set by a checkout's tasks.py: the time at which it was started, so that the making of .venv is counted."""
START_DEADLINE_S = 30.0
STEP_DEADLINE_S = 300.0
UNHEALTHY = "the health check of 1.2.0 fails on purpose: the canary must go back to 1.1.0 by itself"


class DemoFailed(PinwheelError):
    """A step did not do what it should; the problem says which and what it printed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command that was run: its words, its exit code, how long it took, what it printed on stdout."""

    argv: tuple[str, ...]
    exit_code: int
    seconds: float
    output: str

    @property
    def command(self) -> str:
        return shlex.join(self.argv)

    def document(self) -> Any:
        """What it printed, read as JSON."""
        return json.loads(self.output)


@dataclass(slots=True)
class Story:
    """The demo as it goes: where it runs, what was run so far, and the person who watches."""

    stage: stage.Stage
    console: Console
    steps: list[Step] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        self.console.print(f"\n[bold]{escape(title)}[/bold]", soft_wrap=True, highlight=False)

    def tell(self, text: str) -> None:
        self.console.print(f"  {escape(text)}", soft_wrap=True, highlight=False)

    def run(self, *argv: str, exit_code: int = 0, into: Path | None = None) -> Step:
        """Run one command to its end, showing what it says. Raises `DemoFailed` on another exit code.

        `into` is a file, private to this user, that takes what the command prints, as `> FILE` would.
        """
        shown = shlex.join(argv) + (f" > {into}" if into else "")
        self.console.print(f"  [cyan]$ {escape(shown)}[/cyan]", soft_wrap=True, highlight=False)
        started = time.monotonic()
        try:
            child = self.stage.start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError as error:
            raise DemoFailed(f"{argv[0]} is not installed", remedy=f"sudo apt-get install {argv[0]}") from error
        said: list[str] = []
        listener = threading.Thread(target=self._listen, args=(child, said), daemon=True)
        listener.start()
        assert child.stdout is not None  # noqa: S101 (for the type checker: it is a pipe)
        try:
            output = child.stdout.read()
            child.wait(STEP_DEADLINE_S)
        except KeyboardInterrupt:
            child.kill()  # before its hosts go, or it would tell at length that they are gone
            raise
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"{shown} did not end within {STEP_DEADLINE_S:g} s") from error
        listener.join(1)  # a daemon that the step started may hold the pipe open
        step = Step(argv, child.returncode, time.monotonic() - started, output)
        self.steps.append(step)
        if child.returncode != exit_code:
            told = "\n".join([*said[-20:], *([] if into else output.splitlines()[-20:])])
            raise DemoFailed(f"{shown} exited {child.returncode} instead of {exit_code}\n{told}")
        if exit_code:
            self.tell(f"it exits {exit_code}, as it should")
        if into:
            into.touch(mode=0o600)
            into.write_text(output)
        return step

    def _listen(self, child: subprocess.Popen[str], said: list[str]) -> None:
        assert child.stderr is not None  # noqa: S101 (for the type checker: it is a pipe)
        for line in child.stderr:
            said.append(line.rstrip())
            self.console.print(f"    [dim]{escape(line.rstrip())}[/dim]", soft_wrap=True, highlight=False)


def run(*, hosts: int, keep: bool, as_json: bool) -> None:
    """Run the demo. Data goes to stdout, the story to stderr. Raises `DemoFailed`."""
    started = float(os.environ.get(STARTED, time.time()))
    here = stage.Stage.set_up()
    story = Story(here, Console(stderr=True))
    stays = False
    try:
        here.catch_signals()
        for folder in stage.leftovers():
            clear(folder)
        result = play(story, hosts, keep=keep)
        stays = keep
    finally:
        if stays:
            here.keep()
        else:
            here.shield()
            clear(here.folder)
    waited = result.pop("registry_wait_s")
    if as_json:
        console.document(result)
    else:
        show(story, result)
    total = time.time() - started
    console.say(f"\ndone in {total:.1f} s, of which {waited:.1f} s waiting for the registry")
    if keep:
        tell_how_to_look(here.folder)


def play(story: Story, hosts: int, *, keep: bool) -> dict[str, Any]:
    """The whole story. Returns the document of `--json`, and how long the registry was waited for."""
    folder = story.stage.folder
    story.chapter("Two repositories")
    for name in (LIBRARY, SERVICE):
        make_repository(story, name)

    story.chapter("An index with a token")
    scopes = "read,upload,deploy"
    story.run("pinwheel", "index.token-create", "demo", "--scope", scopes, "--data", "index", into=folder / "token")
    url = start_index(story)

    story.chapter(f"{hosts} hosts")
    lab = Lab(folder / "lab", [f"demo{number}" for number in range(1, hosts + 1)], keep=keep)
    lab.start()
    ports = {name: str(host.free_port()) for name, host in lab.hosts.items()}
    for name, host in lab.hosts.items():
        story.tell(f"{name}: ssh -p {host.port} {host.address}, a folder as its root: {host.root}")
    (folder / stage.CONFIGURATION).write_text(configuration(url, lab, ports))
    story.tell(f"wrote {folder / stage.CONFIGURATION}")

    story.chapter("1.0.0: release, lock, make the hosts ready, roll out")
    releases = released(story.run("pinwheel", "packaging.release", "--all", "--json"))
    story.run("pinwheel", "packaging.lock", f"{SERVICE}==1.0.0")
    story.run("pinwheel", "deploy.bootstrap", "--env", ENVIRONMENT)
    again = story.run("pinwheel", "deploy.bootstrap", "--env", ENVIRONMENT, "--json")
    require(not any(host["changes"] for host in again.document()["hosts"]), "a second bootstrap changed something")
    roll_out(story, "1.0.0", ports)

    story.chapter("1.1.0: a commit, a tag, a release, a rollout")
    releases += release_edited(story, "1.1.0", "s/customer/dear customer/;s/1\\.0\\.0/1.1.0/")
    roll_out(story, "1.1.0", ports)

    story.chapter(f"1.2.0: {UNHEALTHY}")
    releases += release_edited(story, "1.2.0", "s/HEALTHY = True/HEALTHY = False/;s/1\\.1\\.0/1.2.0/")
    before, confs = status(story), supervisor_files(lab)
    roll_out(story, "1.2.0", ports, fails=True)
    after = status(story)
    require([row["version"] for row in after] == ["1.1.0"] * hosts, "a host does not run 1.1.0")
    require(after[1:] == before[1:], "a host other than the canary was touched")
    require(supervisor_files(lab) == confs, "a configuration of supervisor changed")

    story.chapter("Back to 1.0.0")
    story.run("pinwheel", "deploy.rollback", SERVICE, "--env", ENVIRONMENT)
    answers(story, "1.0.0", ports)
    return {
        "releases": releases,
        "hosts": [{key: row[key] for key in ("name", "version", "healthy", "pid", "since")} for row in status(story)],
        "steps": [
            {"command": step.command, "exit": step.exit_code, "seconds": round(step.seconds, 3)} for step in story.steps
        ],
        "registry_wait_s": waited_for_registry(folder / "index.log"),
    }


def make_repository(story: Story, name: str) -> None:
    """A working copy of an example with one commit and a tag, pushed to a bare repository."""
    source, work, bare = str(examples() / name), f"work/{name}", f"repositories/{name}.git"
    (story.stage.folder / "work").mkdir(exist_ok=True)
    story.run("cp", "-r", source, work)
    story.run("git", "init", "--quiet", "--bare", bare)
    story.run("git", "init", "--quiet", "--initial-branch", "main", work)
    story.run("git", "-C", work, "remote", "add", "origin", f"../../{bare}")
    commit(story, name, "1.0.0")


def commit(story: Story, name: str, version: str) -> None:
    """Commit everything in the working copy, tag it, push both."""
    work = f"work/{name}"
    who = ("-c", "user.name=Demo", "-c", "user.email=demo@acme.example")
    story.run("git", "-C", work, "add", "--all")
    story.run("git", "-C", work, *who, "commit", "--quiet", "--message", f"Release {version}")
    story.run("git", "-C", work, *who, "tag", "--annotate", "--message", f"Release {version}", f"v{version}")
    story.run("git", "-C", work, "push", "--quiet", "--follow-tags", "origin", "main")


def release_edited(story: Story, version: str, script: str) -> list[dict[str, str]]:
    """Edit the service with sed, commit and tag it, release and lock it. Returns the wheels."""
    work = story.stage.folder / "work" / SERVICE
    files = [file for kind in ("*.py", "*.toml") for file in sorted(work.rglob(kind))]
    story.run("sed", "-i", script, *(str(file.relative_to(story.stage.folder)) for file in files))
    commit(story, SERVICE, version)
    wheels = released(story.run("pinwheel", "packaging.release", "--name", SERVICE, "--json"))
    story.run("pinwheel", "packaging.lock", f"{SERVICE}=={version}")
    return wheels


def start_index(story: Story) -> str:
    """Start the index on a port of its own choice and return its address."""
    flags = ("--data", "index", "--port", "0", "--upstream", "auto", "--private", "acme-*")
    argv = ("pinwheel", "index.serve", *flags)
    log = story.stage.folder / "index.log"
    story.console.print(f"  [cyan]$ {escape(shlex.join(argv))} 2> {log} &[/cyan]", soft_wrap=True, highlight=False)
    with log.open("wb") as out:
        child = story.stage.start(argv, stdout=out.fileno(), stderr=out.fileno())
    deadline = time.monotonic() + START_DEADLINE_S
    while child.poll() is None and time.monotonic() < deadline:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("serving ") and " at http" in line:
                story.tell(line)
                return line.rpartition(" at ")[2].strip()
        time.sleep(0.02)  # the log is a file, so that the server outlives us with --keep; there is nothing to wait on
    raise DemoFailed(f"{shlex.join(argv)} did not start\n{log.read_text(errors='replace')[-2000:]}")


def configuration(url: str, lab: Lab, ports: dict[str, str]) -> str:
    """The pinwheel.toml of the demo."""
    environment = lab.environment(variables={name: {"port": port} for name, port in ports.items()})
    environment["rollout"] = {"canary": 1, "batch": "100%", "max_unavailable": max(1, len(ports) - 1)}
    web = {
        "command": ["{release}/bin/acme-shop", "--port", "{port}"],
        "environment": {"ACME_HOST": "{host}"},
        "stop_wait_s": 5,
        "health": {"http": "http://127.0.0.1:{port}/health", "deadline_s": 4.0},
    }
    document = {
        "index": {"url": url, "token_file": "token", "private": ["acme-*"]},
        "packaging": {"cache": "cache"},
        "projects": {name: {"repository": f"repositories/{name}.git"} for name in (LIBRARY, SERVICE)},
        "applications": {SERVICE: {"programs": {"web": web}}},
        "environments": {ENVIRONMENT: environment},
    }
    return "".join(toml(document))


def toml(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """A table as TOML; the keys here are bare, and JSON's strings, numbers and arrays are TOML's too."""
    if path:
        yield f"[{'.'.join(path)}]\n"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {json.dumps(value)}\n"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from toml(value, (*path, key))


def released(step: Step) -> list[dict[str, str]]:
    """The wheels that a release published."""
    return [
        {"name": one["name"], "version": one["version"], "sha256": file["sha256"], "commit": one["commit"]}
        for one in step.document()["releases"]
        for file in one["files"]
        if file["filename"].endswith(".whl")
    ]


def roll_out(story: Story, version: str, ports: dict[str, str], *, fails: bool = False) -> None:
    """Roll a version out, and ask every host over HTTP."""
    story.run("pinwheel", "deploy.rollout", f"{SERVICE}=={version}", "--env", ENVIRONMENT, exit_code=1 if fails else 0)
    answers(story, "1.1.0" if fails else version, ports)


def answers(story: Story, version: str, ports: dict[str, str]) -> None:
    """Every host answers over HTTP with `version`."""
    for name, port in ports.items():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as reply:
                said = json.load(reply)
        except (OSError, ValueError) as error:
            raise DemoFailed(f"{name} does not answer at port {port}: {error}") from error
        story.tell(f"http://127.0.0.1:{port}/ → {json.dumps(said)}")
        require(said["version"] == version, f"{name} answers with {said['version']} instead of {version}")


def status(story: Story) -> list[dict[str, Any]]:
    """What every host runs: name, version, healthy, state, pid, since."""
    step = story.run("pinwheel", "deploy.status", "--env", ENVIRONMENT, "--json")
    rows = []
    for host in step.document()["hosts"]:
        application = next(one for one in host["applications"] if one["application"] == SERVICE)
        process = application["processes"][0]
        rows.append(
            {"name": host["name"], "version": application["version"], "healthy": application["healthy"]}
            | {key: process[key] for key in ("state", "pid", "since")}
        )
    return rows


def supervisor_files(lab: Lab) -> dict[str, bytes]:
    """Every host's configuration files of supervisor, by path."""
    return {
        str(file): file.read_bytes()
        for host in lab.hosts.values()
        for file in sorted((host.root / "srv/pinwheel/etc/conf.d").glob("*.conf"))
    }


def waited_for_registry(log: Path) -> float:
    """Seconds in which at least one request to the registry was under way, by the index's log."""
    spans = []
    for line in log.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("log") == "upstream":
                spans.append((entry["started"], entry["started"] + entry["seconds"]))
    total = end = 0.0
    for begin, until in sorted(spans):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


def require(truth: bool, otherwise: str) -> None:
    if not truth:
        raise DemoFailed(otherwise)


def show(story: Story, result: dict[str, Any]) -> None:
    """The table of hosts on stdout, and the timeline."""
    hosts = [
        (host["name"], host["version"], "healthy" if host["healthy"] else "unhealthy", host["pid"], host["since"])
        for host in result["hosts"]
    ]
    console.table(("host", "version", "state", "pid", "since"), hosts, f"{SERVICE} in {ENVIRONMENT}")
    timeline = []
    at = 0.0
    for step in story.steps:
        if step.argv[0] == "pinwheel" and step.seconds >= 0.05:
            timeline.append((f"{at:.1f}", step.command, f"{step.seconds:.1f} s", step.exit_code))
        at += step.seconds
    console.table(("second", "step", "took", "exit"), timeline, "timeline")


def tell_how_to_look(folder: Path) -> None:
    """What to type while index and hosts are left running."""
    console.say(f"\nIndex and hosts are running; cd {folder}, then for example:")
    for words in ("index.list", f"deploy.status --env {ENVIRONMENT}", f"deploy.history --env {ENVIRONMENT}"):
        console.say(f"  pinwheel {words}")
    console.say("and when you have seen enough:\n  pinwheel demo-stop")


def stop() -> None:
    """End every demo that was left running."""
    found = [*stage.kept(), *stage.leftovers()]
    for folder in found:
        clear(folder)
        console.say(f"ended {folder}")
    if not found:
        console.say("no demo is running")


def clear(folder: Path) -> None:
    """End a run: its hosts first, by their own door, then whatever carries its mark."""
    if (folder / "lab" / "lab.json").exists():
        Lab.open(folder / "lab").stop()
    stage.sweep(folder)


def examples() -> Path:
    """The folder of the example applications: beside this module in a wheel, at the top of a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "examples", here.parents[1] / "examples"):
        if (folder / LIBRARY).is_dir():
            return folder
    raise DemoFailed(f"the example applications are missing beside {here}")
