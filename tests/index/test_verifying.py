"""`index.verify` names what is missing or damaged, and `--repair` makes anew what can be made."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

from tests.index.making import wheel
from tests.index.running import call, make_token, run_pinwheel, upload

from pinwheel.archive import Limits
from pinwheel.index.server.assembly import Stored
from pinwheel.index.upkeep.verifying import repaired, verify, verify_database


def test_verify_names_what_is_missing_and_what_is_damaged(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "t", "upload"), app()
    whole, missing, damaged = wheel("whole"), wheel("missing"), wheel("damaged")
    for made in (whole, missing, damaged):
        upload(served, made, token)
    assert run_pinwheel("index.verify", "--data", str(index.folder)).returncode == 0
    index.blobs.discard(missing.sha256)
    index.blobs.path(damaged.sha256).write_bytes(b"x" * len(damaged.content))
    faults = {fault.what: fault.problem for fault in verify(index.records, index.blobs)}
    assert set(faults) == {missing.filename, damaged.filename}
    assert "missing" in faults[missing.filename]
    assert "damaged" in faults[damaged.filename]
    done = run_pinwheel("index.verify", "--json", "--data", str(index.folder))
    assert done.returncode == 1
    assert {fault["what"] for fault in json.loads(done.stdout)["faults"]} == set(faults)


def test_uploading_the_same_bytes_again_puts_right_what_verify_found(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "t", "upload"), app()
    missing, cut, damaged, bare = (wheel(name) for name in ("missing", "cut", "damaged", "bare"))
    for made in (missing, cut, damaged, bare):
        upload(served, made, token)
    index.blobs.discard(missing.sha256)
    index.blobs.path(cut.sha256).write_bytes(cut.content[:100])
    index.blobs.path(damaged.sha256).write_bytes(b"x" * len(damaged.content))
    (entry,) = index.records.project("bare").files
    index.blobs.discard(str(entry.core_metadata))
    faults = [fault.what for fault in verify(index.records, index.blobs)]
    assert sorted(faults) == sorted([missing.filename, cut.filename, damaged.filename, f"{bare.filename}.metadata"]), (
        "each is named once"
    )
    for made in (missing, cut, damaged, bare):
        assert upload(served, made, token).headers["pinwheel-outcome"] == "already there"
    assert list(verify(index.records, index.blobs)) == []
    assert list(index.temporary.iterdir()) == []


def test_lost_and_damaged_metadata_is_made_again_and_the_rest_is_named(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "t", "read", "upload"), app()
    lost, damaged, gone = wheel("lost"), wheel("damaged"), wheel("gone")
    for made in (lost, damaged, gone):
        upload(served, made, token)
    metadata = {name: str(index.records.project(name).files[0].core_metadata) for name in ("lost", "damaged", "gone")}
    index.blobs.discard(metadata["lost"])
    index.blobs.path(metadata["damaged"]).write_bytes(b"Name: other")
    index.blobs.discard(metadata["gone"])
    index.blobs.discard(gone.sha256)
    done = run_pinwheel("index.verify", "--repair", "--json", "--data", str(index.folder))
    assert done.returncode == 1
    assert {fault["what"]: fault["repaired"] for fault in json.loads(done.stdout)["faults"]} == {
        f"{lost.filename}.metadata": True,
        f"{damaged.filename}.metadata": True,
        f"{gone.filename}.metadata": False,
        gone.filename: False,
    }
    assert {fault.what for fault in verify(index.records, index.blobs)} == {
        gone.filename,
        f"{gone.filename}.metadata",
    }
    assert call(served, "GET", f"/files/{lost.sha256}/{lost.filename}.metadata", token).status == 200


def test_metadata_of_a_damaged_distribution_is_not_made_up(app: Callable[..., Any], index: Stored) -> None:
    token, served, made = make_token(index.folder, "t", "upload"), app(), wheel("acme")
    upload(served, made, token)
    (entry,) = index.records.project("acme").files
    index.blobs.discard(str(entry.core_metadata))
    index.blobs.path(made.sha256).write_bytes(wheel("acme", requires=["other"]).content)
    faults = list(verify(index.records, index.blobs))
    assert f"{made.filename}.metadata" in {fault.what for fault in faults}
    assert not any(repaired(fault, index.blobs, Limits()) for fault in faults)


def test_a_row_that_leads_nowhere_is_named(index: Stored) -> None:
    assert list(verify_database(index.database, "index.sqlite")) == []
    with contextlib.closing(sqlite3.connect(index.database.path)) as connection:
        connection.execute("INSERT INTO releases (project_id, version) VALUES (99, '1')")
        connection.commit()
    (fault,) = verify_database(index.database, "index.sqlite")
    assert (fault.what, "releases" in fault.problem) == ("index.sqlite", True)
    done = run_pinwheel("index.verify", "--repair", "--data", str(index.folder))
    assert (done.returncode, "index.sqlite" in done.stdout) == (1, True)
