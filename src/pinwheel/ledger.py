"""Write events down: to the index, and when it is out of reach to a spool that is delivered later.

None lost, none twice: an event is fsynced into the spool before the sink is asked, leaves the spool only after
the sink has taken it, and carries an id by which the sink knows it again.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pinwheel import console
from pinwheel.errors import PinwheelError
from pinwheel.events import Event, from_document

REFUSED = "refused"


class SinkUnreachable(PinwheelError):
    """The sink did not answer; the events stay in the spool."""


class SinkRefused(PinwheelError):
    """The sink will never take what it was given, by whomever it is sent."""


class Sink(Protocol):
    """Where events end up. The index client is the real one."""

    def record(self, events: Sequence[Event]) -> None:
        """Take all of `events`, or none and raise. Events already known are taken silently.

        Raises `SinkUnreachable`, `SinkRefused`, and other `PinwheelError`s when our credential does not suffice.
        """


class Ledger:
    """Append events on behalf of `actor`; `spool` holds what `sink` has not taken yet.

    One spool belongs to one sink: what waits for one index must not be told to another.
    """

    def __init__(self, sink: Sink, spool: Path, actor: str = "") -> None:
        self._sink = sink
        self._spool = spool
        self._actor = actor or f"{getpass.getuser()}@{socket.gethostname()}"

    def append(self, kind: str, subject: str, **about: object) -> Event:
        """Record one event and return it. Never raises because of its delivery: the act that it tells of is done."""
        event = from_document(
            {
                "id": uuid.uuid4().hex,
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "kind": kind,
                "actor": self._actor,
                "subject": subject,
                **about,
            }
        )
        try:
            self._write(event)
        except OSError as error:
            self._without_spool(event, error)
        else:
            self.deliver()
        return event

    def deliver(self) -> int:
        """Send what the spool holds, oldest first. Returns how many events still wait."""
        waiting = [(file, event) for file in sorted(self._spool.glob("*.json")) if (event := self._read(file))]
        if not waiting:
            return 0
        try:
            self._sink.record([event for _, event in waiting])
        except SinkUnreachable:
            return len(waiting)
        except SinkRefused as error:
            if len(waiting) > 1:
                return sum(self._deliver_one(*each) for each in waiting)
            self._set_aside(waiting[0][0], error.problem)
            return 0
        except PinwheelError as error:
            # our credential, today: somebody who may can deliver them later
            console.say(f"{len(waiting)} events wait, because the index does not take them: {error.problem}")
            return len(waiting)
        for file, _ in waiting:
            file.unlink(missing_ok=True)
        return 0

    def _deliver_one(self, file: Path, event: Event) -> int:
        """Send one event; 1 when it still waits."""
        try:
            self._sink.record([event])
        except SinkRefused as error:
            self._set_aside(file, error.problem)
            return 0
        except PinwheelError:
            return 1
        file.unlink(missing_ok=True)
        return 0

    def _write(self, event: Event) -> None:
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        final = self._spool / f"{time.time_ns():020d}-{event.id}.json"  # sorts by time, also within a millisecond
        partial = final.with_suffix(".tmp")
        with partial.open("w") as file:
            json.dump(event.document(), file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(final)  # rename last: a reader must never see half an event
        folder = os.open(self._spool, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _without_spool(self, event: Event, error: OSError) -> None:
        """The spool cannot be written: the sink is the only place left."""
        try:
            self._sink.record([event])
        except PinwheelError as also:
            console.say(f"the event {event.kind} is lost: {self._spool}: {error.strerror}; the index: {also.problem}")

    def _read(self, file: Path) -> Event | None:
        """The event in `file`; None when another process has delivered it meanwhile, or when it is none."""
        try:
            return from_document(json.loads(file.read_text()))
        except FileNotFoundError:
            return None  # the sink knows it by its id
        except ValueError as error:
            self._set_aside(file, str(error))
            return None

    def _set_aside(self, file: Path, why: str) -> None:
        """Keep what cannot be delivered, out of the way of what can."""
        aside = self._spool / REFUSED
        aside.mkdir(exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            file.rename(aside / file.name)
            console.say(f"an event cannot be delivered and was put aside: {aside / file.name}: {why}")


def spools(environ: Mapping[str, str]) -> Path:
    """The folder of all spools: `$XDG_STATE_HOME/pinwheel/spool`, by default under `~/.local/state`."""
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "pinwheel" / "spool"


def default_spool(environ: Mapping[str, str], url: str) -> Path:
    """The folder of the spool for the sink at `url`."""
    return spools(environ) / hashlib.sha256(url.encode()).hexdigest()[:16]
