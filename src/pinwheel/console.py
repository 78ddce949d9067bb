"""The terminal: messages and progress on stderr, data on stdout. Colours and live lines only on a terminal.

Messages and progress never fail: whoever reads them may go away (`… 2>&1 | head`, a terminal that is closed), and the
work goes on. Data that cannot be written is an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pinwheel import ci_log

TALLY_EVERY_S = 5.0


class Progress(Protocol):
    """A piece of work that reports what it is doing now."""

    def update(self, text: str) -> None: ...


class Counted(Protocol):
    """A piece of work of known size that reports how much of it is done."""

    def advance(self, by: int = 1) -> None: ...


class Board(Protocol):
    """Several pieces of work at once, each under a name; threads may report at the same time."""

    def update(self, who: str, what: str) -> None:
        """Say what `who` is doing now; nothing any more when `what` is empty."""

    def finish(self, who: str, what: str) -> None:
        """Say how `who` has ended."""


class Roster(Protocol):
    """Many hosts that are worked on together; threads may report at the same time."""

    def expect(self, names: Sequence[str]) -> None:
        """Who there is."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""

    def update(self, who: str, what: str) -> None:
        """Say what `who` is doing now."""

    def finish(self, who: str, how: str) -> None:
        """Say how `who` has ended, in a word; it may begin again."""


class _Lines:
    """Progress without a terminal: one plain line for each change."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = ""

    def update(self, text: str) -> None:
        if text != self._last:
            self._last = text
            say(f"{self._title}: {text}")


class _Live:
    """Progress on a terminal: a spinner whose text changes."""

    def __init__(self, title: str, status: Any) -> None:
        self._title = title
        self._status = status

    def update(self, text: str) -> None:
        from rich.markup import escape

        with _unheard():
            self._status.update(f"{escape(self._title)}: [dim]{escape(text)}[/dim]")


class _PlainBoard:
    """A board without a terminal: one plain line for each change."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = threading.Lock()

    def update(self, who: str, what: str) -> None:
        with self._lock:  # or lines of two threads would run into each other
            if what:
                say(f"{self._title}: {who}: {what}")

    finish = update


