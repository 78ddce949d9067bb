"""From pinwheel.toml to a program on a host: it has its secrets, and nobody and nothing else has, at no time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.bare import wait_until
from tests.deploy.deployment import DEADLINE_S, Ended, Site, standing

PASSWORD, LATER = "first-p4ssword of all", "second-p4ssword of all"
DSN = "https://dsn-of-all@example"
KEY = "-----BEGIN KEY-----\na2V5LW9mLWFsbA==\n-----END KEY-----\n"
TRACES = (PASSWORD, LATER, DSN, "a2V5LW9mLWFsbA==")

MORE = """
[applications.tiny.secrets]
DB_PASSWORD = { command = ["cat", "password"] }
DSN = { variable = "TINY_DSN" }
TLS_KEY = { file = "tls.key", as_file = true }

[applications.tiny.programs.web.limits]
nofile = 256

[applications.tiny.tasks.migrate]
command = ["sh", "-c", 'echo "to $1 with $DB_PASSWORD"; echo $1 >> migrated; test $1 != "$BAD"', "sh", "{version}"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with standing(tmp_path, "h1", "h2") as made:
        with (made.folder / "pinwheel.toml").open("a") as config:
            config.write(MORE)
        for name, text in (("password", PASSWORD), ("tls.key", KEY)):
            (made.folder / name).touch(mode=0o600)
            (made.folder / name).write_text(text)
        made.environ["TINY_DSN"] = DSN
        assert made.pinwheel("deploy.bootstrap", "--env", "live").code == 0
        yield made


class Spy:
    """Reads the arguments of every process, over and over, until it is told to stop."""

    def __init__(self) -> None:
        self.caught: set[str] = set()
        self.rounds = 0
        self._stop = threading.Event()

    def watch(self) -> None:
        while not self._stop.wait(0.02):
            for each in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    words = each.read_text(errors="replace")
                    self.caught |= {f"{each}: {trace}" for trace in TRACES if trace in words}
            self.rounds += 1

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Spy]:
        thread = threading.Thread(target=self.watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


def digests(site: Site) -> Ended:
    """What each host's program would find, as digests: the values themselves would be masked."""
    words = (
        "print(hashlib.sha256((os.environ['DB_PASSWORD'] + open(os.environ['TLS_KEY']).read()).encode()).hexdigest())"
    )
    return site.pinwheel("deploy.run", "tiny", "--env", "live", "--", "python", "-c", f"import hashlib, os; {words}")


def digest(password: str) -> str:
    return hashlib.sha256((password + KEY).encode()).hexdigest()


def traces(folder: Path) -> dict[str, int]:
    """Where below `folder` one of the values stands, in any file, with the file's mode."""
    found = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            text = file.read_bytes()
            if any(trace.encode() in text for trace in TRACES):
                found[str(file.relative_to(folder))] = stat.S_IMODE(file.stat().st_mode)
    return found


@pytest.mark.slow
def test_a_secret_reaches_the_program_and_is_nowhere_else_at_any_time(site: Site) -> None:
    said: list[Ended] = []
    with Spy().at_work() as spy:
        said.append(site.pinwheel("deploy.plan", "tiny==1.0.0", "--env", "live"))
        assert said[-1].code == 4
        assert "task migrate: once, on h1, before the first activation" in said[-1].out
        said.append(site.roll_out("1.0.0"))
        assert said[-1].code == 0, said[-1].err
        assert "| to 1.0.0 with ***" in said[-1].err
        said.append(digests(site))
        assert sorted(said[-1].out.splitlines()) == [f"{host} | {digest(PASSWORD)}" for host in ("h1", "h2")]

        (site.folder / "password").write_text(f"{LATER}\n")
        said.append(site.pinwheel("deploy.plan", "tiny==1.0.0", "--env", "live", "--json"))
        assert said[-1].code == 4
        assert said[-1].document["hosts"][0]["why"] == "its secrets change (DB_PASSWORD, DSN, TLS_KEY)"
        said.append(site.roll_out("1.1.0"))
        assert said[-1].code == 0, said[-1].err
        said.append(digests(site))
        assert f"h2 | {digest(LATER)}" in said[-1].out
        said.append(site.pinwheel("deploy.rollback", "tiny", "--env", "live"))
        assert said[-1].code == 0, said[-1].err
        said.append(digests(site))
        assert f"h2 | {digest(PASSWORD)}" in said[-1].out

        said.append(
            site.pinwheel("deploy.run", "tiny", "--env", "live", "--command", "sh -c 'env; cat $TLS_KEY; exit 5'")
        )
        assert said[-1].code == 5
        assert "h1 | DB_PASSWORD=***" in said[-1].out
        said.append(site.pinwheel("deploy.status", "--env", "live", "--json"))
        said.append(site.pinwheel("deploy.history", "--env", "live", "--json"))
    assert spy.rounds
    assert spy.caught == set()
    assert not [trace for each in said for trace in TRACES if trace in each.out + each.err]

    events = site.client.events(environment="live")
    assert not [trace for trace in TRACES if trace in json.dumps(events)]
    kinds = [(event["kind"], event["host"]) for event in events]
    assert kinds.count(("task", "h1")) == 2
    assert kinds.count(("ran", "h2")) == 4
    assert [file.read_text() for file in site.folder.rglob("apps/tiny/migrated")] == ["1.0.0\n1.1.0\n"]

    found = traces(site.folder)
    assert set(found.values()) == {0o600}
    sources, kept = ({each for each in found if where(each) == here} for here in ("source", "kept"))
    assert sources == {"password", "tls.key"}
    assert len(kept) == 2 * 2 * 2, "two hosts, each with two sets of two files"
    assert found.keys() == sources | kept


def where(file: str) -> str:
    parts = Path(file).parts
    return "source" if len(parts) == 1 else "kept" if parts[-5:-3] == ("tiny", "secrets") else "elsewhere"


@pytest.mark.slow
def test_a_failing_task_is_told_and_runs_again_when_its_reason_is_gone(site: Site) -> None:
    assert site.roll_out("1.0.0").code == 0
    with (site.folder / "pinwheel.toml").open("a") as config:
        config.write('[environments.live.applications.tiny]\nenvironment = {BAD = "1.1.0"}\n')
    before = site.status()
    ended = site.roll_out("1.1.0")
    assert (ended.code, ended.document["outcome"]) == (1, "halted")
    assert "the task migrate failed with exit code 1 on h1" in ended.document["reason"]
    assert site.status() == before
    assert site.answers() == {"h1": "1.0.0", "h2": "1.0.0"}
    text = (site.folder / "pinwheel.toml").read_text()
    (site.folder / "pinwheel.toml").write_text(text.replace('BAD = "1.1.0"', 'BAD = "none"'))
    assert site.roll_out("1.1.0").code == 0
    assert site.answers() == {"h1": "1.1.0", "h2": "1.1.0"}


@pytest.mark.slow
def test_ctrl_c_ends_a_command_where_it_runs(site: Site) -> None:
    assert site.roll_out("1.0.0").code == 0
    child = site.start(
        "deploy.run", "tiny", "--env", "live", "--host", "h1", "--", "sh", "-c", "echo pid $$; sleep 300"
    )
    assert child.stdout is not None
    with child:
        line = child.stdout.readline()
        assert line.startswith("h1 | pid ")
        child.send_signal(signal.SIGINT)
        assert child.wait(DEADLINE_S) == 130
    pid = Path("/proc", line.split()[-1])
    wait_until(lambda: not pid.exists(), "the end of the command")
