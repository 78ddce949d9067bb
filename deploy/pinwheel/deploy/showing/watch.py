"""The operator's terminal while hosts are at work: a live line with what happens now, and a line for each ending."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from pinwheel import console
from pinwheel.deploy.planning.gate import Outcome
from pinwheel.deploy.showing.present import outcome_lines


class Terminal:
    """`execute.Watcher` on stderr. Without a terminal there is a line for each phase and each ending, no more."""

    def __init__(self, progress: console.Progress, *, live: bool) -> None:
        self._progress = progress
        self._live = live

    def phase(self, text: str) -> None:
        self._progress.update(text)

    def ended(self, outcome: Outcome) -> None:
        for line in outcome_lines(outcome):
            console.say(line)

    def heard(self, host: str, text: str) -> None:
        if self._live and text:
            self._progress.update(f"{host}: {text}")

    def said(self, text: str) -> None:
        console.say(text)


@contextlib.contextmanager
def watching(title: str) -> Iterator[Terminal]:
    """Show that `title` is under way."""
    with console.progress(title) as progress:
        yield Terminal(progress, live=sys.stderr.isatty())
