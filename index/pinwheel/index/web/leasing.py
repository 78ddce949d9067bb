"""The routes of leases: one holder of an environment at a time, with a fencing token that only grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packaging.utils import canonicalize_name

from pinwheel.index.answers import Answer, Environ, document, query_of
from pinwheel.index.grants import Denied, Principal, need
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
        """Who holds it (GET), take it (POST), keep it (PUT), give it back (DELETE). Raises `Stop`, `Denied`.

        It is taken for the `projects` that are named, each of which the principal must be allowed to deploy there.
        When none is named it is for all of them.
        """
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
            return document(200, self._holder(renewed, now))
        owner, rollout = sent.get("owner"), sent.get("rollout")
        if not (isinstance(owner, str) and owner and isinstance(rollout, str) and rollout):
            raise bad("owner and rollout are needed")
        self._for_projects(principal, sent.get("projects", []), environment)
        ours, held = self._leases.acquire(environment, owner, rollout, now, ttl_s)
        if not ours:
            return document(409, {"error": f"{environment} is held", "holder": self._holder(held, now)})
        return document(200, self._holder(held, now))

    @staticmethod
    def _for_projects(principal: Principal, projects: object, environment: str) -> None:
        if not isinstance(projects, list) or not all(isinstance(each, str) and each for each in projects):
            raise bad("projects is not a list of names")
        for each in projects:
            need(principal, "deploy", project=canonicalize_name(each), environment=environment)
        if not projects and not any(
            grant.scope in ("deploy", "admin") and "*" in grant.projects and grant.covers("", environment)
            for grant in principal.grants
        ):
            raise Denied(f"this is about every project in the environment {environment}", unnamed=False)

    def _holder(self, held: HeldLease, now: float) -> dict[str, Any]:
        return {
            "token": held.token,
            "owner": held.owner,
            "rollout": held.rollout,
            "acquired_at": self._stamp(held.acquired_at),
            "age_s": round(now - held.acquired_at, 3),
            "expires_in_s": round(held.expires_at - now, 3),
        }
