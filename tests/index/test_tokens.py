"""Tokens: the contract of every store of them, and when each was used last."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pinwheel.index.credentials.last_use import LastUse
from pinwheel.index.entries import NoSpace
from pinwheel.index.grants import Grant, granted
from pinwheel.index.server.assembly import Stored, stamp
from pinwheel.index.store.tokens import Token, Tokens

CI = Token("ci", "hash-1", granted(["read", "upload:acme-*", "upload:shop", "deploy@prod-*"]), "2024-01-01T00:00:00Z")
EARLY, LATE = "2024-02-03T04:05:06.000000Z", "2024-02-03T04:06:06.000000Z"


@pytest.fixture(params=["database"])
def tokens(index: Stored) -> Tokens:
    assert index.tokens.add(CI)
    return index.tokens


def test_a_token_is_found_by_its_hash_as_it_was_added(tokens: Tokens) -> None:
    assert tokens.find("hash-1") == CI
    assert tokens.find("another") is None
    assert tokens.every() == [CI]


def test_a_name_is_taken_for_ever(tokens: Tokens) -> None:
    assert not tokens.add(Token("ci", "hash-2", (Grant("read"),)))
    assert tokens.revoke("ci", EARLY)
    assert not tokens.add(Token("ci", "hash-2", (Grant("read"),)))


def test_a_rotated_token_may_do_the_same_and_the_old_one_ends(tokens: Tokens) -> None:
    assert tokens.rotate("ci", "hash-2", old_until=100.0)
    old, new = tokens.find("hash-1"), tokens.find("hash-2")
    assert old is not None
    assert new is not None
    assert (new.grants, new.expires_at, old.expires_at) == (CI.grants, None, 100.0)
    assert tokens.rotate("ci", "hash-3", old_until=200.0)
    assert tokens.find("hash-1") is None
    assert len(tokens.every()) == 1


def test_a_rotated_token_lives_no_longer_than_before(tokens: Tokens) -> None:
    assert tokens.add(Token("short", "short-1", (Grant("read"),), expires_at=50.0))
    assert tokens.rotate("short", "short-2", old_until=100.0)
    assert [found and found.expires_at for found in map(tokens.find, ("short-1", "short-2"))] == [50.0, 50.0]


def test_what_a_token_minted_ends_with_its_old_text_when_that_is_said(tokens: Tokens) -> None:
    assert tokens.add(Token("host", "host-1", (Grant("read"),), parent="ci"))
    assert tokens.rotate("ci", "hash-2", old_until=100.0)
    minted = tokens.find("host-1")
    assert minted is not None
    assert not minted.revoked_at
    assert tokens.rotate("ci", "hash-3", old_until=100.0, minted_end=EARLY)
    assert [found and found.revoked_at for found in map(tokens.find, ("host-1", "hash-3"))] == [EARLY, ""]


def test_what_is_not_valid_is_not_rotated(tokens: Tokens) -> None:
    assert not tokens.rotate("nobody", "hash-2", old_until=0.0)
    tokens.revoke("ci", EARLY)
    assert not tokens.rotate("ci", "hash-2", old_until=0.0)


def test_revoking_ends_old_and_new(tokens: Tokens) -> None:
    tokens.rotate("ci", "hash-2", old_until=1e12)
    tokens.revoke("ci", EARLY)
    assert [found and found.revoked_at for found in map(tokens.find, ("hash-1", "hash-2"))] == [EARLY, EARLY]


def test_all_are_revoked_at_once(tokens: Tokens) -> None:
    tokens.revoke_all(EARLY)
    assert {each.revoked_at for each in tokens.every()} == {EARLY}


def test_the_latest_use_is_remembered(tokens: Tokens) -> None:
    tokens.used({"ci": LATE, "gone": LATE})
    tokens.used({"ci": EARLY})
    assert [each.last_used_at for each in tokens.every()] == [LATE]


def test_uses_are_written_once_for_many_requests() -> None:
    written: list[Mapping[str, str]] = []
    uses = LastUse(written.append, lambda: 0.0, stamp, print)
    for _ in range(100):
        uses.note("ci")
        uses.note("web")
    uses.write()
    assert written == [dict.fromkeys(("ci", "web"), "1970-01-01T00:00:00.000000Z")]


def test_a_use_that_cannot_be_written_is_written_later() -> None:
    written: list[Mapping[str, str]] = []
    full = [True]

    def write(at: Mapping[str, str]) -> None:
        if full:
            full.clear()
            raise NoSpace("the disk is full")
        written.append(at)

    uses = LastUse(write, lambda: 0.0, stamp, print)
    uses.note("ci")
    uses.write()
    uses.note("web")
    uses.write()
    assert written == [dict.fromkeys(("ci", "web"), "1970-01-01T00:00:00.000000Z")]
