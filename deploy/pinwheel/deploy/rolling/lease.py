"""Hold the environment's lease for as long as a rollout lasts: renewed from a thread, its end known without asking."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from pinwheel.errors import PinwheelError, Refused
from pinwheel.ledger import SinkUnreachable

TTL_S = 45.0
"""After a controller's death nobody waits longer than this (promise D4: 60 s)."""

RENEW_S = 10.0


class Granted(Protocol):
    """A lease as the index grants it. `token` is the fencing token: it only ever grows."""

    @property
    def token(self) -> int: ...


L = TypeVar("L", bound=Granted)


class Leases(Protocol[L]):
    """Where leases come from. The index client is the real one."""

    def acquire_lease(
        self, environment: str, owner: str, rollout: str, ttl_s: float, projects: Sequence[str] = ()
    ) -> L: ...
    def renew_lease(self, lease: L, ttl_s: float) -> L: ...
    def release_lease(self, lease: L) -> None: ...


class Held(Generic[L]):
    """A lease that is ours until it is lost. Once lost it stays lost."""

    def __init__(self, granted: L, asked_at: float, ttl_s: float, clock: Callable[[], float]) -> None:
        self.granted = granted
        self._until = asked_at + ttl_s
        self._clock = clock
        self._ttl_s = ttl_s
        self._lost = False

    @property
    def token(self) -> int:
        return self.granted.token

    def valid(self) -> bool:
        """Is it surely ours now? Its time counts from before we asked, so we never believe longer than the index."""
        return not self._lost and self._clock() < self._until

    def renew(self, leases: Leases[L]) -> bool:
        """Ask for more time; False once it is lost. An index that does not answer takes nothing away until our
        time has run out."""
        asked_at = self._clock()
        try:
            self.granted = leases.renew_lease(self.granted, self._ttl_s)
        except SinkUnreachable:
            return self.valid()
        except PinwheelError:  # fenced, or our credential is no longer good: either way nobody renews this any more
            self._lost = True
            return False
        self._until = asked_at + self._ttl_s
        return True


def seconds() -> float:
    """Seconds since the machine was started, those in suspend too: a lease runs out meanwhile, and `time.monotonic`
    would not tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def hold(
    leases: Leases[L],
    environment: str,
    owner: str,
    rollout: str,
    projects: Sequence[str] = (),
    *,
    said: Callable[[str], None],
    ttl_s: float = TTL_S,
    renew_s: float = RENEW_S,
    clock: Callable[[], float] = seconds,
) -> Iterator[Held[L]]:
    """Take the lease for `projects` (all when there are none), renew it every `renew_s`, and give it back at the end,
    however that comes.

    What was done under it is done: when it cannot be given back, `said` is told, and nothing raised.
    Raises what `acquire_lease` raises, above all a `Refused` that names the holder.
    """
    asked_at = clock()
    held = Held(leases.acquire_lease(environment, owner, rollout, ttl_s, projects), asked_at, ttl_s, clock)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(renew_s):
            if not held.renew(leases):
                return

    thread = threading.Thread(target=renew, name=f"lease of {environment}", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()
        try:
            leases.release_lease(held.granted)
        except Refused:
            pass  # somebody else took it over
        except PinwheelError as error:
            said(f"the lease of {environment} ends by itself within {ttl_s:g} s: {error.problem}")
