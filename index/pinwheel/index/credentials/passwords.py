"""The users of an htpasswd file and their passwords, the only credential that can be guessed.

One bcrypt check costs 59-234 ms, so a password is checked once, and is right for as long as the file has that hash for
its user. What strangers try is limited for each address, waits behind what is served, and pushes nobody out of memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.credentials.rates import Rate, TooOften
from pinwheel.index.recent import Recent

CHECKS = 2  # passwords checked at once
MOST_WAITING = 32  # the other threads are for those whom we know
WAIT_S = 10.0
MOST_REMEMBERED = 2048
BURST, PACE_S = 10, 6.0  # guesses at one user from one address
ADDRESS_BURST, ADDRESS_PACE_S = 30, 2.0  # guesses from one address
NICE = 10
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_BCRYPT_BYTES = 72  # bcrypt never looked at more; its Python library refuses what others cut


class TooBusy(PinwheelError):
    """The credential cannot be checked now: nothing is said about it."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """A password that was checked against this hash, None where the file has no such user."""

    against: bytes | None


class Passwords:
    """Recognise users by their password. Safe to share between threads."""

    def __init__(self, file: Path, log: Callable[[str], None] = lambda _line: None, workers: int = 1) -> None:
        """Raises `UsageError` when the file cannot be used. `log` hears when that is so later. `workers` processes
        share the limits."""
        self._users = _Users(file, log)
        self._secret = secrets.token_bytes(32)  # what is kept of a password means nothing elsewhere
        # two memories: no number of wrong ones makes a right one be forgotten
        self._right: Recent[bytes, _Checked] = Recent(MOST_REMEMBERED)
        self._wrong: Recent[bytes, _Checked] = Recent(MOST_REMEMBERED)
        self._at_user = Rate(BURST, PACE_S, workers)
        self._from_address = Rate(ADDRESS_BURST, ADDRESS_PACE_S, workers)
        self._lock = threading.Lock()
        self._checks: dict[bytes, Future[bool]] = {}
        self._pool = ThreadPoolExecutor(CHECKS, "passwords", initializer=_yield_to_others)

    def recognises(self, user: str, password: str, who: str, now: float) -> bool:
        """Whether it is the user's password. `who` asks; an unknown user costs what a wrong password costs.

        Raises `TooOften` when that one has guessed wrong too often, `TooBusy`.
        """
        stored = self._users.stored(user)
        key = hashlib.blake2b(f"{len(user)}:{user}:{password}".encode(), key=self._secret).digest()
        known = self._known(key, stored)
        if known is not None:
            return known
        with self._lock:
            # however many bring the same one at the same time, it is checked once
            check = self._checks.get(key)
            if check is None:
                known = self._known(key, stored)
                if known is not None:
                    return known
                check = self._start(user, password, stored, key, who, now)
        try:
            return check.result(WAIT_S)
        except TimeoutError as error:
            raise _busy() from error

    def _known(self, key: bytes, stored: bytes | None) -> bool | None:
        """What was found out of it before, unless the file has changed since; None for nothing."""
        for memory, answer in ((self._right, True), (self._wrong, False)):
            checked = memory.get(key)
            if checked is not None and checked.against == stored:
                return answer
        return None

    def _start(self, user: str, password: str, stored: bytes | None, key: bytes, who: str, now: float) -> Future[bool]:
        wait_s = max(self._at_user.wait_s((who, user), now), self._from_address.wait_s(who, now))
        if wait_s:
            raise TooOften("too many wrong passwords came from this address", wait_s)
        if len(self._checks) >= MOST_WAITING:
            raise _busy()
        self._at_user.count((who, user), now)
        self._from_address.count(who, now)

        def remember(done: Future[bool]) -> None:
            if done.exception() is None and done.result():
                self._right.put(key, _Checked(stored))
                self._at_user.forgive((who, user))
                self._from_address.forgive(who)
            elif done.exception() is None:
                self._wrong.put(key, _Checked(stored))
            del self._checks[key]

        someone = self._users.someone(user)
        against = someone if stored is None else stored
        check = self._checks[key] = self._pool.submit(_fits, password, against, known=stored is not None)
        check.add_done_callback(remember)
        return check


class _Users:
    """The users of an htpasswd file; it is read again when it changes.

    While it cannot be used, perhaps because it is just being written, those who were in it before count.
    """

    def __init__(self, file: Path, log: Callable[[str], None]) -> None:
        self._file = file
        self._log = log
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, bytes] = {}
        self._secret = secrets.token_bytes(32)
        self._someone = [bcrypt.hashpw(b"", bcrypt.gensalt(10))]
        self._refresh()

    def stored(self, user: str) -> bytes | None:
        """The hash of the user's password, None for an unknown user."""
        self._refresh()
        return self._hashes.get(user)

    def someone(self, user: str) -> bytes:
        """A hash to check an unknown user's password against: always the same one, as if that user were there."""
        number = int.from_bytes(hashlib.blake2b(user.encode(), key=self._secret, digest_size=8).digest())
        return self._someone[number % len(self._someone)]

    def _refresh(self) -> None:
        if self._state() == self._seen:
            return
        with self._lock:
            state = self._state()
            if state == self._seen:
                return
            try:
                self._hashes = read_htpasswd(self._file)
            except UsageError as error:
                if self._seen is None:
                    raise
                self._log(f"{error.problem} ({error.where}): the users are those of before; {error.remedy}")
            self._someone = list(self._hashes.values()) or self._someone
            self._seen = state

    def _state(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def read_htpasswd(file: Path) -> dict[str, bytes]:
    """Users and their bcrypt hashes. Raises `UsageError`, naming the users whose hash is of another kind."""
    users: dict[str, bytes] = {}
    weak: list[str] = []
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            f"the password file cannot be read: {reason}",
            where=str(file),
            remedy="correct --htpasswd, or make the file with `htpasswd -B -c FILE USER`",
        ) from error
    for line in lines:
        user, colon, stored = line.strip().partition(":")
        if not colon or user.startswith("#"):
            continue
        if _BCRYPT.fullmatch(stored):
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


def _fits(password: str, stored: bytes, *, known: bool) -> bool:
    right = bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], stored)
    return right and known


def _yield_to_others() -> None:
    """In a thread that checks passwords: whoever is served comes first. Only on Linux has a thread its own priority."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _busy() -> TooBusy:
    return TooBusy("too many passwords are being checked", remedy="try again in a moment")
