"""The benchmarks' tables: ratios are taken within a round, and what is missing is said and not guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ci.bench import wheels
from ci.bench.figures import PINWHEEL, Figure, Table, document, ratio, rows

from pinwheel import archive


def test_a_ratio_compares_rounds_and_not_medians_so_that_drift_cancels_out() -> None:
    # the machine grew ten times slower after the first round; pinwheel was always twice as fast
    own = Figure("page", PINWHEEL, "requests/s", (200.0, 20.0, 22.0))
    peer = Figure("page", "peer", "requests/s", (100.0, 10.0, 11.0))
    assert ratio((own, peer), peer) == pytest.approx(2.0)


def test_a_figure_is_only_compared_with_pinwheels_at_the_same_task_in_the_same_unit() -> None:
    own = (Figure("rollout", PINWHEEL, "s", (4.0,)), Figure("rollout", PINWHEEL, "CPU s", (1.0,)))
    peer = Figure("rollout", "peer", "CPU s", (2.0,))
    assert ratio((*own, peer), peer) == pytest.approx(0.5)
    other = Figure("nothing to do", "peer", "s", (2.0,))
    assert ratio((*own, other), other) is None


def test_a_missing_tool_is_named_in_the_place_of_its_figures() -> None:
    table = Table("index", (Figure("page", "nginx", "requests/s", missing="install nginx"),))
    assert rows(table)[0][:3] == ("page", "nginx", "not measured: install nginx")
    assert document(table)["figures"][0]["missing"] == "install nginx"
    assert document(table)["figures"][0]["median"] is None


def test_a_wheel_made_by_hand_is_one_that_the_index_would_take(tmp_path: Path) -> None:
    made = wheels.write(tmp_path, "hand-made", "1.0", {"hand_made.py": b""}, scripts={"hand": "hand_made:main"})
    read = archive.read(made, made.name)
    assert (read.name, str(read.version)) == ("hand-made", "1.0")
