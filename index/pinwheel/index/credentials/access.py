"""Who asks: API tokens, users with a password, anonymous readers. A wrong credential is never taken for none.

Tokens that were looked up are remembered for a short time. A token cannot be guessed, so a right one is never refused;
wrong credentials beyond a rate are answered with that instead of with 401, so that a broken client hears it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinwheel.errors import UsageError
from pinwheel.index.credentials.passwords import Passwords
from pinwheel.index.credentials.rates import Rate, TooOften
from pinwheel.index.forwarded import who
from pinwheel.index.grants import Grant, Principal
from pinwheel.index.policy import Policy
from pinwheel.index.recent import Recent
from pinwheel.index.store.tokens import Token, Tokens

TOKEN_USER = "__token__"  # noqa: S105 - a user name
TOKEN_PREFIX = "pw_"  # noqa: S105 - so that scanners for leaked secrets can know ours
REMEMBERED_S = 60.0
MOST_REMEMBERED = 2048
WRONG_BURST, WRONG_PACE_S = 30, 2.0  # wrong credentials from one address
USERS_GRANTS = (Grant("read"), Grant("upload"))


class Access:
    """Recognise principals by their `Authorization` header. Safe to share between threads.

    `workers` processes do so, and share the limits.
    """

    def __init__(
        self,
        tokens: Tokens,
        htpasswd: Path | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        *,
        workers: int = 1,
        now: Callable[[], float] = time.time,
        used: Callable[[str], None] = lambda _name: None,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._tokens = tokens
        self._passwords = Passwords(htpasswd, log, workers) if htpasswd else None
        reads = (Grant("read"),) if policy.anonymous_read else ()
        self._unnamed = Principal("anonymous" if reads else "", "anonymous", reads, hidden=policy.protected)
        self._now = now
        self._remembered = _Remembered(-1)
        self._wrong = Rate(WRONG_BURST, WRONG_PACE_S, workers)
        self._used = used

    def identify(self, authorization: str, serial: int, address: str = "") -> Principal | None:
        """The principal of an `Authorization` header; the anonymous one without a header; None when it is wrong.

        `serial` is `Serials.access` now: when it moves, everything remembered of tokens is forgotten. `address` is who
        asks. Raises `TooOften`, `TooBusy`.
        """
        if not authorization:
            return self._unnamed
        now = self._now()
        principal = self._named(authorization, serial, address, now)
        if principal is None or (principal.expires_at is not None and principal.expires_at <= now):
            wait_s = self._wrong.wait_s(who(address), now)
            if wait_s:
                raise TooOften("too many wrong credentials came from this address", wait_s)
            self._wrong.count(who(address), now)
            return None
        if principal.kind == "token":
            self._used(principal.name)
        return principal

    def _named(self, authorization: str, serial: int, address: str, now: float) -> Principal | None:
        remembered = self._remembered
        if serial != remembered.serial:
            remembered = self._remembered = _Remembered(serial)
        key = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        known = remembered.found(key, now)
        if known is not None:
            return known.principal
        credential = basic(authorization)
        if credential is not None and credential[0] != TOKEN_USER and self._passwords is not None:
            user, password = credential
            right = self._passwords.recognises(user, password, who(address), now)
            return Principal(user, "user", USERS_GRANTS) if right else None
        # where it was looked up: when a revocation came meanwhile, nobody looks there any more
        return remembered.put(key, now, self._token(credential)).principal

    def _token(self, credential: tuple[str, str] | None) -> Principal | None:
        if credential is None or credential[0] != TOKEN_USER:
            return None
        token = self._tokens.find(hashed(credential[1]))
        if token is None or token.revoked_at:
            return None
        return Principal(token.name, "token", token.grants, expires_at=token.expires_at, minted=bool(token.parent))


@dataclass(frozen=True, slots=True)
class _Known:
    """Whom a credential belongs to, nobody when it is wrong, and until when that counts."""

    principal: Principal | None
    until: float


class _Remembered:
    """Tokens that were looked up, by the hash of their header, under one serial of the access rules."""

    def __init__(self, serial: int) -> None:
        self.serial = serial
        # two memories: no number of wrong ones makes a right one be forgotten
        self._right: Recent[bytes, _Known] = Recent(MOST_REMEMBERED)
        self._wrong: Recent[bytes, _Known] = Recent(MOST_REMEMBERED)

    def found(self, key: bytes, now: float) -> _Known | None:
        known = self._right.get(key) or self._wrong.get(key)
        return known if known is not None and now < known.until else None

    def put(self, key: bytes, now: float, principal: Principal | None) -> _Known:
        known = _Known(principal, now + REMEMBERED_S)
        (self._wrong if principal is None else self._right).put(key, known)
        return known


def basic(authorization: str) -> tuple[str, str] | None:
    """User and password of a Basic credential, None when it is no such thing."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:  # also what is not ASCII
        return None
    user, colon, password = decoded.decode("utf-8", "replace").partition(":")
    return (user, password) if colon else None


def new_token(
    name: str,
    grants: Sequence[Grant],
    *,
    created_at: str,
    expires_at: float | None = None,
    parent: str = "",
) -> tuple[str, Token]:
    """A fresh token: its text, which exists nowhere else, and what is recorded. Raises `UsageError`."""
    if not name or "," in name or not name.isprintable():
        raise UsageError("a token needs a name of printable characters without a comma")
    secret = new_secret()
    return secret, Token(name, hashed(secret), tuple(grants), created_at, expires_at, parent=parent)


def new_secret() -> str:
    """The text of a token."""
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
