"""The terminal: what counted work says where nobody can see a bar."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sys
from collections.abc import Callable

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


def in_words(drawn: str) -> str:
    """The same without what a terminal does not show."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)


STATUS = ("host", "version", "since", "")
REASON = "reverted 1.2.0 because it was not healthy"


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that makes stdout a terminal of so many columns."""

    def wide(number: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(number))
        monkeypatch.setenv("TERM", "xterm")

    return wide


@pytest.mark.parametrize(
    ("width", "drawn"),
    [
        (70, ["│ web-1 │ 1.1.0   │ 2026-11-28T18:28:03Z │ reverted", "│ web-2 │ 1.1.0   │ 2026-11-28T18:28:05Z │"]),
        (52, ["web-1  1.1.0    2026-11-28T18:28:03Z  reverted", "web-2  1.1.0    2026-11-28T18:28:05Z"]),
        (40, ["web-1", "  version 1.1.0", "  since 2026-11-28T18:28:03Z", "  reverted 1.2.0 because it was not"]),
    ],
)
def test_a_table_breaks_no_word_however_narrow_the_terminal_is(
    width: int, drawn: list[str], columns: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    columns(width)
    rows = [("web-1", "1.1.0", "2026-11-28T18:28:03Z", REASON), ("web-2", "1.1.0", "2026-11-28T18:28:05Z", "")]
    console.table(STATUS, rows)
    lines = in_words(capsys.readouterr().out).splitlines()
    assert all(len(line) <= width for line in lines)
    for begin in drawn:
        assert any(line.startswith(begin) for line in lines), lines
    assert {*REASON.split()} <= {*" ".join(lines).split()}


def test_a_table_on_a_narrow_terminal_cuts_nothing_off(
    columns: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    columns(40)
    path = "/srv/" + "0123456789" * 8
    console.table(("subject", "remedy"), [("[index]", f"chmod 600 {path}")])
    drawn = in_words(capsys.readouterr().out)
    assert drawn.startswith("[index]\n  remedy chmod 600")
    assert path in "".join(drawn.split())


def test_a_board_without_a_terminal_says_one_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    with console.board("release") as board:
        board.update("greet", "building")
        board.update("greet", "")
        board.finish("greet", "released 1.0")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == ["release: greet: building", "release: greet: released 1.0"]


def test_a_board_on_a_terminal_shows_what_is_under_way_and_keeps_what_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with console.board("release", clock=lambda: 0.0) as board:
            board.update("greet", "building")
            board.update("shop", "waits for [greet]")
            board.finish("greet", "released 1.0")
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(master, 65536):
            seen += more
    os.close(master)
    text = in_words(seen.decode())
    assert "release: greet: released 1.0" in text
    assert "shop waits for [greet]" in " ".join(text.split())
    assert "1 under way, 1 ended" in " ".join(text.split())


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], lines: int = 24) -> str:
    """What a terminal of so many lines has seen, in words."""
    master, slave = os.openpty()
    for key, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("LINES", str(lines))):
        monkeypatch.setenv(key, value)
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        act()
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while more := os.read(master, 65536):
            seen += more
    os.close(master)
    return " ".join(in_words(seen.decode()).split())


def test_a_roster_has_a_row_for_each_host_while_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def act() -> None:
        with console.roster("rollout of shop", clock=lambda: 0.0) as roster:
            roster.expect(["h1", "h2", "h3"])
            roster.phase("activate h1")
            roster.finish("h1", "prepared")
            roster.update("h1", "start 1.1.0")
            roster.finish("h2", "prepared")

    seen = on_a_terminal(monkeypatch, act)
    assert "rollout of shop activate h1" in seen
    assert "h1 start 1.1.0 0 s" in seen
    assert "h2 prepared" in seen
    assert "h3 waits" in seen
    assert "1 at work, 1 prepared of 3" in seen, "each counts once"


def test_a_roster_of_a_thousand_hosts_shows_those_at_work_and_counts_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def act() -> None:
        with console.roster("rollout of shop", clock=lambda: 0.0) as roster:
            roster.expect([f"h{number}" for number in range(1000)])
            for number in range(900):
                roster.finish(f"h{number}", "prepared")
            for number in range(900, 964):
                roster.update(f"h{number}", "install")

    seen = on_a_terminal(monkeypatch, act)
    assert "h900 install" in seen
    assert "h899" not in seen
    assert "64 at work, 900 prepared of 1000, 45 more" in seen
