"""Releases: the contract of every store of what is decided after a file was published."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.index.making import new_file, sdist, wheel
from tests.index.running import environment

from pinwheel.index.channels import EVERY_FILE, MAIN
from pinwheel.index.entries import (
    Act,
    AlreadyThere,
    AsBefore,
    Changed,
    Closed,
    Curated,
    NotThere,
    Published,
    Standing,
    Taken,
)
from pinwheel.index.server.assembly import Stored
from pinwheel.index.store.releases import Releases

ACT = Act("2024-02-03T04:05:06.000000Z", "ann")
PROD = frozenset({"prod"})
REMOVAL = """
import os, signal, sys
from pathlib import Path
from pinwheel.index.store import event_log
from pinwheel.index.server.assembly import now, stored
from pinwheel.index.store.curating import Curator

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

index = stored(Path(sys.argv[1]))
if sys.argv[2] == "within the transaction":
    event_log.append = die
Curator(index.releases, index.records, index.blobs, now, die).remove("acme", "1.0", "ann")
"""


@pytest.fixture(params=["database"])
def releases(index: Stored) -> Releases:
    index.records.publish(new_file(wheel("acme", "1.0")))
    index.records.publish(new_file(sdist("acme", "1.0")))
    index.records.publish(new_file(wheel("acme", "2.0")))
    return index.releases


def told(index: Stored) -> list[dict[str, Any]]:
    """The events since the files were published."""
    return [event for event in index.events.after(0, 100)[0] if event["kind"] != "published"]


def yanked(index: Stored) -> dict[str, str | None]:
    return {entry.filename: entry.yanked for entry in index.records.project("acme").files}


@pytest.mark.parametrize("version", ["1.0", "1", "1.0.0"])
def test_a_yank_is_of_every_file_of_the_version_however_it_is_written(
    releases: Releases, index: Stored, version: str
) -> None:
    changed = releases.yank("acme", version, "broken", ACT)
    assert isinstance(changed, Changed)
    assert [entry.filename for entry in changed.files] == ["acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"]
    assert yanked(index) == {
        "acme-1.0-py3-none-any.whl": "broken",
        "acme-1.0.tar.gz": "broken",
        "acme-2.0-py3-none-any.whl": None,
    }


def test_a_file_that_is_published_after_the_yank_is_yanked_too(releases: Releases, index: Stored) -> None:
    releases.yank("acme", "2.0", "broken", ACT)
    index.records.publish(new_file(sdist("acme", "2.0")))
    assert yanked(index)["acme-2.0.tar.gz"] == "broken"


def test_an_unyank_takes_the_yank_back(releases: Releases, index: Stored) -> None:
    releases.yank("acme", "1.0", "", ACT)
    assert yanked(index)["acme-1.0.tar.gz"] == ""
    assert isinstance(releases.unyank("acme", "1.0", ACT), Changed)
    assert set(yanked(index).values()) == {None}


def test_a_promotion_shows_every_file_in_the_channel_and_no_other(releases: Releases, index: Stored) -> None:
    assert isinstance(releases.promote("acme", "1", "prod", ACT), Changed)
    shown = [entry.filename for entry in index.records.project("acme", PROD).files]
    assert shown == ["acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"]
    assert index.records.project("acme", frozenset({"test"})).files == ()
    assert len(index.records.project("acme", EVERY_FILE).files) == 3
    assert index.records.standings() == (Standing("acme", frozenset({MAIN, "prod"})),)


def test_a_file_that_comes_after_the_promotion_is_not_promoted_by_it(releases: Releases, index: Stored) -> None:
    releases.promote("acme", "2.0", "prod", ACT)
    index.records.publish(new_file(sdist("acme", "2.0")))
    assert [entry.filename for entry in index.records.project("acme", PROD).files] == ["acme-2.0-py3-none-any.whl"]
    assert isinstance(releases.promote("acme", "2.0", "prod", ACT), Changed)
    assert len(index.records.project("acme", PROD).files) == 2


def test_a_demotion_takes_every_file_out_of_one_channel(releases: Releases, index: Stored) -> None:
    for channel in ("test", "prod"):
        releases.promote("acme", "1.0", channel, ACT)
    assert isinstance(releases.demote("acme", "1.0", "prod", ACT), Changed)
    assert index.records.project("acme", PROD).files == ()
    assert len(index.records.project("acme", frozenset({"test"})).files) == 2


def test_a_removal_takes_the_whole_release_and_its_names_stay_taken(releases: Releases, index: Stored) -> None:
    releases.promote("acme", "1.0", "prod", ACT)
    assert isinstance(releases.remove("acme", "1.0", ACT), Changed)
    assert [entry.filename for entry in index.records.project("acme").files] == ["acme-2.0-py3-none-any.whl"]
    assert index.records.project("acme", PROD).files == ()
    assert index.records.file("acme-1.0.tar.gz") is None
    assert index.records.publish(new_file(sdist("acme", "1.0"))) == Taken(
        "acme-1.0.tar.gz", sdist("acme", "1.0").sha256, removed=True
    )
    assert releases.remove("acme", "1.0", ACT) == NotThere()
    releases.remove("acme", "2.0", ACT)
    assert index.records.names() == ()
    assert index.records.is_private("acme")
    assert index.records.blobs() == set()
    assert index.records.standings() == (Standing("acme", frozenset()),)


@pytest.mark.parametrize("status", ["archived", "quarantined"])
def test_a_closed_project_takes_no_new_file_but_knows_its_own(releases: Releases, index: Stored, status: Any) -> None:
    releases.set_status("acme", status, "moved", ACT)
    assert index.records.publish(new_file(sdist("acme", "2.0"))) == Closed("acme", status, "moved")
    assert isinstance(index.records.publish(new_file(wheel("acme", "2.0"))), AlreadyThere)
    assert isinstance(index.records.publish(new_file(wheel("other"))), Published)
    releases.set_status("acme", "active", "", ACT)
    assert isinstance(index.records.publish(new_file(sdist("acme", "2.0"))), Published)


def test_a_project_in_quarantine_offers_nothing_and_loses_nothing(releases: Releases, index: Stored) -> None:
    releases.set_status("acme", "quarantined", "malware?", ACT)
    project = index.records.project("acme")
    assert (project.files, project.status, project.reason) == ((), "quarantined", "malware?")
    assert index.records.file("acme-1.0.tar.gz") is None
    assert len(list(index.records.every_file())) == 3
    assert index.records.standings() == (Standing("acme", EVERY_FILE),)
    releases.set_status("acme", "deprecated", "", ACT)
    assert len(index.records.project("acme").files) == 3


def test_every_decision_is_one_event_with_the_files_that_it_concerns(releases: Releases, index: Stored) -> None:
    releases.yank("acme", "1.0", "broken", ACT)
    releases.unyank("acme", "1.0", ACT)
    releases.promote("acme", "1.0", "prod", ACT)
    releases.demote("acme", "1.0", "prod", ACT)
    releases.set_status("acme", "archived", "done", ACT)
    releases.remove("acme", "1.0", ACT)
    found = told(index)
    assert [event["kind"] for event in found] == ["yanked", "unyanked", "promoted", "demoted", "status", "removed"]
    assert {(event["subject"], event["actor"], event["recorded_by"], event["at"]) for event in found} == {
        ("acme", "ann", "ann", ACT.at)
    }
    assert [event["version"] for event in found] == ["1.0", "1.0", "1.0", "1.0", "", "1.0"]
    assert found[0]["detail"] == {
        "reason": "broken",
        "files": [
            {"filename": made.filename, "sha256": made.sha256} for made in (wheel("acme", "1.0"), sdist("acme", "1.0"))
        ],
    }
    assert found[2]["detail"]["channel"] == "prod"
    assert found[4]["detail"] == {"status": "archived", "reason": "done", "before": "active"}


def test_what_is_so_already_changes_nothing_and_is_not_told(releases: Releases, index: Stored) -> None:
    releases.yank("acme", "1.0", "broken", ACT)
    releases.promote("acme", "1.0", "prod", ACT)
    before, serials = told(index), index.records.serials()
    assert releases.yank("acme", "1", "broken", ACT) == AsBefore()
    assert releases.unyank("acme", "2.0", ACT) == AsBefore()
    assert releases.promote("acme", "1", "prod", ACT) == AsBefore()
    assert releases.demote("acme", "2.0", "prod", ACT) == AsBefore()
    assert releases.set_status("acme", "active", "", ACT) == AsBefore()
    assert told(index) == before
    assert index.records.serials() == serials


def test_what_is_not_there_cannot_be_decided_about(releases: Releases, index: Stored) -> None:
    assert releases.yank("acme", "3.0", "broken", ACT) == NotThere()
    assert releases.promote("other", "1.0", "prod", ACT) == NotThere()
    assert releases.set_status("other", "archived", "", ACT) == NotThere()
    assert told(index) == []


def test_every_decision_raises_the_serial_and_leaves_the_pages_to_be_made_again(
    releases: Releases, index: Stored
) -> None:
    decisions: list[Callable[[], Curated]] = [
        lambda: releases.yank("acme", "1.0", "broken", ACT),
        lambda: releases.promote("acme", "1.0", "prod", ACT),
        lambda: releases.set_status("acme", "deprecated", "", ACT),
        lambda: releases.remove("acme", "1.0", ACT),
    ]
    for decide in decisions:
        before = index.records.project("acme").serial
        changed = decide()
        assert isinstance(changed, Changed)
        assert changed.serial > before
        assert index.records.project("acme").serial == changed.serial
        assert [standing.name for standing in index.records.standings(before)] == ["acme"]


def test_releases_are_listed_with_their_channels(releases: Releases) -> None:
    releases.promote("acme", "1.0", "prod", ACT)
    releases.yank("acme", "2.0", "broken", ACT)
    one, two = releases.of("acme")
    assert (one.version, one.channels, one.yanked, len(one.files)) == ("1.0", EVERY_FILE | PROD, None, 2)
    assert (two.version, two.channels, two.yanked, len(two.files)) == ("2.0", EVERY_FILE, "broken", 1)
    assert releases.of("other") == ()


def test_of_many_who_promote_at_once_one_changes_something(releases: Releases, index: Stored) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: releases.promote("acme", "1.0", "prod", ACT), range(8)))
    assert sum(isinstance(each, Changed) for each in outcomes) == 1
    assert len(told(index)) == 1


def test_the_blobs_of_a_removed_release_are_not_needed_unless_another_has_the_same_bytes(
    releases: Releases, index: Stored
) -> None:
    made = new_file(wheel("acme", "2.0"))
    entry = dataclasses.replace(made.entry, project="twin", filename="twin-2.0-py3-none-any.whl")
    index.records.publish(dataclasses.replace(made, entry=entry, identity="twin"))
    releases.remove("acme", "2.0", ACT)
    assert index.records.needs(made.entry.sha256)
    releases.remove("twin", "2.0", ACT)
    assert not index.records.needs(made.entry.sha256)


@pytest.mark.parametrize("moment", ["within the transaction", "after the commit"])
def test_a_removal_that_is_killed_took_the_whole_release_or_nothing(
    releases: Releases, index: Stored, moment: str
) -> None:
    died = subprocess.run(
        (sys.executable, "-P", "-c", REMOVAL, str(index.folder), moment), env=environment(), timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    versions = [entry.version for entry in index.records.project("acme").files]
    if moment == "after the commit":
        assert versions == ["2.0"]
        assert [event["kind"] for event in told(index)] == ["removed"]
    else:
        assert versions == ["1.0", "1.0", "2.0"]
        assert told(index) == []
        assert isinstance(releases.remove("acme", "1.0", ACT), Changed), "it can be repeated"
