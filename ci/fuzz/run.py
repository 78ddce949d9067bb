"""Fuzz what reads bytes of unknown origin, guided by coverage: both targets at once, each in a process of its own.

Started by `inv fuzz`, with atheris on the path. An input that fails is kept, and `--file` runs it again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = ("archive", "upload")
# seconds and MiB that one input may take, and how many bytes it has at most
LIMITS = ("-timeout=20", "-rss_limit_mb=1024", "-max_len=16384")


def command(target: str, *rest: str) -> tuple[str, ...]:
    script, words = HERE / f"target_{target}.py", HERE / f"{target}.dict"
    return (sys.executable, "-P", str(script), *LIMITS, f"-dict={words}", *rest)


def fuzz(targets: list[str], seconds: int, *, grow: bool) -> int:
    """Look for so long; returns how many targets failed. What fails is kept; other new inputs only to let the corpus
    grow."""
    scratch = Path(tempfile.mkdtemp(prefix="pinwheel-fuzz-"))
    running = {}
    for target in targets:
        found = scratch / f"new-{target}"
        found.mkdir()
        flags = (f"-max_total_time={seconds}", f"-artifact_prefix={scratch}/{target}-", "-print_final_stats=1")
        with (scratch / f"{target}.log").open("wb") as log:
            # what is new goes to the first folder
            folders = (HERE / "corpus" / target, found) if grow else (found, HERE / "corpus" / target)
            argv = command(target, *flags, *map(str, folders))
            running[target] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TMPDIR": str(scratch)}
            )
    failed = [target for target in targets if running[target].wait() != 0]
    for target in targets:
        said = (scratch / f"{target}.log").read_text(errors="replace")
        tried = re.search(r"stat::number_of_executed_units: +(\d+)", said)
        print(f"{target}: {'FAILED' if target in failed else 'held'}, {tried[1] if tried else 'few'} inputs")
        if target in failed:
            print(said[-4000:])
            for file in sorted(scratch.glob(f"{target}-*")):
                print(f"again: inv fuzz --target {target} --file {file}")
    if not failed:
        shutil.rmtree(scratch)
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="inv fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--file", type=Path, help="run the target on this input only")
    parser.add_argument("--grow", action="store_true", help="put what reaches new code into the corpus")
    given = parser.parse_args()
    if given.file:
        if not given.target:
            parser.error("say for which --target")
        return subprocess.run(command(given.target, str(given.file)), check=False).returncode
    return fuzz([given.target] if given.target else list(TARGETS), given.seconds, grow=given.grow)


if __name__ == "__main__":
    sys.exit(main())