class _LiveBoard:
    """A board on a terminal: a line with a spinner for each piece that is under way, below what has ended."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._title = title
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, tuple[str, float]] = {}
        self._ended = 0
        self._spinner = Spinner("dots")
        self._console = Console(stderr=True)
        self.live = Live(get_renderable=self._drawn, console=self._console, transient=True, refresh_per_second=8)

    def update(self, who: str, what: str) -> None:
        with self._lock:
            if what:
                self._lines[who] = (what, self._clock())
            else:
                self._lines.pop(who, None)

    def finish(self, who: str, what: str) -> None:
        self.update(who, "")
        self._ended += 1
        with _unheard():
            self._console.print(f"{self._title}: {who}: {what}", markup=False, highlight=False)

    def _drawn(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            lines = list(self._lines.items())
        drawn = Table.grid(padding=(0, 1))
        for who, (what, since) in lines:
            age = Text(f"{self._clock() - since:.0f} s", style="dim")
            drawn.add_row(self._spinner, Text(who), Text(what, style="dim", overflow="ellipsis", no_wrap=True), age)
        drawn.add_row("", Text(f"{len(lines)} under way, {self._ended} ended", style="dim"))
        return drawn


class _LiveRoster:
    """A roster on a terminal: a row for each host while they fit, else for those at work; and how many ended how."""

    AROUND = 5
    """Lines of the terminal that are left free."""

    def __init__(self, title: str, clock: Callable[[], float]) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._title = title
        self._phase = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[str, float]] = {}
        self._ended: dict[str, str] = {}
        self._spinner = Spinner("dots")
        self._console = Console(stderr=True)
        self.live = Live(get_renderable=self._drawn, console=self._console, transient=True, refresh_per_second=8)

    def expect(self, names: Sequence[str]) -> None:
        with self._lock:
            self._ended = dict.fromkeys(names, "")

    def phase(self, text: str) -> None:
        self._phase = text

    def update(self, who: str, what: str) -> None:
        with self._lock:
            since = self._rows[who][1] if who in self._rows else self._clock()
            self._rows[who] = (what, since)

    def finish(self, who: str, how: str) -> None:
        with self._lock:
            self._rows.pop(who, None)
            self._ended[who] = how

    def _drawn(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows, ended = dict(self._rows), dict(self._ended)
        drawn = Table.grid(padding=(0, 1))
        counts: dict[str, int] = {}
        for how in (how for who, how in ended.items() if how and who not in rows):
            counts[how] = counts.get(how, 0) + 1
        tally = ", ".join([f"{len(rows)} at work", *(f"{number} {how}" for how, number in counts.items())])
        drawn.add_row("", Text(self._title), Text(self._phase, overflow="ellipsis", no_wrap=True), "")
        room = max(1, self._console.height - self.AROUND)
        shown = list(ended) if len(ended) <= room else list(rows)
        for who in shown[:room]:
            if who in rows:
                what, since = rows[who]
                age = Text(f"{self._clock() - since:.0f} s", style="dim")
                drawn.add_row(self._spinner, Text(who), Text(what, overflow="ellipsis", no_wrap=True), age)
            else:
                drawn.add_row("", Text(who), Text(ended[who] or "waits", style="dim"), "")
        more = f", {len(shown) - room} more" if len(shown) > room else ""
        drawn.add_row("", "", Text(f"{tally} of {len(ended)}{more}", style="dim"), "")
        return drawn


class _Tally:
    """Counted work without a terminal: a plain line from time to time."""

    def __init__(self, title: str, total: int, unit: str, clock: Callable[[], float]) -> None:
        self._title = title
        self._total = total
        self._unit = unit
        self._clock = clock
        self._done = 0
        self._begun = self._told = clock()

    def advance(self, by: int = 1) -> None:
        self._done += by
        now = self._clock()
        if now - self._told >= TALLY_EVERY_S:
            self._told = now
            rate = self._done / (now - self._begun)
            say(f"{self._title}: {self._done} of {self._total} {self._unit}, {rate:.0f}/s")


class _Bar:
    """Counted work on a terminal: a bar that fills."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, by: int = 1) -> None:
        with _unheard():
            self._bar.advance(self._task, by)


def say(text: str) -> None:
    """One message for a person, on stderr."""
    with _unheard():
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def somebody() -> bool:
    """Is there a person at a terminal who can be asked?"""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> str:
    """The line that a person answers; empty at the end of input. Ctrl-C is an answer, whatever it means meanwhile."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # first: who sees the question may answer at once
    try:
        print(question, end=" ", file=sys.stderr, flush=True)  # noqa: T201
        return sys.stdin.readline().strip()
    finally:
        signal.signal(signal.SIGINT, before)


def data(text: str) -> None:
    """One line of data, on stdout."""
    print(text, flush=True)  # noqa: T201


def annotate(level: ci_log.Level, text: str, file: str = "") -> None:
    """Show `text` with the change, in a CI system that can."""
    if line := ci_log.annotation(ci_log.system(os.environ), level, text, file):
        say(line)


def summarise(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Add a table to the summary of the CI job, where there is one."""
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if file and ci_log.system(os.environ) == "github":
        text = ci_log.markdown(columns, [[str(cell) for cell in row] for row in rows], title)
        with contextlib.suppress(OSError), Path(file).open("a") as out:
            out.write(text)


@contextlib.contextmanager
def group(title: str) -> Iterator[None]:
    """Fold what is said meanwhile, in a CI system that can. Groups do not nest."""
    of = ci_log.system(os.environ)
    if of:
        say(ci_log.opening(of, title, time.time()))
    try:
        yield
    finally:
        if of:
            say(ci_log.closing(of, title, time.time()))


_documents = 0


