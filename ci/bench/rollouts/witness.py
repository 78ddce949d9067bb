"""A client of every host while a rollout goes on: for how long does the application not answer well?"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ci.bench import children

EVERY_S = 0.05
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: when it was sent and answered (monotonic clock), and whether the answer was 200."""

    sent_s: float
    answered_s: float
    good: bool


@dataclass(slots=True)
class Witness:
    """What was seen of each host, in order."""

    seen: dict[str, list[Seen]] = field(default_factory=dict)

    def without_answer_s(self) -> float:
        """Seconds without a good answer, on average of the hosts."""
        return sum(silence_s(seen) for seen in self.seen.values()) / len(self.seen)

    def unsafe_s(self) -> float:
        """From the first answer that was not good, on any host, until all were good again; 0 when all were."""
        bad = [each for seen in self.seen.values() for each in seen if not each.good]
        return max(each.answered_s for each in bad) - min(each.sent_s for each in bad) if bad else 0.0


def silence_s(seen: list[Seen]) -> float:
    """From each bad request to the next good answer, or to the last one there is."""
    total, began = 0.0, None
    for each in seen:
        if not each.good and began is None:
            began = each.sent_s
        elif each.good and began is not None:
            total, began = total + each.answered_s - began, None
    return total + (seen[-1].answered_s - began if began is not None else 0.0)


@contextlib.contextmanager
def watching(urls: Mapping[str, str]) -> Iterator[Witness]:
    """Ask each host's address for the time of the context."""
    witness = Witness({name: [] for name in urls})
    over = threading.Event()

    def ask(name: str) -> None:
        while not over.is_set():
            sent_s = time.monotonic()
            good = children.fetch(urls[name], timeout_s=PATIENCE_S)[0] == 200
            witness.seen[name].append(Seen(sent_s, time.monotonic(), good))
            over.wait(max(0.0, sent_s + EVERY_S - time.monotonic()))

    threads = [threading.Thread(target=ask, args=(name,)) for name in urls]
    for thread in threads:
        thread.start()
    try:
        yield witness
    finally:
        over.set()
        for thread in threads:
            thread.join()
