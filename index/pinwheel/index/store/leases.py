"""The leases on environments: who may roll out, with a fencing token that only ever grows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Row, and_, func, select

from pinwheel.index.store.database import Database, epoch
from pinwheel.index.store.tables import leases


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Who has an environment. Times count seconds since 1970 by the index's clock."""

    environment: str
    token: int
    owner: str
    rollout: str
    acquired_at: float
    expires_at: float


class Leases(Protocol):
    """The leases. A contract test runs against each store that there is."""

    def acquire(self, environment: str, owner: str, rollout: str, now: float, ttl_s: float) -> tuple[bool, HeldLease]:
        """Take the environment unless somebody holds it. Returns whether it is now ours, and who holds it."""

    def renew(self, environment: str, token: int, now: float, ttl_s: float) -> HeldLease | None:
        """Hold it for longer; None when that token does not hold it (any more)."""

    def release(self, environment: str, token: int, now: float) -> bool:
        """Give it back; False when that token did not hold it."""

    def holder(self, environment: str, now: float) -> HeldLease | None:
        """Who has the environment now."""

    def held(self, now: float) -> int:
        """How many environments somebody has now."""


class DatabaseLeases:
    """`Leases` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, environment: str, owner: str, rollout: str, now: float, ttl_s: float) -> tuple[bool, HeldLease]:
        with self._database.writing() as connection:
            row = _lease_row(connection, environment)
            if row is not None and row.expires_at > now:
                return False, _lease(row)
            # above the epoch: after a restore the row may be older than tokens that hosts have seen
            token = max(row.token if row else 0, epoch(connection)) + 1
            held = HeldLease(environment, token, owner, rollout, now, now + ttl_s)
            values = {
                "token": held.token,
                "owner": owner,
                "rollout": rollout,
                "acquired_at": now,
                "expires_at": held.expires_at,
            }
            if row is None:
                connection.execute(leases.insert().values(environment=environment, **values))
            else:
                connection.execute(leases.update().where(leases.c.environment == environment).values(**values))
            return True, held

    def renew(self, environment: str, token: int, now: float, ttl_s: float) -> HeldLease | None:
        with self._database.writing() as connection:
            row = _lease_row(connection, environment)
            # once it ran out the holder must not go on, even when nobody has taken it since
            if row is None or row.token != token or row.expires_at <= now:
                return None
            update = leases.update().where(leases.c.environment == environment)
            connection.execute(update.values(expires_at=now + ttl_s))
            return HeldLease(environment, token, row.owner, row.rollout, row.acquired_at, now + ttl_s)

    def release(self, environment: str, token: int, now: float) -> bool:
        with self._database.writing() as connection:
            held = and_(leases.c.environment == environment, leases.c.token == token, leases.c.expires_at > now)
            if connection.execute(select(leases.c.token).where(held)).first() is None:
                return False
            connection.execute(leases.update().where(held).values(expires_at=now))
            return True

    def holder(self, environment: str, now: float) -> HeldLease | None:
        with self._database.reading() as connection:
            row = _lease_row(connection, environment)
            return _lease(row) if row is not None and row.expires_at > now else None

    def held(self, now: float) -> int:
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).where(leases.c.expires_at > now)).scalar_one()


def _lease_row(connection: Connection, environment: str) -> Row[Any] | None:
    return connection.execute(select(leases).where(leases.c.environment == environment)).first()


def _lease(row: Row[Any]) -> HeldLease:
    return HeldLease(row.environment, row.token, row.owner, row.rollout, row.acquired_at, row.expires_at)
