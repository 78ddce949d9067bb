"""The terminal: what counted work says where nobody can see a bar."""

from __future__ import annotations

import itertools
import sys

import pytest

from pinwheel import console


def test_counted_work_says_from_time_to_time_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    ticks = itertools.count(0.0, console.TALLY_EVERY_S / 2)
    with console.counted("copying", 6, "files", clock=lambda: next(ticks)) as progress:
        for _ in range(5):
            progress.advance()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == ["copying: 2 of 6 files, 0/s", "copying: 4 of 6 files, 0/s"]


def test_work_that_is_soon_done_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.counted("copying", 1000, "files", clock=lambda: 0.0) as progress:
        progress.advance(1000)
    assert capsys.readouterr().err == ""


def test_a_table_on_a_narrow_terminal_cuts_nothing_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    path = "/srv/" + "0123456789" * 8
    console.table(("subject", "remedy"), [("index", f"chmod 600 {path}")])
    drawn = capsys.readouterr().out
    assert "…" not in drawn
    assert path in "".join(line.split("│")[2].strip() for line in drawn.splitlines() if "│" in line)