def document(value: Any) -> None:
    """One JSON document, on stdout."""
    global _documents
    _documents += 1
    data(json.dumps(value, indent=2, sort_keys=False, default=str))


def line(value: Any) -> None:
    """One JSON document in a line of its own, on stdout: for whoever reads while it happens."""
    data(json.dumps(value, sort_keys=False, default=str))


def documents() -> int:
    """How many documents this process has printed: a task with `--json` prints exactly one, also when it fails."""
    return _documents


@contextlib.contextmanager
def progress(title: str, *, live: bool = True) -> Iterator[Progress]:
    """Show that `title` is under way: a spinner on a terminal, plain lines elsewhere and when it is not `live`."""
    if not (live and sys.stderr.isatty()):
        with group(title):
            yield _Lines(title)
        return
    from rich.console import Console

    status = Console(stderr=True).status(title)
    with _drawing(status):
        yield _Live(title, status)


@contextlib.contextmanager
def board(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Board]:
    """Show several pieces of work at once: a live line for each on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _PlainBoard(title)
        return
    drawn = _LiveBoard(title, clock)
    with _drawing(drawn.live):
        yield drawn


@contextlib.contextmanager
def roster(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Roster]:
    """Show hosts that are worked on together, on a terminal; elsewhere there is none."""
    drawn = _LiveRoster(title, clock)
    with _drawing(drawn.live):
        yield drawn


@contextlib.contextmanager
def counted(title: str, total: int, unit: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Counted]:
    """Show how much of `total` is done: a bar on a terminal, a plain line every few seconds elsewhere."""
    if not sys.stderr.isatty():
        yield _Tally(title, total, unit, clock)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=total)
    with _drawing(bar):
        yield _Bar(bar, task)


@contextlib.contextmanager
def _drawing(display: Any) -> Iterator[None]:
    """Draw one of rich's live displays for as long as the block lasts."""
    with _unheard():
        display.start()
    try:
        yield
    finally:
        with _unheard():
            display.stop()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Go on when nobody reads stderr any more; from then on it leads nowhere."""
    try:
        yield
    except OSError:
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """A table on stdout: drawn by rich on a terminal, aligned plain text elsewhere; in the summary of a CI job too.

    On a terminal that is too narrow for its words it loses its lines first, and then its columns.
    """
    summarise(columns, rows, title)
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, cells, title)
        return
    if title:
        data(title)
    widths = [max(len(cell) for cell in column) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """A table on a terminal, as no word has to be broken; else each row as a paragraph."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for lines in (box.HEAVY_HEAD, None):
        drawn = Table(title=title or None, box=lines, padding=(0, 1) if lines else (0, 2, 0, 0), pad_edge=bool(lines))
        for number, column in enumerate(columns):
            # rich's own way cuts paths and remedies off, and breaks dates while sentences could be broken
            prose = any(" " in row[number] for row in rows)
            drawn.add_column(column, overflow="fold", no_wrap=not prose)
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        if Measurement.get(console, console.options.update(max_width=10_000), drawn).minimum <= console.width:
            console.print(drawn)
            return
    if title:
        console.print(Text(title, style="italic"))
    for first, *others in rows:
        console.print(Text(first, style="bold", overflow="fold"))
        console.print(_paragraph(columns[1:], others, console.width))


def _paragraph(columns: Sequence[str], cells: Sequence[str], width: int) -> Any:
    """Each cell behind its column's name, as many in a line as fit."""
    from rich.padding import Padding
    from rich.text import Text

    lines = [Text()]
    for column, cell in zip(columns, cells, strict=True):
        if not cell:
            continue
        told = Text.assemble((f"{column} " if column else "", "dim"), cell)
        if lines[-1] and lines[-1].cell_len + 2 + told.cell_len > width - 2:
            lines.append(Text())
        lines[-1] = Text("  ").join([lines[-1], told]) if lines[-1] else told
    return Padding(Text("\n", overflow="fold").join(lines), (0, 0, 0, 2), expand=False)
