"""index/supervisor.conf with a real supervisord: start, restart without a failed request, stop."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.index import running
from tests.index.running import Server, eventually

pytestmark = pytest.mark.slow  # a supervisord, and a server that is restarted

CONFIGURATION = Path(__file__).parents[2] / "index" / "supervisor.conf"
SCRIPTS = Path(sys.executable).parent


def configured(folder: Path, sockets: Path) -> str:
    """The configuration as it is shipped, with other paths, and without another user."""
    read = configparser.RawConfigParser(inline_comment_prefixes=())
    read.read(CONFIGURATION)
    program = dict(read["program:pinwheel-index"])
    argv = program["command"].split()
    assert argv[:2] == ["/opt/pinwheel/bin/pinwheel", "index.serve"]
    flags = {flag: argv[argv.index(flag) + 1] for flag in ("--host", "--workers")}
    program["command"] = " ".join(
        (*running.PINWHEEL, "index.serve", "--data", str(folder / "data"), "--port", "0", *sum(flags.items(), ()))
    )
    program["directory"] = str(folder)
    program["stdout_logfile"] = str(folder / "log")
    del program["user"]
    lines = "\n".join(f"{key}={value}" for key, value in program.items())
    return (
        f"[supervisord]\nnodaemon=true\nlogfile={folder / 'supervisord.log'}\npidfile={folder / 'pid'}\n"
        f"[unix_http_server]\nfile={sockets / 'sock'}\n[supervisorctl]\nserverurl=unix://{sockets / 'sock'}\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:pinwheel-index]\n{lines}\n"
    )


class Supervised:
    def __init__(self, folder: Path, conf: Path) -> None:
        self.folder = folder
        self._conf = conf

    def ctl(self, *argv: str) -> str:
        done = subprocess.run(
            (SCRIPTS / "supervisorctl", "-c", self._conf, *argv), capture_output=True, text=True, check=False
        )
        return done.stdout

    def lines(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def pid(self) -> int:
        return int(self.ctl("pid", "pinwheel-index"))

    def url(self) -> str:
        serving = [line for line in self.lines() if line.startswith("serving ")]
        return serving[-1].rpartition(" at ")[2]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has 107 characters at most
        conf = tmp_path / "supervisord.conf"
        conf.write_text(configured(tmp_path, Path(short)))
        # what the host's own start of supervisord ignores, its programs inherit
        process = subprocess.Popen((SCRIPTS / "supervisord", "-c", conf), env=running.environment())
        try:
            found = Supervised(tmp_path, conf)
            eventually(lambda: any(line.startswith("serving ") for line in found.lines()))
            yield found
        finally:
            process.terminate()
            process.wait(running.WITHIN_S)


def test_signal_hup_restarts_it_with_the_same_process_in_charge(supervised: Supervised, tmp_path: Path) -> None:
    before = supervised.pid()
    server = Server(subprocess.Popen(("true",)), tmp_path / "data", supervised.url())
    server.process.wait()
    assert "signalled" in supervised.ctl("signal", "HUP", "pinwheel-index")
    eventually(lambda: any(line.startswith("restarted: ") for line in supervised.lines()))
    assert server.ask("GET", "/-/ready").status == 200
    assert supervised.pid() == before
    assert "RUNNING" in supervised.ctl("status", "pinwheel-index")


def test_stop_and_start_leave_nobody_behind(supervised: Supervised) -> None:
    first = supervised.pid()
    children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    assert len(children) == 2
    assert "stopped" in supervised.ctl("stop", "pinwheel-index")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert "started" in supervised.ctl("start", "pinwheel-index")
    eventually(lambda: sum(line.startswith("serving ") for line in supervised.lines()) == 2)


def test_a_server_that_was_killed_is_started_again(supervised: Supervised) -> None:
    first = supervised.pid()
    os.kill(first, 9)
    eventually(lambda: sum(line.startswith("serving ") for line in supervised.lines()) == 2)
    assert supervised.pid() != first
