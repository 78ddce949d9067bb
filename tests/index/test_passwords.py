"""Passwords can be guessed: guessing is slow for who guesses, and for nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from tests.index import running
from tests.index.running import authorization, call, make_token

from pinwheel.errors import UsageError
from pinwheel.index.credentials import passwords
from pinwheel.index.credentials.passwords import ADDRESS_BURST, BURST, CHECKS, PACE_S, Passwords, read_htpasswd
from pinwheel.index.credentials.rates import TooOften
from pinwheel.index.server.assembly import Stored


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    file = tmp_path / "htpasswd"
    file.write_text(f"# people\nann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n\n")
    return file


ANN = authorization("secret", "ann")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that passwords were checked against, in order."""
    found: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, stored: bytes) -> bool:
        found.append(stored)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return found


def test_a_password_is_checked_once_and_never_again(htpasswd: Path, checks: list[bytes]) -> None:
    people = Passwords(htpasswd)
    for now in (0.0, 1.0, 1e6):
        assert people.recognises("ann", "secret", "here", now)
        assert not people.recognises("ann", "wrong", "there", now)
    assert len(checks) == 2


def test_a_changed_password_file_counts_at_once(htpasswd: Path) -> None:
    people = Passwords(htpasswd)
    assert people.recognises("ann", "secret", "here", 0.0)
    assert not people.recognises("ben", "x" * 100, "here", 0.0)
    htpasswd.write_text(f"ben:{bcrypt.hashpw(b'x' * 72, bcrypt.gensalt(4)).decode()}\n")
    assert not people.recognises("ann", "secret", "here", 0.0), "ann has left"
    assert people.recognises("ben", "x" * 100, "here", 0.0), "ben has come"


def test_an_unknown_user_costs_what_a_wrong_password_costs(htpasswd: Path, checks: list[bytes]) -> None:
    people = Passwords(htpasswd)
    assert not people.recognises("nobody", "x", "here", 0.0)
    assert not people.recognises("ann", "x", "here", 0.0)
    assert len(checks) == 2
    assert checks[0] == checks[1], "the same hash, so the same work"


def test_an_unknown_user_is_always_checked_against_the_same_hash(tmp_path: Path, checks: list[bytes]) -> None:
    """Or the time would tell users with a cheap hash from unknown ones."""
    file = tmp_path / "htpasswd"
    file.write_text("".join(f"u{n}:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}\n" for n in range(5)))
    people = Passwords(file)
    for number in range(4):
        assert not people.recognises("nobody", str(number), "here", 0.0)
    assert len(set(checks)) == 1


# guessing


def test_who_guesses_is_slowed_down_and_the_user_elsewhere_is_not(htpasswd: Path, checks: list[bytes]) -> None:
    people = Passwords(htpasswd)
    for number in range(BURST):
        assert not people.recognises("ann", f"guess{number}", "thief", 0.0)
    for number in range(1000):
        with pytest.raises(TooOften) as caught:
            people.recognises("ann", f"more{number}", "thief", 0.0)
    assert caught.value.retry_s == pytest.approx(PACE_S)
    assert len(checks) == BURST, "what is not tried costs nothing"
    assert people.recognises("ann", "secret", "home", 0.0)
    assert people.recognises("ann", "secret", "thief", 0.0), "once known, from anywhere"
    assert not people.recognises("ann", "patience", "thief", PACE_S)


def test_guessing_many_users_from_one_address_is_slowed_down_too(htpasswd: Path) -> None:
    people = Passwords(htpasswd)
    for number in range(ADDRESS_BURST):
        assert not people.recognises(f"user{number}", "123456", "thief", 0.0)
    with pytest.raises(TooOften):
        people.recognises("ann", "secret", "thief", 0.0)
    assert people.recognises("ann", "secret", "home", 0.0)


def test_a_client_with_an_old_password_keeps_nobody_at_its_address_out(htpasswd: Path) -> None:
    people = Passwords(htpasswd)
    for _ in range(1000):
        assert not people.recognises("ann", "old", "office", 0.0)
    assert people.recognises("ann", "secret", "office", 0.0)


def test_right_passwords_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    stored = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()
    users = [f"user{number}" for number in range(2 * ADDRESS_BURST)]
    file.write_text("".join(f"{user}:{stored}\n" for user in users))
    people = Passwords(file)
    assert all(people.recognises(user, "x", "office", 0.0) for user in users)


