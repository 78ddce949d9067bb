"""Who looks on: what a person at a terminal gets to read, and what stays in the table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.showing.watch import Table, watching


class Rows:
    """A roster in memory."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def expect(self, names: Sequence[str]) -> None:
        self.told.append(("expect", *names))

    def phase(self, text: str) -> None:
        self.told.append(("phase", text))

    def update(self, who: str, what: str) -> None:
        self.told.append((who, what))

    def finish(self, who: str, how: str) -> None:
        self.told.append((who, how))


def test_a_table_shows_every_host_and_says_aloud_only_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows()
    table = Table(rows)
    table.expect(["h1", "h2"])
    table.phase("activate h1")
    table.heard("h1", "start 1.1.0")
    table.ended(Outcome("h1", Ending.ACTIVATED))
    table.ended(Outcome("h2", Ending.REVERTED, "it is not healthy", "look at it", shown="Traceback: boom"))
    assert rows.told == [
        ("expect", "h1", "h2"),
        ("phase", "activate h1"),
        ("h1", "start 1.1.0"),
        ("h1", "activated"),
        ("h2", "reverted"),
    ]
    said = capsys.readouterr().err
    assert "h1" not in said
    assert "h2: reverted: it is not healthy" in said
    assert "| Traceback: boom" in said


def test_without_a_terminal_every_ending_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with watching("rollout of shop") as log:
        log.expect(["h1"])
        log.phase("activate h1")
        log.heard("h1", "start 1.1.0")
        log.ended(Outcome("h1", Ending.ACTIVATED, seconds=0.5))
    assert capsys.readouterr().err.splitlines()[-2:] == ["rollout of shop: activate h1", "  h1: activated in 0.5 s"]
