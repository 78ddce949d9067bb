"""Child processes: nothing outlives its caller, nothing secret is inherited."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from pinwheel import process


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Has `pid` ended? A killed process may take a moment to be gone."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_failure_is_a_value() -> None:
    ended = process.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert (ended.exit_code, ended.output, ended.errors) == (3, "out\n", "err\n")


def test_a_log_takes_both_streams(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended = process.run([sys.executable, "-c", "import os; os.write(1, b'a'); os.write(2, b'b')"], log=log)
    assert ended.output == log.read_text() == "ab"


def test_a_missing_program_has_a_remedy() -> None:
    with pytest.raises(process.ProgramMissing) as caught:
        process.run(["no-such-program-here"])
    assert "install no-such-program-here" in caught.value.remedy


def test_a_child_past_its_deadline_is_killed_with_its_children(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "child.wait()"
    )
    note = tmp_path / "pid"
    with pytest.raises(process.TimedOut):
        process.run([sys.executable, "-c", script, str(note)], timeout_s=2)
    assert gone(int(note.read_text()))


def test_a_child_has_the_umask_that_it_is_given_and_we_keep_ours() -> None:
    before = process.run(["sh", "-c", "umask"]).output
    assert process.run(["sh", "-c", "umask"], umask=0o027).output.strip() == "0027"
    assert process.run(["sh", "-c", "umask"]).output == before


def test_a_scrubbed_environment_has_no_secret() -> None:
    environ = {"PATH": "/bin", "PINWHEEL_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret", "TMPDIR": "/tmp"}
    assert process.scrubbed(environ, EXTRA="1") == {"PATH": "/bin", "TMPDIR": "/tmp", "EXTRA": "1"}


def test_the_tail_says_how_much_went_before() -> None:
    assert process.tail("a\nb\nc\nd\n", 2) == f"… 2 lines before{os.linesep}c{os.linesep}d"