def test_a_thousand_guesses_are_answered_beside_normal_traffic(
    app: Callable[..., Any], index: Stored, htpasswd: Path, checks: list[bytes]
) -> None:
    served, token = app(htpasswd=htpasswd), make_token(index.folder, "t", "read")
    assert call(served, "GET", "/simple/", headers=ANN).status == 200
    heard = []
    for number in range(1000):
        guess = authorization(f"guess{number}", "ann")
        heard.append(call(served, "GET", "/simple/", headers=guess, address="192.0.2.66"))
        if number % 100 == 0:
            assert call(served, "GET", "/simple/", token).status == 200
            assert call(served, "GET", "/simple/", headers=ANN, address="192.0.2.66").status == 200
    assert {each.status for each in heard} == {401, 429}
    assert sum(each.status == 401 for each in heard) <= 2 * BURST
    assert {int(each.headers["retry-after"]) > 0 for each in heard if each.status == 429} == {True}
    assert len(checks) <= 2 * BURST


class Slow:
    """bcrypt that takes as long as the test wants; `started` counts the checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.started = threading.Semaphore(0)
        self.checks = 0
        monkeypatch.setattr(bcrypt, "checkpw", self._check)

    def _check(self, password: bytes, _stored: bytes) -> bool:
        self.checks += 1
        self.started.release()
        assert self.go_on.wait(running.WITHIN_S)
        return password == b"secret"


def test_passwords_under_check_keep_nobody_who_is_known_waiting(
    app: Callable[..., Any], index: Stored, htpasswd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, token = app(htpasswd=htpasswd), make_token(index.folder, "t", "read")
    assert call(served, "GET", "/simple/", headers=ANN).status == 200
    slow = Slow(monkeypatch)
    monkeypatch.setattr(passwords, "MOST_WAITING", CHECKS)
    with ThreadPoolExecutor(CHECKS) as pool:
        try:
            asked = [
                pool.submit(
                    call, served, "GET", "/simple/", headers=authorization(f"x{n}", "ann"), address=f"10.0.0.{n}"
                )
                for n in range(CHECKS)
            ]
            for _ in asked:
                assert slow.started.acquire(timeout=running.WITHIN_S)
            assert call(served, "GET", "/simple/", token).status == 200
            assert call(served, "GET", "/simple/", headers=ANN).status == 200
            assert call(served, "GET", "/simple/", "another").status == 401
            refused = call(served, "GET", "/simple/", headers=authorization("y", "ann"), address="10.0.1.1")
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        finally:
            slow.go_on.set()
        assert {each.result().status for each in asked} == {401}


def test_many_who_bring_the_same_new_password_pay_for_one_check(
    app: Callable[..., Any], htpasswd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, slow, ann = app(htpasswd=htpasswd), Slow(monkeypatch), authorization("secret", "ann")
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(call, served, "GET", "/simple/", headers=ann) for _ in range(40)]
        assert slow.started.acquire(timeout=running.WITHIN_S)
        slow.go_on.set()
        assert {each.result().status for each in asked} == {200}
    assert slow.checks == 1


def test_hashes_that_are_not_bcrypt_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    cut = bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode()[:-1]
    file.write_text(f"ann:$apr1$x$y\nben:{{SHA}}abc\ncem:{cut}\n")
    with pytest.raises(UsageError, match="ann, ben, cem"):
        read_htpasswd(file)


@pytest.mark.parametrize("damaged", [b"ben:$apr1$x$y\n", b"ann:$2b$04$cut", b"\xff:", None])
def test_while_the_password_file_is_damaged_the_users_of_before_count(htpasswd: Path, damaged: bytes | None) -> None:
    heard: list[str] = []
    people, right = Passwords(htpasswd, heard.append), htpasswd.read_bytes()
    if damaged is None:
        htpasswd.unlink()
    else:
        htpasswd.write_bytes(damaged)
    for _ in range(3):
        assert people.recognises("ann", "secret", "here", 0.0)
        assert not people.recognises("ben", "secret", "here", 0.0)
    assert len(heard) == 1
    assert str(htpasswd) in heard[0]
    htpasswd.write_bytes(right.replace(b"ann", b"cem"))
    assert people.recognises("cem", "secret", "here", 0.0)
    assert not people.recognises("ann", "secret", "here", 0.0)
    assert len(heard) == 1


def test_a_damaged_password_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(b"\xff:")
    for name in ("damaged", "missing"):
        with pytest.raises(UsageError, match="cannot be read"):
            Passwords(tmp_path / name)
