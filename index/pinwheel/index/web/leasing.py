"""The routes of leases: one holder of an environment at a time, with a fencing token that only grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pinwheel.index.answers import Answer, Environ, document, query_of
from pinwheel.index.grants import Principal, need
from pinwheel.index.intake.body import bad, json_of, number_of, seconds_of
from pinwheel.index.store.leases import HeldLease, Leases

LONGEST_LEASE_S = 3600.0


class Leasing:
    """Answer for leases. `now` counts seconds since 1970, `stamp` makes RFC 3339 of it."""

    def __init__(self, leases: Leases, now: Callable[[], float], stamp: Callable[[float], str]) -> None:
        self._leases = leases
        self._now = now
        self._stamp = stamp

    def answer(self, environ: Environ, principal: Principal, method: str, environment: str) -> Answer:
        """Who holds it (GET), take it (POST), keep it (PUT), give it back (DELETE). Raises `Stop`, `Denied`."""
        if method == "GET":
            need(principal, "read", "deploy")
        else:
            need(principal, "deploy", environment=environment)
        now = self._now()
        if method == "GET":
            holder = self._leases.holder(environment, now)
            return document(200, {"holder": self._holder(holder, now) if holder else None})
        if method == "DELETE":
            token = number_of(query_of(environ), "token", 0)  # nobody's
            return document(200, {"released": self._leases.release(environment, token, now)})
        sent = json_of(environ)
        ttl_s = seconds_of(sent, "ttl_s", LONGEST_LEASE_S)
        if method == "PUT":
            fencing = sent.get("token")
            renewed = self._leases.renew(environment, fencing, now, ttl_s) if isinstance(fencing, int) else None
            if renewed is None:
                return document(409, {"error": f"that token does not hold {environment}"})
            return document(200, self._leased(renewed, now))
        owner, rollout = sent.get("owner"), sent.get("rollout")
        if not (isinstance(owner, str) and owner and isinstance(rollout, str) and rollout):
            raise bad("owner and rollout are needed")
        ours, held = self._leases.acquire(environment, owner, rollout, now, ttl_s)
        if not ours:
            return document(409, {"error": f"{environment} is held", "holder": self._holder(held, now)})
        return document(200, self._leased(held, now))

    def _leased(self, held: HeldLease, now: float) -> dict[str, Any]:
        return {"token": held.token, **self._holder(held, now)}

    def _holder(self, held: HeldLease, now: float) -> dict[str, Any]:
        return {
            "owner": held.owner,
            "rollout": held.rollout,
            "acquired_at": self._stamp(held.acquired_at),
            "age_s": round(now - held.acquired_at, 3),
            "expires_in_s": round(held.expires_at - now, 3),
        }
