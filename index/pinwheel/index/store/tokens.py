"""The tokens of the index: what is recorded of them, and the store."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import ColumnElement, Connection, and_, or_, select, true

from pinwheel.index.grants import Grant
from pinwheel.index.store.database import Database, raised
from pinwheel.index.store.tables import grants, tokens


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as it is recorded: never the token itself, only the sha256 of it.

    `expires_at` counts seconds since 1970, None for never; `parent` is the name of the token that minted this one, or
    empty; `old_hash` is of the one that this one replaced, which is valid until `old_until`. The other times are RFC
    3339, empty for never.
    """

    name: str
    hash: str
    grants: tuple[Grant, ...]
    created_at: str = ""
    expires_at: float | None = None
    revoked_at: str = ""
    last_used_at: str = ""
    parent: str = ""
    old_hash: str = ""
    old_until: float | None = None


class Tokens(Protocol):
    """The API tokens. A contract test runs against each store that there is."""

    def add(self, token: Token) -> bool:
        """Record it; False when the name is taken."""

    def find(self, hashed: str) -> Token | None:
        """The token with this hash, also when it is revoked or expired. One that was replaced expires accordingly."""

    def every(self) -> list[Token]:
        """All that were ever made and not forgotten, by name."""

    def revoke(self, name: str, at: str) -> bool:
        """End the token of that name and all that it has minted. False when there is no such valid token."""

    def revoke_all(self, at: str) -> None:
        """End every token."""

    def rotate(self, name: str, hashed: str, old_until: float, minted_end: str = "") -> bool:
        """Replace the valid token of that name by another one with this hash; the old one is valid until then.

        `minted_end` is now, for what it has minted to end too; empty, it stays. False when there is no such token. One
        that was replaced before ends at once.
        """

    def used(self, at: Mapping[str, str]) -> None:
        """Remember when the tokens of these names were used, unless later uses are known."""

    def forget_minted(self, expired_before: float) -> None:
        """Drop the rows of minted tokens that ran out before that time."""


class DatabaseTokens:
    """`Tokens` in the index's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token) -> bool:
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

    def find(self, hashed: str) -> Token | None:
        with self._database.reading() as connection:
            found = next(iter(_tokens(connection, or_(tokens.c.hash == hashed, tokens.c.old_hash == hashed))), None)
        if found is None or found.hash == hashed or found.old_until is None:
            return found
        ends = [at for at in (found.expires_at, found.old_until) if at is not None]
        return replace(found, expires_at=min(ends))

    def every(self) -> list[Token]:
        with self._database.reading() as connection:
            return _tokens(connection, true())

    def revoke(self, name: str, at: str) -> bool:
        with self._database.writing() as connection:
            valid = and_(tokens.c.name == name, tokens.c.revoked_at.is_(None))
            if connection.execute(select(tokens.c.id).where(valid)).first() is None:
                return False
            family = and_((tokens.c.name == name) | (tokens.c.parent == name), tokens.c.revoked_at.is_(None))
            connection.execute(tokens.update().where(family).values(revoked_at=at))
            raised(connection, "access")
            return True

    def revoke_all(self, at: str) -> None:
        with self._database.writing() as connection:
            connection.execute(tokens.update().where(tokens.c.revoked_at.is_(None)).values(revoked_at=at))
            raised(connection, "access")

    def rotate(self, name: str, hashed: str, old_until: float, minted_end: str = "") -> bool:
        with self._database.writing() as connection:
            valid = and_(tokens.c.name == name, tokens.c.revoked_at.is_(None))
            row = connection.execute(select(tokens.c.id, tokens.c.hash).where(valid)).first()
            if row is None:
                return False
            changed = tokens.update().where(tokens.c.id == row.id)
            connection.execute(changed.values(hash=hashed, old_hash=row.hash, old_until=old_until))
            if minted_end:
                minted = and_(tokens.c.parent == name, tokens.c.revoked_at.is_(None))
                connection.execute(tokens.update().where(minted).values(revoked_at=minted_end))
            raised(connection, "access")
            return True

    def used(self, at: Mapping[str, str]) -> None:
        with self._database.writing() as connection:
            for name, last_used_at in at.items():
                earlier = or_(tokens.c.last_used_at.is_(None), tokens.c.last_used_at < last_used_at)
                known = and_(tokens.c.name == name, earlier)
                connection.execute(tokens.update().where(known).values(last_used_at=last_used_at))

    def forget_minted(self, expired_before: float) -> None:
        with self._database.writing() as connection:
            connection.execute(tokens.delete().where(tokens.c.parent != "", tokens.c.expires_at < expired_before))


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
                first.old_hash or "",
                first.old_until,
            )
        )
    return found
