"""Who looks on while hosts are at work: a person at a terminal, a log, or a script."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pinwheel import console
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.rolling import pool
from pinwheel.deploy.showing import outcomes


class Watcher(pool.Watcher, Protocol):
    """A `pool.Watcher` that is told beforehand which hosts there are."""

    def expect(self, names: Sequence[str]) -> None: ...


class Notes:
    """On stderr, only what somebody has to read: the work fills the terminal itself."""

    def expect(self, names: Sequence[str]) -> None:
        pass

    def phase(self, text: str) -> None:
        pass

    def ended(self, outcome: Outcome) -> None:
        pass

    def heard(self, host: str, text: str) -> None:
        pass

    def said(self, text: str) -> None:
        console.say(text)


class Log(Notes):
    """On stderr, without a terminal: a line for each phase and each ending, no more."""

    def __init__(self, progress: console.Progress) -> None:
        self._progress = progress

    def phase(self, text: str) -> None:
        self._progress.update(text)

    def ended(self, outcome: Outcome) -> None:
        for line in outcomes.lines(outcome):
            console.say(line)


class Table(Notes):
    """On a terminal: a row for each host, and above it what somebody has to read."""

    def __init__(self, roster: console.Roster) -> None:
        self._roster = roster

    def expect(self, names: Sequence[str]) -> None:
        self._roster.expect(names)

    def phase(self, text: str) -> None:
        self._roster.phase(text)

    def ended(self, outcome: Outcome) -> None:
        self._roster.finish(outcome.host, outcome.ending)
        if not outcome.good:
            for line in outcomes.lines(outcome):
                console.say(line)

    def heard(self, host: str, text: str) -> None:
        self._roster.update(host, text)


class Script:
    """On stdout: a line of JSON for everything that happens, as it happens."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()

    def expect(self, names: Sequence[str]) -> None:
        self._tell("hosts", hosts=list(names))

    def phase(self, text: str) -> None:
        self._tell("phase", text=text)

    def ended(self, outcome: Outcome) -> None:
        self._tell("ended", **outcomes.document(outcome))

    def heard(self, host: str, text: str) -> None:
        self._tell("heard", name=host, text=text)

    def said(self, text: str) -> None:
        self._tell("said", text=text)

    def _tell(self, event: str, **about: object) -> None:
        with self._one_at_a_time:  # or lines of two threads would run into each other
            console.line({"event": event, **about})


class Relay(Notes):
    """What hosts say, line by line under their names; `tell` takes a line. When nobody reads it any more, `gone` is
    called, and nothing more is told."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()  # hosts speak from threads of their own
        self.gone: Callable[[], None] = lambda: None
        self.read = True

    def heard(self, host: str, text: str) -> None:
        with self._lock:
            if not self.read:
                return
            try:
                self._tell(f"{host} | {text}")
            except OSError:
                self.read = False
                self.gone()


@contextlib.contextmanager
def watching(title: str, *, lines: bool = False, live: bool = True) -> Iterator[Watcher]:
    """Show that `title` is under way, to a script with `lines`, else to a person; nothing when there is no title. Not
    `live` where questions are asked meanwhile."""
    if not title:
        yield Notes()
    elif lines:
        yield Script()
    elif live and sys.stderr.isatty():
        with console.roster(title) as roster:
            yield Table(roster)
    else:
        with console.progress(title, live=False) as progress:
            yield Log(progress)
