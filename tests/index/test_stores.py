"""Tokens, leases, events and attachments: the contract of every store."""

from __future__ import annotations

import dataclasses
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.index.making import new_file, wheel

from pinwheel.index.entries import Busy
from pinwheel.index.grants import Grant
from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.store import database
from pinwheel.index.store.attachments import Attachments, StoredAttachment
from pinwheel.index.store.event_log import EventLog
from pinwheel.index.store.leases import Leases
from pinwheel.index.store.tokens import Token, Tokens

AT = "2024-02-03T04:05:06.000000Z"
CI = Token("ci", "c" * 64, (Grant("read"), Grant("upload", ("acme-*", "beta"), ("prod-*",))), AT, 2000.0)


@pytest.fixture(params=["database"])
def tokens(index: Stored) -> Tokens:
    return index.tokens


@pytest.fixture(params=["database"])
def leases(index: Stored) -> Leases:
    return index.leases


@pytest.fixture(params=["database"])
def log(index: Stored) -> EventLog:
    return index.events


@pytest.fixture(params=["database"])
def attachments(index: Stored) -> Attachments:
    return index.attachments


# tokens


def test_a_token_is_found_by_its_hash_with_each_of_its_grants(tokens: Tokens) -> None:
    assert tokens.add(CI)
    assert tokens.find(CI.hash) == CI
    assert tokens.find("d" * 64) is None


def test_a_token_with_a_name_that_is_taken_is_not_added(tokens: Tokens) -> None:
    tokens.add(CI)
    assert not tokens.add(dataclasses.replace(CI, hash="d" * 64))
    assert tokens.every() == [CI]


def test_tokens_are_listed_by_name(tokens: Tokens) -> None:
    other = Token("a", "a" * 64, (Grant("deploy"),), AT)
    for token in (CI, other):
        tokens.add(token)
    assert tokens.every() == [other, CI]


def test_a_revoked_token_takes_what_it_minted_with_it_and_is_told_to_who_remembers(
    tokens: Tokens, index: Stored
) -> None:
    tokens.add(CI)
    tokens.add(Token("host", "e" * 64, (Grant("read"),), AT, 3000.0, parent="ci"))
    tokens.add(Token("other", "f" * 64, (Grant("read"),), AT))
    before = index.records.serials()
    assert tokens.revoke("ci", AT)
    assert [(token.name, token.revoked_at) for token in tokens.every()] == [("ci", AT), ("host", AT), ("other", "")]
    assert index.records.serials().access > before.access
    assert index.records.serials().files == before.files
    assert not tokens.revoke("ci", AT)
    assert not tokens.revoke("nobody", AT)


def test_a_rotated_token_is_found_by_its_old_hash_until_that_ends(tokens: Tokens, index: Stored) -> None:
    tokens.add(CI)
    before = index.records.serials().access
    assert tokens.rotate("ci", "d" * 64, old_until=1000.0)
    old, new = tokens.find("c" * 64), tokens.find("d" * 64)
    assert old is not None
    assert new is not None
    assert (old.grants, old.expires_at, new.expires_at) == (CI.grants, 1000.0, CI.expires_at)
    assert index.records.serials().access > before
    assert tokens.rotate("ci", "e" * 64, old_until=1000.0)
    assert tokens.find("c" * 64) is None
    assert not tokens.rotate("nobody", "f" * 64, old_until=1000.0)


def test_the_last_use_of_a_token_is_its_latest(tokens: Tokens) -> None:
    tokens.add(CI)
    for at in ("2024-02-03T00:00:00Z", "2024-03-03T00:00:00Z", "2024-01-03T00:00:00Z"):
        tokens.used({"ci": at, "nobody": at})
    assert [token.last_used_at for token in tokens.every()] == ["2024-03-03T00:00:00Z"]


def test_minted_tokens_are_forgotten_once_they_ran_out_and_others_are_not(tokens: Tokens) -> None:
    tokens.add(CI)
    tokens.add(Token("host", "e" * 64, (Grant("read"),), AT, 3000.0, parent="ci"))
    tokens.forget_minted(expired_before=2999.0)
    assert len(tokens.every()) == 2
    tokens.forget_minted(expired_before=3001.0)
    assert tokens.every() == [CI]


# leases


def test_a_lease_is_one_holders_until_it_runs_out(leases: Leases) -> None:
    ours, held = leases.acquire("prod", "ann", "r1", 100.0, 10)
    assert (ours, held.owner, held.expires_at) == (True, "ann", 110.0)
    assert leases.acquire("prod", "ben", "r2", 109.9, 10) == (False, held)
    assert leases.holder("prod", 109.9) == held
    assert leases.holder("prod", 110.0) is None
    assert leases.acquire("test", "ben", "r2", 100.0, 10)[0]


@pytest.mark.parametrize("end", ["released", "run out"])
def test_a_fencing_token_is_higher_than_all_before_it(leases: Leases, end: str) -> None:
    given = []
    for number in range(3):
        now = 100.0 * number
        given.append(leases.acquire("prod", "ann", "r", now, 10)[1].token)
        if end == "released":
            assert leases.release("prod", given[-1], now + 1)
    assert given == sorted(set(given))


def test_whoever_lost_a_lease_can_neither_renew_nor_release_it(leases: Leases) -> None:
    lost = leases.acquire("prod", "ann", "r1", 100.0, 10)[1].token
    held = leases.acquire("prod", "ben", "r2", 111.0, 10)[1]
    assert leases.renew("prod", lost, 112.0, 10) is None
    assert not leases.release("prod", lost, 112.0)
    assert leases.holder("prod", 112.0) == held


