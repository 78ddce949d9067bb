"""The task tree of a checkout: `python3 tasks.py TASK`, or `inv TASK` once .venv is active.

Started by a Python that is not .venv's, this file first makes or refreshes .venv with the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
FUZZER = VENV / "fuzz"
STAMP = VENV / "pinwheel-stamp"
LOCK = ROOT / "ci" / "requirements.lock"


def bootstrap() -> str:
    """Make or refresh .venv and return the path of its Python. Two at once wait for each other.

    The stamp is taken away first and written last, so that an interrupted run is seen by the next one. The lock
    passes to the children: when this process is killed, the next run waits for the one that goes on without it.
    """
    if sys.version_info < (3, 11):
        sys.exit(
            f"error: pinwheel needs Python 3.11 or newer\n  where: {sys.executable}\n  remedy: python3.11 tasks.py …"
        )
    python = VENV / "bin" / "python"
    with Path(__file__).open() as mutex:
        try:
            fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another run, which makes {VENV} …", file=sys.stderr, flush=True)
            fcntl.flock(mutex, fcntl.LOCK_EX)
        wanted = fingerprint()
        if python.exists() and STAMP.exists() and STAMP.read_text() == wanted:
            return str(python)
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit(
                "error: this Python cannot make virtual environments\n"
                f"  where: {sys.executable}\n"
                "  remedy: sudo apt-get install python3-venv"
            )
        started = time.monotonic()
        STAMP.unlink(missing_ok=True)
        print(
            f"making {VENV} from {LOCK.relative_to(ROOT)}, which takes about half a minute …",
            file=sys.stderr,
            flush=True,
        )
        call(mutex, sys.executable, "-m", "venv", *(["--clear"] if is_foreign() else []), str(VENV))
        pip = (str(python), "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        call(mutex, *pip, "--require-hashes", "-r", str(LOCK))
        call(mutex, *pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        STAMP.write_text(wanted)
        print(f"made {VENV} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return str(python)


def fingerprint() -> str:
    """What .venv depends on: the project's declaration, the lock, this Python, and the place."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), LOCK.read_bytes(), sys.version.encode(), os.fsencode(ROOT)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_foreign() -> bool:
    """Is .venv made by another Python version, or broken? Then it must be made from scratch."""
    try:
        config = (VENV / "pyvenv.cfg").read_text()
    except OSError:
        return VENV.exists()
    version = ".".join(map(str, sys.version_info[:3]))
    return version not in config or not (VENV / "bin" / "python").exists()


