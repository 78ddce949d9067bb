"""Who may do what: API tokens, htpasswd users, anonymous readers. A wrong credential is never taken for none.

Verified credentials are remembered for a short time, because one bcrypt check costs 59-234 ms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.grants import Grant, Principal
from pinwheel.index.policy import Policy
from pinwheel.index.recent import Recent
from pinwheel.index.tokens import Token, Tokens

TOKEN_USER = "__token__"  # noqa: S105 - a user name
TOKEN_PREFIX = "pw_"  # noqa: S105 - so that scanners for leaked secrets can know ours
REMEMBERED_S = 60.0
MOST_REMEMBERED = 2048
MOST_CHECKS = 16  # passwords checked at once: the other threads are for those whom we know
USERS_GRANTS = (Grant("read"), Grant("upload"))
_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_BYTES = 72  # bcrypt never looked at more; its Python library refuses what others cut


class TooBusy(PinwheelError):
    """The credential cannot be checked now: nothing is said about it."""


class Access:
    """Recognise principals by their `Authorization` header. Safe to share between threads."""

    def __init__(
        self,
        tokens: Tokens,
        htpasswd: Path | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._users = _Users(htpasswd) if htpasswd else None
        reads = (Grant("read"),) if policy.anonymous_read else ()
        self._unnamed = Principal("anonymous" if reads else "", "anonymous", reads, hidden=policy.protected)
        self._now = now
        self._remembered = _Remembered(-1)
        self._lock = threading.Lock()
        self._checks: dict[bytes, Future[_Known]] = {}

    def identify(self, authorization: str, serial: int) -> Principal | None:
        """The principal of an `Authorization` header; the anonymous one without a header; None when it is wrong.

        `serial` is `Serials.access` now: when it moves, everything remembered is forgotten. Raises `TooBusy`.
        """
        if not authorization:
            return self._unnamed
        now = self._now()
        remembered = self._remembered
        if serial != remembered.serial:
            remembered = self._remembered = _Remembered(serial)
        key = hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
        known = remembered.found(key, now)
        if known is None:
            credential = basic(authorization)
            if credential is None or credential[0] == TOKEN_USER or self._users is None:
                # where it was looked up: when a revocation came meanwhile, nobody looks there any more
                known = remembered.put(key, now, self._token(credential))
            else:
                known = self._user(self._users, credential, remembered, key, now)
        principal = known.principal
        if principal is not None and principal.expires_at is not None and principal.expires_at <= now:
            return None
        return principal

    def _token(self, credential: tuple[str, str] | None) -> Principal | None:
        if credential is None or credential[0] != TOKEN_USER:
            return None
        token = self._tokens.find(hashed(credential[1]))
        if token is None or token.revoked_at:
            return None
        return Principal(token.name, "token", token.grants, expires_at=token.expires_at, minted=bool(token.parent))

    def _user(
        self, users: _Users, credential: tuple[str, str], remembered: _Remembered, key: bytes, now: float
    ) -> _Known:
        """Check a password once, however many ask at the same time."""
        with self._lock:
            known = remembered.found(key, now)
            if known is not None:
                return known
            running = self._checks.get(key)
            if running is None:
                if len(self._checks) >= MOST_CHECKS:
                    raise TooBusy("too many passwords are being checked", remedy="try again in a moment")
                mine = self._checks[key] = Future()
        if running is not None:
            return running.result()
        user, password = credential
        try:
            right = users.verify(user, password)
            known = remembered.put(key, now, Principal(user, "user", USERS_GRANTS) if right else None)
            mine.set_result(known)
        except BaseException as error:
            mine.set_exception(error)  # or those who wait would wait for ever
            raise
        finally:
            with self._lock:
                del self._checks[key]
        return known


@dataclass(frozen=True, slots=True)
class _Known:
    """Whom a credential belongs to, nobody when it is wrong, and until when that counts."""

    principal: Principal | None
    until: float


class _Remembered:
    """Verified credentials by their hash, under one serial of the access rules."""

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self._known: Recent[bytes, _Known] = Recent(MOST_REMEMBERED)

    def found(self, key: bytes, now: float) -> _Known | None:
        known = self._known.get(key)
        return known if known is not None and now < known.until else None

    def put(self, key: bytes, now: float, principal: Principal | None) -> _Known:
        known = _Known(principal, now + REMEMBERED_S)
        self._known.put(key, known)
        return known


class _Users:
    """The users of an htpasswd file; it is read again when it changes."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at: tuple[int, int] = (0, 0)
        self._hashes: dict[str, bytes] = {}
        self._dummy = bcrypt.hashpw(b"", bcrypt.gensalt(10))
        self._refresh()

    def verify(self, user: str, password: str) -> bool:
        self._refresh()
        # an unknown user costs the same time as a wrong password
        stored = self._hashes.get(user)
        right = bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], stored or self._dummy)
        return right and stored is not None

    def _refresh(self) -> None:
        try:
            state = self._file.stat()
            if (state.st_mtime_ns, state.st_size) != self._read_at:
                self._hashes = read_htpasswd(self._file)
                self._read_at = (state.st_mtime_ns, state.st_size)
                if self._hashes:
                    self._dummy = next(iter(self._hashes.values()))
        except OSError as error:
            raise UsageError(
                f"the password file cannot be read: {error.strerror}",
                where=str(self._file),
                remedy="correct --htpasswd, or make the file with `htpasswd -B -c FILE USER`",
            ) from error


def read_htpasswd(file: Path) -> dict[str, bytes]:
    """Users and their bcrypt hashes. Raises `UsageError` naming the users whose hash is of another kind."""
    users: dict[str, bytes] = {}
    weak: list[str] = []
    for line in file.read_text().splitlines():
        user, colon, stored = line.strip().partition(":")
        if not colon or user.startswith("#"):
            continue
        if stored.startswith(_BCRYPT):
            users[user] = stored.encode()
        else:
            weak.append(user)
    if weak:
        raise UsageError(
            f"these users have no bcrypt hash: {', '.join(weak)}",
            where=str(file),
            remedy="set each one's password again with `htpasswd -B FILE USER`",
        )
    return users


def basic(authorization: str) -> tuple[str, str] | None:
    """User and password of a Basic credential, None when it is no such thing."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
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
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    return secret, Token(name, hashed(secret), tuple(grants), created_at, expires_at, parent=parent)


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
