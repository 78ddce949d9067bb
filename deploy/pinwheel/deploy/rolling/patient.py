"""A ledger's sink that a rollout does not wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pinwheel.errors import PinwheelError
from pinwheel.events import Event
from pinwheel.ledger import Sink, SinkRefused, SinkUnreachable


class Patient:
    """A sink that, once it did not take what it was given, is left alone for a while: events wait in the spool
    meanwhile, and a rollout neither waits for a timeout at each of them nor complains at each."""

    def __init__(self, sink: Sink, wait_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._wait_s = wait_s
        self._clock = clock
        self._not_before = float("-inf")

    def record(self, events: Sequence[Event]) -> None:
        """As `pinwheel.ledger.Sink`."""
        if self._clock() < self._not_before:
            raise SinkUnreachable("the index did not take events a moment ago")
        try:
            self._sink.record(events)
        except SinkRefused:
            raise  # about one event, and no reason to keep back the others
        except PinwheelError:
            self._not_before = self._clock() + self._wait_s
            raise
