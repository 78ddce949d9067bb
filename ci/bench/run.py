"""The benchmarks: python ci/bench/run.py [index|packaging|deploy|all] [--quick] [--json] [--only WORD,…]

Figures are ratios within one run; absolute times mean little on a shared machine. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
# the checkout, where `ci.bench` is found; not this folder, whose modules are nobody's top level
sys.path[:] = [str(HERE.parents[1]), *(path for path in sys.path if path != str(HERE))]

from ci.bench import children, figures, machine  # noqa: E402 - only now can they be found

STATIONS = ("index", "packaging", "deploy")


def main() -> None:
    """Measure the stations that were asked for, and print a table for each as soon as it is there."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("station", nargs="?", choices=(*STATIONS, "all"), default="all")
    parser.add_argument("--quick", action="store_true", help="less of everything: to see that it works")
    parser.add_argument("--json", action="store_true", help="one JSON document at the end, instead of tables")
    parser.add_argument(
        "--only", default="", help="of deploy: sizes of fleets and peers, as in 4,1000,ansible,script-clone"
    )
    given = parser.parse_args()
    only = [word.strip() for word in given.only.split(",") if word.strip()]
    if only and given.station != "deploy":
        parser.error("--only is for deploy alone")
    try:
        import_module("ci.bench.station_deploy").chosen(only)
    except children.BenchFailed as error:
        parser.error(str(error))
    # a polite end must reach the servers that are measured
    signal.signal(signal.SIGTERM, _interrupt)
    # where bytecode may not be written, a checkout's modules would be compiled anew at each start that is measured
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    here = machine.describe()
    before = machine.load()
    if not given.json:
        _print_machine(here, before)
    measured = []
    failed = False
    for station in STATIONS if given.station == "all" else (given.station,):
        folder = Path(tempfile.mkdtemp(prefix=f"pinwheel-bench-{station}-"))
        try:
            measure = import_module(f"ci.bench.station_{station}").table
            table = measure(folder, quick=given.quick, **({"only": only} if only else {}))
            measured.append(table)
            if not given.json:
                _print_table(table)
        except children.BenchFailed as error:
            print(f"\n{station}: {error}", file=sys.stderr)
            failed = True
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    after = machine.load()
    if given.json:
        document = {
            "machine": here,
            "quick": given.quick,
            "load_before": before,
            "load_after": after,
            "tables": [figures.document(table) for table in measured],
        }
        print(json.dumps(document, indent=2))
    else:
        print(f"\nload average after: {after}")
    sys.exit(1 if failed else 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_machine(here: dict[str, Any], load: float) -> None:
    print(f"{here['system']}, {here['cores']} cores of {here['cpu'] or '?'}, {here['memory_mb']:,} MB")
    print(", ".join(f"{name} {version}" for name, version in here["versions"].items()))
    print(f"load average before: {load}")


def _print_table(table: figures.Table) -> None:
    lines = [figures.COLUMNS, *figures.rows(table)]
    # a row that was not measured says why in its third cell, which may run over the rest
    widths = [max(len(line[n]) for line in lines if line[-2] or n < 2) for n in range(len(figures.COLUMNS))]
    print(f"\n{table.station}")
    for line in lines:
        cells = [
            cell.ljust(width) if n < 2 or n == 5 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    for note in table.notes:
        print(f"  - {note}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
