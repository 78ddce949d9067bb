"""The other records: tokens, leases, events and attachments. Each method is one transaction."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, true

from pinwheel.index.database import Database, epoch
from pinwheel.index.records import insert_event, raised
from pinwheel.index.tables import attachments, events, grants, leases, tokens

MOST_EVENTS = 5000


@dataclass(frozen=True, slots=True)
class Grant:
    """One thing that a token may do, and for which `projects` and `environments` (globs)."""

    scope: str
    projects: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as it is recorded: never the token itself, only the sha256 of it.

    `expires_at` counts seconds since 1970, None for never; `parent` is the name of the token that minted this one, or
    empty. The other times are RFC 3339, empty for never.
    """

    name: str
    hash: str
    grants: tuple[Grant, ...]
    created_at: str = ""
    expires_at: float | None = None
    revoked_at: str = ""
    last_used_at: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Who has an environment. Times count seconds since 1970 by the index's clock."""

    environment: str
    token: int
    owner: str
    rollout: str
    acquired_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """A document beside a version; its bytes are the blob of that hash."""

    name: str
    sha256: str
    size_bytes: int
    at: str


class ControlRecords:
    """Tokens, leases, events and attachments in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # tokens

    def add_token(self, token: Token) -> bool:
        """Record it; False when the name is taken."""
        with self._database.writing() as connection:
            if connection.execute(select(tokens.c.id).where(tokens.c.name == token.name)).first() is not None:
                return False
            made = tokens.insert().values(
                name=token.name,
                hash=token.hash,
                created_at=token.created_at,
                expires_at=token.expires_at,
                parent=token.parent,
            )
            token_id = connection.execute(made.returning(tokens.c.id)).scalar_one()
            rows = [
                {
                    "token_id": token_id,
                    "position": position,
                    "scope": grant.scope,
                    "projects": ",".join(grant.projects),
                    "environments": ",".join(grant.environments),
                }
                for position, grant in enumerate(token.grants)
            ]
            connection.execute(grants.insert(), rows)
            # what nobody knew before was never refused, so nothing that is remembered of credentials is wrong now
            return True

    def token(self, hashed: str) -> Token | None:
        """The token with this hash, also when it is revoked or expired."""
        with self._database.reading() as connection:
            return next(iter(_tokens(connection, tokens.c.hash == hashed)), None)

    def every_token(self) -> list[Token]:
        with self._database.reading() as connection:
            return _tokens(connection, true())

    def revoke_token(self, name: str, at: str) -> bool:
        """End the token of that name and all that it has minted. False when there is no such valid token."""
        with self._database.writing() as connection:
            valid = and_(tokens.c.name == name, tokens.c.revoked_at.is_(None))
            if connection.execute(select(tokens.c.id).where(valid)).first() is None:
                return False
            family = and_((tokens.c.name == name) | (tokens.c.parent == name), tokens.c.revoked_at.is_(None))
            connection.execute(tokens.update().where(family).values(revoked_at=at))
            raised(connection, "access")
            return True

    def forget_minted(self, expired_before: float) -> None:
        """Drop the rows of minted tokens that ran out before that time."""
        with self._database.writing() as connection:
            connection.execute(tokens.delete().where(tokens.c.parent != "", tokens.c.expires_at < expired_before))

    # leases

    def acquire(self, environment: str, owner: str, rollout: str, now: float, ttl_s: float) -> tuple[bool, HeldLease]:
        """Take the environment unless somebody holds it. Returns whether it is now ours, and who holds it."""
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
        """Hold it for longer; None when that token does not hold it (any more)."""
        with self._database.writing() as connection:
            row = _lease_row(connection, environment)
            # once it ran out the holder must not go on, even when nobody has taken it since
            if row is None or row.token != token or row.expires_at <= now:
                return None
            update = leases.update().where(leases.c.environment == environment)
            connection.execute(update.values(expires_at=now + ttl_s))
            return HeldLease(environment, token, row.owner, row.rollout, row.acquired_at, now + ttl_s)

    def release(self, environment: str, token: int, now: float) -> bool:
        """Give it back; False when that token did not hold it."""
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

    # events

    def add_events(self, documents: Iterable[Mapping[str, Any]], recorded_by: str) -> int:
        """Record the events that are not known by their id, all or none. Returns how many were new.

        `recorded_by` is the principal who sent them; the `actor` is only what was claimed.
        """
        with self._database.writing() as connection:
            return sum(insert_event(connection, dict(document), recorded_by) for document in documents)

    def events(
        self,
        after: int,
        limit: int,
        visible: Callable[[str, str], bool] = lambda _subject, _environment: True,
        **equal: str,
    ) -> tuple[list[dict[str, Any]], int]:
        """Events after the serial `after` in its order, each with its `serial`; and the last serial that there is.

        `visible` says by subject and environment which of them count. `equal` may name kind, subject and
        environment; empty text means any.
        """
        wanted = select(events).where(events.c.serial > after).order_by(events.c.serial)
        for column, value in equal.items():
            if value:
                wanted = wanted.where(events.c[column] == value)
        with self._database.reading() as connection:
            every = connection.execution_options(yield_per=500).execute(wanted)
            ours = (row for row in every if visible(row.subject, row.environment))
            rows = list(itertools.islice(ours, min(limit, MOST_EVENTS)))
            every.close()
            last = connection.execute(select(events.c.serial).order_by(events.c.serial.desc()).limit(1)).scalar()
        return [json.loads(row.document) | {"serial": row.serial} for row in rows], last or 0

    # attachments

    def attach(self, project: str, version: str, stored: StoredAttachment, uploader: str) -> None:
        """Record it as the newest of its name; the same bytes as the newest change nothing."""
        with self._database.writing() as connection:
            beside = and_(
                attachments.c.project == project,
                attachments.c.version == version,
                attachments.c.name == stored.name,
            )
            newest = select(attachments.c.sha256).where(beside).order_by(attachments.c.id.desc()).limit(1)
            if connection.execute(newest).scalar() == stored.sha256:
                return
            connection.execute(
                attachments.insert().values(
                    project=project,
                    version=version,
                    name=stored.name,
                    sha256=stored.sha256,
                    size_bytes=stored.size_bytes,
                    at=stored.at,
                    uploader=uploader,
                )
            )

    def attachments(self, project: str, version: str, name: str = "") -> list[StoredAttachment]:
        """All that were ever stored beside the version, newest first; with `name`, only those of that name."""
        wanted = select(attachments).where(attachments.c.project == project, attachments.c.version == version)
        if name:
            wanted = wanted.where(attachments.c.name == name)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(attachments.c.id.desc()))
            return [StoredAttachment(row.name, row.sha256, row.size_bytes, row.at) for row in rows]


def _tokens(connection: Connection, which: ColumnElement[bool]) -> list[Token]:
    """The tokens for which it is true, by name."""
    joined = select(tokens, grants).join(grants, grants.c.token_id == tokens.c.id).where(which)
    rows = connection.execute(joined.order_by(tokens.c.name, grants.c.position))
    found = []
    for _, family in itertools.groupby(rows, key=lambda row: row.id):
        each = list(family)
        granted = [Grant(row.scope, tuple(row.projects.split(",")), tuple(row.environments.split(","))) for row in each]
        first = each[0]
        found.append(
            Token(
                first.name,
                first.hash,
                tuple(granted),
                first.created_at,
                first.expires_at,
                first.revoked_at or "",
                first.last_used_at or "",
                first.parent,
            )
        )
    return found


def _lease_row(connection: Connection, environment: str) -> Row[Any] | None:
    return connection.execute(select(leases).where(leases.c.environment == environment)).first()


def _lease(row: Row[Any]) -> HeldLease:
    return HeldLease(row.environment, row.token, row.owner, row.rollout, row.acquired_at, row.expires_at)
