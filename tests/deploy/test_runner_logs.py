"""The errand `logs`: the last lines, what is added, and a rotation between any two of its looks."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tests.deploy.bare import BareHost

from pinwheel.deploy.host.logs import CHUNK_BYTES, Log
from pinwheel.deploy.host.supervisord import Refusal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop-web.log"


def write(file: Path, text: str) -> None:
    with file.open("a") as out:
        out.write(text)


def rotate(file: Path) -> None:
    """As supervisor does it."""
    file.replace(file.with_name(f"{file.name}.1"))
    file.touch()


def read(log: Log, *, whole: bool = True) -> list[str]:
    return list(itertools.chain.from_iterable(log.more(whole)))


def numbered(first: int, after: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, after))


@pytest.mark.parametrize(("lines", "shown"), [(0, []), (2, ["line 8", "line 9"]), (99, numbered(0, 10).splitlines())])
def test_the_last_lines_are_shown(file: Path, lines: int, shown: list[str]) -> None:
    write(file, numbered(0, 10))
    assert read(Log(file, lines, None)) == shown


def test_the_last_lines_of_a_large_log_are_found_from_its_end(file: Path) -> None:
    write(file, "x" * 3 * CHUNK_BYTES + "\n" + numbered(0, 20_000))
    assert read(Log(file, 3, None)) == numbered(19_997, 20_000).splitlines()


def test_lines_that_were_rotated_away_a_moment_ago_are_shown_too(file: Path) -> None:
    write(file, numbered(0, 10))
    rotate(file)
    write(file, numbered(10, 12))
    assert read(Log(file, 4, None)) == numbered(8, 12).splitlines()


def test_a_line_is_followed_once_it_is_whole_and_at_an_end_as_it_is(file: Path) -> None:
    write(file, "begin")
    log = Log(file, 5, None)
    assert read(log) == []
    write(file, " end\nand")
    assert read(log) == ["begin end"]
    assert read(log, whole=False) == ["and"]


def test_nothing_is_lost_or_told_twice_over_rotations_and_an_emptied_file(file: Path) -> None:
    write(file, numbered(0, 3))
    log = Log(file, 0, None)
    write(file, numbered(3, 5))
    told = read(log)
    write(file, numbered(5, 7))
    rotate(file)
    write(file, numbered(7, 9))
    told += read(log)
    rotate(file)
    told += read(log)
    write(file, numbered(9, 10))
    told += read(log)
    file.write_text("")
    told += read(log)
    write(file, numbered(10, 11))
    told += read(log)
    assert told == numbered(3, 11).splitlines()


@pytest.mark.parametrize("rotated", [False, True])
def test_who_was_cut_off_goes_on_where_he_was(file: Path, rotated: bool) -> None:
    write(file, numbered(0, 3))
    log = Log(file, 1, None)
    assert read(log) == ["line 2"]
    write(file, numbered(3, 5))
    if rotated:
        rotate(file)
        write(file, numbered(5, 6))
    assert read(Log(file, 1, log.seen)) == numbered(3, 6 if rotated else 5).splitlines()


def test_a_log_without_an_end_of_line_does_not_fill_the_memory(file: Path) -> None:
    write(file, "x" * 5 * CHUNK_BYTES)
    log = Log(file, 5, None)
    assert sum(map(len, read(log))) >= 4 * CHUNK_BYTES
    assert len(log._rest) < CHUNK_BYTES


def test_the_runner_sends_the_lines_of_the_program_that_was_asked_for(host: BareHost) -> None:
    folder = host.root / "apps/shop/log"
    for name in ("shop-web_00", "shop-web_01", "shop-web@blue", "shop-webhook", "shop-web@home"):
        write(folder / f"{name}.log", f"{name} speaks\n")
    body = {"application": "shop", "program": "shop-web", "lines": 5, "follow": False, "seen": {}}
    asked = host.start("logs", body)
    assert asked.end()["logs"] == ["shop-web@blue", "shop-web_00", "shop-web_01"]
    told = [each for each in asked.said if each["type"] == "log"]
    assert [(each["process"], each["lines"]) for each in told] == [
        ("shop-web@blue", ["shop-web@blue speaks"]),
        ("shop-web_00", ["shop-web_00 speaks"]),
        ("shop-web_01", ["shop-web_01 speaks"]),
    ]


def test_following_needs_no_lock_sees_new_logs_and_ends_with_stdin(host: BareHost) -> None:
    host.fence = 0
    body = {"application": "shop", "program": "", "lines": 5, "follow": True, "seen": {}}
    write(host.log, "first\n")
    asked = host.start("logs", body)
    assert asked.hear("log")["lines"] == ["first"]
    write(host.log, "second\n")
    assert asked.hear("log")["lines"] == ["second"]
    write(host.log.with_name("shop-worker.log"), "third\n")
    assert (asked.hear("log")["process"], asked.said[-1]["lines"]) == ("shop-worker", ["third"])
    asked.close_stdin()
    assert asked.end()["type"] == "result"


def test_an_application_that_was_never_here_has_no_logs(host: BareHost) -> None:
    body = {"application": "other", "program": "", "lines": 5, "follow": False, "seen": {}}
    with pytest.raises(Refusal, match="other was never here"):
        host.do("logs", body)