def test_a_lease_that_ran_out_is_not_renewed_though_nobody_took_it(leases: Leases) -> None:
    token = leases.acquire("prod", "ann", "r1", 100.0, 10)[1].token
    assert leases.renew("prod", token, 110.0, 10) is None
    assert leases.renew("nowhere", token, 100.0, 10) is None


def test_of_many_who_want_one_lease_one_gets_it(leases: Leases) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: leases.acquire("prod", f"o{n}", "r", 100.0, 10), range(8)))
    assert sum(ours for ours, _ in outcomes) == 1
    assert len({held for _, held in outcomes}) == 1


# events


def event(**about: str) -> dict[str, Any]:
    usual = {"id": uuid.uuid4().hex, "at": AT, "kind": "released", "actor": "ann", "subject": "acme", "environment": ""}
    return usual | about


def test_an_event_is_recorded_once_however_often_it_is_delivered(log: EventLog) -> None:
    one, two = event(), event()
    assert log.add([one, two, one], "ci") == 2
    assert log.add([two], "another") == 0
    found, _ = log.after(0, 10)
    assert [(each["id"], each["recorded_by"]) for each in found] == [(one["id"], "ci"), (two["id"], "ci")]


def test_events_are_read_in_their_order_from_a_serial_on(log: EventLog) -> None:
    sent = [event(subject=f"p{number}") for number in range(5)]
    log.add(sent, "ci")
    found, last = log.after(0, 3)
    assert [each["subject"] for each in found] == ["p0", "p1", "p2"]
    rest, same = log.after(found[-1]["serial"], 10)
    assert [each["subject"] for each in rest] == ["p3", "p4"]
    assert rest[-1]["serial"] == last == same
    assert log.after(last, 10) == ([], last)


def test_events_are_chosen_by_what_they_are_about_and_by_who_may_see_them(log: EventLog) -> None:
    log.add([event(subject="acme", environment="prod"), event(subject="acme"), event(subject="other")], "ci")
    assert len(log.after(0, 10, subject="acme", environment="")[0]) == 2
    assert len(log.after(0, 10, environment="prod")[0]) == 1
    assert [each["subject"] for each in log.after(0, 1, lambda subject, _: subject == "other")[0]] == ["other"]


# attachments


def test_the_newest_attachment_of_a_name_comes_first_and_none_is_lost(attachments: Attachments) -> None:
    first, second = StoredAttachment("lock", "a" * 64, 1, AT), StoredAttachment("lock", "b" * 64, 2, AT)
    for stored_one in (first, second, second):
        attachments.add("acme", "1", stored_one, "ci")
    other = StoredAttachment("statement", "c" * 64, 3, AT)
    attachments.add("acme", "1", other, "ci")
    assert attachments.beside("acme", "1", "lock") == [second, first]
    assert attachments.beside("acme", "1") == [other, second, first]
    assert attachments.beside("acme", "2") == []


def test_the_blob_of_an_attachment_is_needed(attachments: Attachments, index: Stored) -> None:
    attachments.add("acme", "1", StoredAttachment("lock", "a" * 64, 1, AT), "ci")
    assert index.records.needs("a" * 64)
    assert index.records.blobs() == {"a" * 64}


# epochs


def test_no_number_comes_back_after_a_restore_of_an_older_database(index: Stored) -> None:
    """A restore takes the place of a database that gave numbers after the backup: all that it gives are higher."""
    backup = index.folder.parent / "backup.sqlite"
    index.database.copy_to(backup)
    given = [numbers(index, f"r{number}", now=100.0 * number) for number in range(3)]
    for again in (1, 2):
        folder = index.folder.parent / f"restored-{again}"
        folder.mkdir()
        (folder / "index.sqlite").write_bytes(backup.read_bytes())
        restored = stored(folder)
        try:
            restored.records.begin_epoch(2_000_000_000.0 + again)
            given.append(numbers(restored, f"after-{again}", now=1000.0 * again))
        finally:
            restored.close()
    for kind in zip(*given, strict=True):
        assert list(kind) == sorted(set(kind)), "tokens, serials of events, of files"


def test_a_clock_that_is_behind_does_not_bring_an_epoch_back(index: Stored) -> None:
    before = numbers(index, "before", now=100.0)
    index.records.begin_epoch(0.0)
    after = numbers(index, "after", now=200.0)
    assert all(one < other for one, other in zip(before, after, strict=True))


def test_every_number_is_one_that_json_carries_exactly(index: Stored) -> None:
    index.records.begin_epoch(4_000_000_000.0)
    assert max(numbers(index, "r", now=100.0)) < 2**53


def numbers(index: Stored, name: str, now: float) -> tuple[int, int, int]:
    """The next fencing token, serial of an event and serial of the files."""
    token = index.leases.acquire("prod", "ann", name, now, 10)[1].token
    index.records.publish(new_file(wheel(name)))
    return token, index.events.after(0, 1000)[1], index.records.serials().files


# a database that others keep


def test_a_database_that_others_keep_is_busy_and_works_again_after(
    index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    impatient = stored(index.folder)
    other = sqlite3.connect(index.folder / "index.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy) as caught:
            impatient.tokens.add(CI)
        assert "try again" in caught.value.remedy
        assert impatient.tokens.every() == [], "reading goes on"
        other.execute("ROLLBACK")
        assert impatient.tokens.add(CI)
    finally:
        other.close()
        impatient.close()
