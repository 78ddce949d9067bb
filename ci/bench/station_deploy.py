"""Deploy: rollouts on hosts with sshd and supervisord against the peers and the limit, and a thousand simulated hosts.

Where there can be no root lab, and with --quick, on three rootless hosts against Fabric with uv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ci.bench.children import BenchFailed
from ci.bench.figures import Table
from ci.bench.rollouts import many, real, rootless, subjects
from ci.bench.rollouts.subjects import Peer
from ci.bench.rounds import Taken
from tests.lab import rootlab

SIZES = (4, 10)
ROUNDS = 3
ROOTLESS_ROUNDS, QUICK_ROUNDS = 5, 1
SIMULATED, QUICK_SIMULATED = 1_000, 50
SIMULATED_ROUNDS = 3


def table(folder: Path, *, quick: bool, only: Sequence[str] = ()) -> Table:
    """Measure in `folder`, which is empty and is the caller's to remove.

    `only` has sizes of fleets (1000 is the simulated one) and keys of peers; without one of a kind, all of it.
    """
    sizes, peers = chosen(only)
    taken = Taken()
    notes: tuple[str, ...] = ()
    missing = rootlab.requirements()
    if quick or missing:
        notes += rootless.measure(taken, folder / "rootless", QUICK_ROUNDS if quick else ROOTLESS_ROUNDS)
        if not quick:
            notes += (f"not on the root lab, with more peers, which needs {', '.join(missing)}",)
    elif real_sizes := [size for size in sizes if size != SIMULATED]:
        notes += real.measure(taken, folder / "real", real_sizes, peers, ROUNDS)
    if quick:
        notes += many.measure(taken, folder / "many", QUICK_SIMULATED, 1)
    elif SIMULATED in sizes:
        notes += many.measure(taken, folder / "many", SIMULATED, SIMULATED_ROUNDS)
    return Table("deploy", taken.figures(), notes)


def chosen(only: Sequence[str]) -> tuple[list[int], list[Peer]]:
    """The sizes and the peers that these words name, all where they name none. Raises `BenchFailed`."""
    peers = {peer.key: peer for peer in subjects.peers()}
    wrong = [word for word in only if not word.isdecimal() and word not in peers]
    if wrong:
        raise BenchFailed(f"--only takes sizes of fleets, and {', '.join(peers)}; not {wrong[0]}")
    sizes = [int(word) for word in only if word.isdecimal()] or [*SIZES, SIMULATED]
    return sizes, [peers[word] for word in peers if word in only] or list(peers.values())
