"""Records: the contract of every store, and the schema."""

from __future__ import annotations

import dataclasses
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.index.making import new_file, wheel

from pinwheel.errors import PinwheelError
from pinwheel.index.channels import EVERY_FILE
from pinwheel.index.entries import Act, AlreadyThere, Published, Standing, Taken
from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.store.records import Records

ACT = Act("2024-02-03T04:05:06.000000Z", "tester")


@pytest.fixture(params=["database"])
def records(index: Stored) -> Records:
    return index.records


def test_a_published_file_is_there(records: Records) -> None:
    new = new_file(wheel("acme"))
    assert isinstance(records.publish(new), Published)
    assert records.project("acme").files == (new.entry,)
    assert records.file(new.entry.filename) == new.entry
    assert list(records.every_file()) == [new.entry]
    assert records.names() == ("acme",)
    assert records.is_private("acme")


def test_what_was_never_published_is_not(records: Records) -> None:
    assert records.project("acme").files == ()
    assert records.file("acme-1.0-py3-none-any.whl") is None
    assert records.by_identity("acme") is None
    assert not records.is_private("acme")


def test_the_same_bytes_again_change_nothing(records: Records) -> None:
    new = new_file(wheel("acme"))
    records.publish(new)
    before = records.serials()
    assert isinstance(records.publish(new), AlreadyThere)
    assert records.serials() == before


def test_other_bytes_do_not_replace_a_file(records: Records) -> None:
    first, second = wheel("acme"), wheel("acme", code="other = True")
    records.publish(new_file(first))
    assert records.publish(new_file(second)) == Taken(first.filename, first.sha256, removed=False)
    assert [entry.sha256 for entry in records.project("acme").files] == [first.sha256]


def test_one_identity_under_two_names_is_one_file(records: Records) -> None:
    records.publish(new_file(wheel("acme", "1.0"), identity="same"))
    assert isinstance(records.publish(new_file(wheel("acme", "1.0.0"), identity="same")), Taken)


def test_of_many_at_once_one_wins(records: Records) -> None:
    rivals = [new_file(wheel("acme", code=f"n = {number}")) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(records.publish, rivals))
    assert sum(isinstance(each, Published) for each in outcomes) == 1
    winner = next(new for new, each in zip(rivals, outcomes, strict=True) if isinstance(each, Published))
    assert records.project("acme").files == (winner.entry,)


def test_many_files_are_published_in_one_change(records: Records) -> None:
    """Each as it would be alone, one after the other."""
    records.publish(new_file(wheel("acme")))
    first, second, other = wheel("acme", "2.0"), wheel("acme", "2.0", code="other = True"), wheel("other")
    before = records.serials().files
    new = [new_file(made) for made in (wheel("acme"), first, first, second, other, wheel("acme", code="x = 1"))]
    outcomes = records.publish_all(new)
    assert [type(outcome) for outcome in outcomes] == [AlreadyThere, Published, AlreadyThere, Taken, Published, Taken]
    assert outcomes[3] == Taken(first.filename, first.sha256, removed=False)
    assert records.serials().files == before + 1
    assert {each.name for each in records.standings(before)} == {"acme", "other"}
    assert records.names() == ("acme", "other")
    assert [entry.sha256 for entry in records.project("acme").files] == [wheel("acme").sha256, first.sha256]


def test_of_many_files_each_has_its_event(index: Stored) -> None:
    index.records.publish_all([new_file(wheel("acme", f"1.{number}")) for number in range(3)])
    found, last = index.events.after(0, 10)
    assert [(event["kind"], event["version"]) for event in found] == [("published", f"1.{n}") for n in range(3)]
    assert [event["serial"] for event in found] == [last - 2, last - 1, last]


def test_a_needed_blob_is_known_by_its_hash(records: Records, index: Stored) -> None:
    made = new_file(wheel("acme"))
    made = dataclasses.replace(made, entry=dataclasses.replace(made.entry, core_metadata="a" * 64))
    records.publish(made)
    assert [records.needs(sha256) for sha256 in (made.entry.sha256, "a" * 64, "b" * 64)] == [True, True, False]
    index.releases.remove("acme", "1.0.0", ACT)
    assert not records.needs(made.entry.sha256)


def test_a_change_is_seen_by_others_at_once(records: Records, index: Stored) -> None:
    other = stored(index.folder)
    try:
        seen = other.records.state()
        assert other.records.state() == seen
        before = other.records.serials()
        records.publish(new_file(wheel("acme")))
        assert other.records.state() != seen
        after = other.records.serials()
        assert after.files > before.files
        assert after.access == before.access
        assert other.records.standings(before.files) == (Standing("acme", EVERY_FILE),)
        assert other.records.standings(after.files) == ()
    finally:
        other.close()


def test_records_name_every_blob_they_need(records: Records) -> None:
    new = new_file(wheel("acme"))
    with_metadata = dataclasses.replace(new, entry=dataclasses.replace(new.entry, core_metadata="ab" * 32))
    records.publish(with_metadata)
    assert records.blobs() == {new.entry.sha256, "ab" * 32}


def test_a_publication_and_its_event_are_one(index: Stored) -> None:
    new = new_file(wheel("acme"))
    index.records.publish(new)
    index.records.publish(new)
    events, last = index.events.after(0, 10)
    assert [(each["kind"], each["subject"], each["version"]) for each in events] == [("published", "acme", "1.0.0")]
    assert events[0]["detail"]["sha256"] == new.entry.sha256
    assert last == events[0]["serial"]


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("999", "newer pinwheel that wrote it"), ("0", "older pinwheel that wrote it: before the first release nothing")],
)
def test_another_schema_version_is_refused_in_both_directions(index: Stored, version: str, remedy: str) -> None:
    with sqlite3.connect(index.folder / "index.sqlite") as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (version,))
    connection.close()
    with pytest.raises(PinwheelError, match=f"schema version {version}") as caught:
        stored(index.folder)
    assert remedy in caught.value.remedy