def call(mutex: IO[str], *argv: str) -> None:
    """Run a command in a session of its own, so that Ctrl-C is ours to tell, and the command's to end by."""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True, pass_fds=(mutex.fileno(),)
    ) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if code:
        sys.exit(
            f"error: .venv could not be made: exit code {code}\n  where: {' '.join(argv)}\n"
            "  remedy: read the message above (is the package registry reachable?); the next run starts over"
        )


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Take SIGTERM and SIGHUP as Ctrl-C."""
    raise KeyboardInterrupt(number)


if __name__ == "__main__" and Path(sys.prefix) != VENV:
    os.environ.setdefault("PINWHEEL_TASKS_STARTED", str(time.time()))
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, interrupt)
    try:
        target = bootstrap()
    except KeyboardInterrupt as error:
        print("interrupted; the next run starts over", file=sys.stderr)
        sys.exit(128 + (error.args[0] if error.args else signal.SIGINT))
    # -P: this folder must not be on sys.path, where packaging/ would stand beside PyPA's packaging
    os.execv(target, [target, "-P", str(ROOT / "tasks.py"), *sys.argv[1:]])

from invoke import Collection, Context, Exit, task  # noqa: E402

from pinwheel import cli  # noqa: E402

TOOL = (sys.executable, "-P", "-m")


@task(
    help={
        "marks": "which tests, as pytest's -m: `slow or root` are those that take long or need root",
        "select": "which tests, as pytest's -k",
        "workers": "how many processes (default: one for each core)",
    }
)
def test(_context: Context, marks: str = "not slow and not root", select: str = "", workers: str = "auto") -> None:
    """Run the tests: the quick ones, which need no root and no network but the registry's and loopback's.

    Example:
      python3 tasks.py test
      python3 tasks.py test --marks "slow or root"
    """
    # the tests start pinwheel hundreds of times, and each process collects them all: let them find it compiled
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    _run(*TOOL, "pytest", "-n", workers, "-m", marks, *(["-k", select] if select else []))


@task(help={"fix": "mend what can be mended"})
def lint(_context: Context, fix: bool = False) -> None:
    """Check style and types: ruff and mypy, as CI does.

    Example:
      inv lint --fix
    """
    _run(*TOOL, "ruff", "check", *(["--fix"] if fix else []), ".")
    _run(*TOOL, "ruff", "format", *([] if fix else ["--check"]), ".")
    _run(*TOOL, "mypy")


@task(
    help={
        "table": "index, packaging, deploy or all",
        "quick": "small inputs and few rounds: to see that it works, not to quote",
        "json": "print one JSON document",
        "only": "of deploy: sizes of fleets and peers, as in 4,1000,ansible,script-clone (default: all of them)",
    }
)
def bench(_context: Context, table: str = "all", quick: bool = False, json: bool = False, only: str = "") -> None:
    """Measure each station against its peers, as ratios within one run.

    Example:
      inv bench --table index
      inv bench --table deploy --only 4,ansible
    """
    flags = [flag for flag, given in (("--quick", quick), ("--json", json)) if given]
    flags += ["--only", only] if only else []
    _run(sys.executable, "-P", str(ROOT / "ci" / "bench" / "run.py"), table, *flags)


@task(
    help={
        "seconds": "how long (default 60)",
        "target": "archive or upload; without it, both at once",
        "file": "run one target on this input only: one that failed",
        "grow": "put inputs that reach new code into the corpus, to be committed",
    }
)
def fuzz(_context: Context, seconds: int = 60, target: str = "", file: str = "", grow: bool = False) -> None:
    """Feed made-up archives and uploads to what reads them, guided by coverage (atheris).

    The first run installs what is needed for it below .venv. Inputs that fail are kept, with the command that repeats
    them.

    Example:
      inv fuzz --seconds 300
      inv fuzz --target upload --file /tmp/pinwheel-fuzz-abc/upload-crash-def
    """
    needed = ROOT / "ci" / "fuzz" / "requirements.lock"
    install = ("uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", str(FUZZER))
    _run(*TOOL, *install, "--require-hashes", "--requirements", str(needed))
    given = {"seconds": str(seconds), "target": target, "file": file}
    flags = [part for flag, value in given.items() if value for part in (f"--{flag}", value)]
    flags += ["--grow"] if grow else []
    _run(sys.executable, "-P", str(ROOT / "ci" / "fuzz" / "run.py"), *flags, PYTHONPATH=str(FUZZER))


@task
def lock(_context: Context) -> None:
    """Make ci/requirements.lock anew: all dependencies, development tools too, with hashes. And that of the fuzzer.

    Example:
      inv lock
    """
    compiled = (
        *(*TOOL, "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-annotate"),
        *("--python-version", "3.11", "--custom-compile-command", "inv lock", "--upgrade", "--output-file"),
    )
    _run(*compiled, str(LOCK), "--group", "dev", "pyproject.toml")
    _run(*compiled, "ci/fuzz/requirements.lock", "ci/fuzz/requirements.in")


def _run(*argv: str, **environ: str) -> None:
    code = subprocess.run(argv, check=False, cwd=ROOT, env=os.environ | environ).returncode
    if code:
        raise Exit(code=code)


namespace: Collection = cli.collection(test, lint, bench, fuzz, lock)

if __name__ == "__main__":
    cli.program(namespace).run()
