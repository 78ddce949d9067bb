"""The command line as forks of one process that has imported it already.

Each call is a process of its own, with the arguments, variables, folder and exit code of one that a shell starts;
only the third of a second that Python and the imports take is spent once. For tests that ask what a command says
and does; those of signals, start-up time and the entry point itself start a program.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WITHIN_S = 60
IMPORTED = (
    *("pinwheel.cli", "pinwheel.config", "pinwheel.doctor"),
    *("pinwheel.index.server.assembly", "pinwheel.index.client"),
)


def command(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, within_s: float = WITHIN_S
) -> subprocess.CompletedProcess[str]:
    """Run `pinwheel WORDS`. Raises `subprocess.TimeoutExpired` after `within_s`."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        asked = {
            "words": words,
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "out": str(out),
            "err": str(err),
        }
        code = _parent().run(json.dumps(asked), words, within_s)
        return subprocess.CompletedProcess(("pinwheel", *words), code, out.read_text(), err.read_text())


class _Parent:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-P", str(Path(__file__).absolute())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        atexit.register(self.end)

    def run(self, line: str, words: tuple[str, ...], within_s: float) -> int:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        with self._lock:
            requests.write(line + "\n")
            requests.flush()
            child = int(answers.readline())
            late = not select.select([answers], [], [], within_s)[0]
            if late:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            code = int(answers.readline())
        if late:
            raise subprocess.TimeoutExpired(["pinwheel", *words], within_s)
        return code

    def end(self) -> None:
        self._process.communicate()


@functools.cache
def _parent() -> _Parent:
    return _Parent()


def _serve() -> None:
    """Fork for each line of input; answer with the child's process id, and then with its exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
        _answer(child)
        _answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(asked: dict[str, Any]) -> None:
    """Be the command, to the end."""
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    for path, descriptor in ((os.devnull, 0), (asked["out"], 1), (asked["err"], 2)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["pinwheel", *asked["words"]]
    code: object = 1
    try:
        importlib.import_module("pinwheel.__main__").start()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve()
