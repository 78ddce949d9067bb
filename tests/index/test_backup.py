"""I15: a backup, written while the index serves, makes the same index on another machine."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from tests.index import running
from tests.index.making import new_file, wheel
from tests.index.running import JSON, environment, make_token, names, run_pinwheel

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import Act, Busy
from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.store import database
from pinwheel.index.store.records import DatabaseRecords
from pinwheel.index.store.storing import drop, recording
from pinwheel.index.upkeep.backup import BLOBS, MANIFEST, write_backup
from pinwheel.index.upkeep.restoring import restore
from pinwheel.index.upkeep.verifying import verify

AT = "2024-02-03T04:05:06.000000Z"
NOW_S = 2_000_000_000.0


def publish(index: Stored, *versions: str) -> None:
    for version in versions:
        made = wheel("acme", version)
        with recording(index.records, index.blobs, made.sha256):
            index.blobs.put(made.content, made.sha256)
            index.records.publish(new_file(made))


def back_up(index: Stored, target: Path) -> tuple[tuple[str, str], ...]:
    return write_backup(target, database=index.database, blobs=index.blobs, temporary=index.temporary, at=AT).faults


@pytest.mark.slow
def test_a_backup_of_a_serving_index_makes_the_same_index_elsewhere(tmp_path: Path) -> None:
    file, there = tmp_path / "backup.tar", tmp_path / "another" / "data"
    with running.running(tmp_path / "data") as server:
        token = server.token("t", "read", "upload", "deploy")
        made = wheel("acme", code="def said(): return 'restored'")
        assert server.upload(made, token).status == 200
        server.ask("PUT", "/-/attachments/acme/1.0.0/pylock.toml", token, body=b"lock")
        done = run_pinwheel("index.backup", str(file), "--data", str(server.folder), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["faults"] == []
        held = server.ask("POST", "/-/leases/prod", token, body=b'{"owner": "o", "rollout": "r", "ttl_s": 60}')
        late = server.upload(wheel("late"), token)
        assert (held.status, late.status) == (200, 200)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    done = run_pinwheel("index.restore", str(file), "--data", str(there), "--private", "Late")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    assert run_pinwheel("index.verify", "--data", str(there)).returncode == 0
    with running.running(there) as server:
        assert names(server.ask("GET", "/simple/acme/", token, headers=JSON)) == [made.filename]
        assert server.ask("GET", "/-/attachments/acme/1.0.0/pylock.toml", token).body == b"lock"
        again = server.ask("POST", "/-/leases/prod", token, body=b'{"owner": "o", "rollout": "r", "ttl_s": 60}')
        assert again.json()["token"] > held.json()["token"], "a lease of after the backup must not be taken for newer"
        url = server.url.replace("://", f"://__token__:{token}@")
        target = tmp_path / "target"
        installed = subprocess.run(
            (
                *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)),
                *("--index-url", f"{url}simple/", "acme"),
            ),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert installed.returncode == 0, installed.stderr
        assert (target / "acme.py").read_text() == "def said(): return 'restored'"
    index = stored(there)
    with contextlib.closing(index):
        assert index.records.is_private("late"), "a name of after the backup stays away from every upstream"
        assert not index.records.is_private("later")


@pytest.mark.slow
def test_a_backup_holds_one_moment_whatever_is_published_and_removed_meanwhile(index: Stored, tmp_path: Path) -> None:
    publish(index, *(f"1.{number}" for number in range(20)))
    stop = threading.Event()

    def churn() -> None:
        for number in range(20, 10_000):
            if stop.is_set():
                return
            gone = wheel("acme", f"1.{number - 20}")
            publish(index, f"1.{number}")
            index.releases.remove("acme", gone.version, Act(AT, "tester"))
            drop(index.records, index.blobs, gone.sha256)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        for number in range(5):
            assert back_up(index, tmp_path / f"{number}.tar") == ()
    finally:
        stop.set()
        churning.join()
    for number in range(5):
        folder = tmp_path / f"restored-{number}"
        assert restore(tmp_path / f"{number}.tar", folder, now_s=NOW_S, at=AT).damaged == ()
        with contextlib.closing(stored(folder)) as restored:
            assert 20 <= len(restored.records.project("acme").files) <= 21
            assert list(verify(restored.records, restored.blobs)) == []
    assert list(index.temporary.iterdir()) == []


def test_a_restore_begins_a_new_epoch(index: Stored, tmp_path: Path) -> None:
    """Whoever has seen tokens and serials of after the backup must not see lower ones."""
    publish(index, "1.0")
    back_up(index, tmp_path / "backup.tar")
    publish(index, "1.1", "1.2")
    _, before = index.leases.acquire("prod", "o", "r", 1.0, 1.0)
    restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    with contextlib.closing(stored(tmp_path / "there")) as there:
        assert there.leases.acquire("prod", "o", "r", 1.0, 1.0)[1].token > before.token
        files = there.records.serials().files
        assert files > index.records.serials().files
        publish(there, "2.0")
        (*_, newest), _last = there.events.after(index.events.after(0, 1)[1], 10)
        assert newest["version"] == "2.0"
        after = there.records.standings(index.records.serials().files)
        assert [each.name for each in after] == ["acme"], "every page is made again"


def test_a_restore_whose_new_epoch_is_not_in_the_one_file_makes_no_index(
    index: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite brings its log into the file when the last connection is closed, and says nothing when it cannot."""
    publish(index, "1.0")
    back_up(index, tmp_path / "backup.tar")
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    begin_epoch = DatabaseRecords.begin_epoch
    with contextlib.ExitStack() as readers:

        def read_beside(records: DatabaseRecords, now: float) -> None:
            (file,) = (tmp_path / "there" / "tmp").rglob("index.sqlite")
            reader = readers.enter_context(contextlib.closing(sqlite3.connect(file, isolation_level=None)))
            reader.execute("BEGIN")
            reader.execute("SELECT value FROM meta").fetchall()
            begin_epoch(records, now)

        monkeypatch.setattr(DatabaseRecords, "begin_epoch", read_beside)
        with pytest.raises(Busy):
            restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
        assert not (tmp_path / "there" / "index.sqlite").exists()
    monkeypatch.setattr(DatabaseRecords, "begin_epoch", begin_epoch)
    restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/there/index.sqlite?immutable=1", uri=True)) as alone:
        ((epoch,),) = alone.execute("SELECT value FROM meta WHERE key = 'epoch'")
    assert int(epoch) >= NOW_S, "in the file itself"


def test_a_restore_says_what_it_undoes_and_can_end_every_token(index: Stored, tmp_path: Path) -> None:
    for name in ("kept", "leaked"):
        make_token(index.folder, name, "read")
    make_token(index.folder, "minted", "read", parent="kept", expires_at=4e9)
    back_up(index, tmp_path / "backup.tar")
    index.tokens.revoke("leaked", AT)
    done = run_pinwheel("index.restore", str(tmp_path / "backup.tar"), "--data", str(tmp_path / "there"), "--json")
    assert (done.returncode, json.loads(done.stdout)["tokens"]) == (0, ["kept", "leaked"])
    for said in ("2 tokens are valid", "kept, leaked", "--revoke-tokens", "public again", "--private", "quarantine"):
        assert said in done.stderr
    data = ("--data", str(tmp_path / "strict"), "--json")
    done = run_pinwheel("index.restore", str(tmp_path / "backup.tar"), *data, "--revoke-tokens")
    assert (done.returncode, json.loads(done.stdout)["tokens"], "are valid" in done.stderr) == (0, [], False)
    with contextlib.closing(stored(tmp_path / "strict")) as there:
        assert all(each.revoked_at for each in there.tokens.every())


@pytest.mark.slow
def test_what_is_missing_or_damaged_in_the_index_is_named(index: Stored, tmp_path: Path) -> None:
    publish(index, "1.0", "1.1", "1.2")
    missing, damaged = wheel("acme", "1.0").sha256, wheel("acme", "1.1").sha256
    index.blobs.discard(missing)
    index.blobs.path(damaged).write_bytes(b"x")
    data = ("--data", str(index.folder))
    done = run_pinwheel("index.backup", str(tmp_path / "backup.tar"), *data, "--json")
    assert done.returncode == 1
    assert {fault["what"] for fault in json.loads(done.stdout)["faults"]} == {missing, damaged}
    done = run_pinwheel("index.restore", str(tmp_path / "backup.tar"), "--data", str(tmp_path / "there"), "--json")
    assert (done.returncode, json.loads(done.stdout)["damaged"]) == (1, [damaged])
    with contextlib.closing(stored(tmp_path / "there")) as there:
        assert {fault.what for fault in verify(there.records, there.blobs)} == {
            wheel("acme", "1.0").filename,
            wheel("acme", "1.1").filename,
        }


def test_a_backup_never_replaces_a_file(index: Stored, tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_bytes(b"an older one")
    with pytest.raises(PinwheelError, match="exists already"):
        back_up(index, tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").read_bytes() == b"an older one"
    with pytest.raises(PinwheelError, match="cannot be written"):
        back_up(index, tmp_path / "nowhere" / "backup.tar")


def test_a_backup_that_fails_leaves_nothing(index: Stored, tmp_path: Path) -> None:
    publish(index, "1.0")

    def fails() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_backup(
            tmp_path / "backup.tar",
            database=index.database,
            blobs=index.blobs,
            temporary=index.temporary,
            at=AT,
            written=fails,
        )
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert list(index.temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 100, 5_000, -2_000, -20_000])
def test_a_backup_that_was_cut_is_refused_and_makes_no_index(index: Stored, tmp_path: Path, left: int) -> None:
    publish(index, *(f"1.{number}" for number in range(20)))
    back_up(index, tmp_path / "backup.tar")
    whole = (tmp_path / "backup.tar").read_bytes()
    # the last 10 KiB of a tar are its end, of which the reader needs nothing
    (tmp_path / "backup.tar").write_bytes(whole[: left if left >= 0 else len(whole) - 10_240 + left])
    with pytest.raises(PinwheelError, match="no whole backup"):
        restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    with pytest.raises(PinwheelError, match="no index"):
        stored(tmp_path / "there")
    (tmp_path / "backup.tar").write_bytes(whole)
    restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)


def test_a_folder_with_something_in_it_is_not_restored_into(index: Stored, tmp_path: Path) -> None:
    back_up(index, tmp_path / "backup.tar")
    with pytest.raises(PinwheelError, match="not empty"):
        restore(tmp_path / "backup.tar", index.folder, now_s=NOW_S, at=AT)
    with pytest.raises(PinwheelError, match="no such backup"):
        restore(tmp_path / "missing.tar", tmp_path / "there", now_s=NOW_S, at=AT)


def test_a_glob_is_no_name_that_a_restore_could_keep(index: Stored, tmp_path: Path) -> None:
    back_up(index, tmp_path / "backup.tar")
    data = ("--data", str(tmp_path / "there"))
    done = run_pinwheel("index.restore", str(tmp_path / "backup.tar"), *data, "--private", "acme-*")
    assert (done.returncode, "index.private" in done.stderr) == (2, True)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(("schema", "whose"), [(1, "older"), (99, "newer")])
def test_a_backup_of_another_schema_is_refused_in_both_directions(tmp_path: Path, schema: int, whose: str) -> None:
    document = json.dumps({"format": 1, "schema": schema, "at": AT, "blobs": 0}).encode()
    with tarfile.open(tmp_path / "backup.tar", "w") as tar:
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(document)
        tar.addfile(info, io.BytesIO(document))
    with pytest.raises(PinwheelError, match="schema version") as raised:
        restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    assert whose in raised.value.remedy
    assert not (tmp_path / "there").exists()


def test_a_member_that_leads_elsewhere_is_not_written(index: Stored, tmp_path: Path) -> None:
    back_up(index, tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar") as tar, tarfile.open(tmp_path / "evil.tar", "w") as evil:
        for member in tar:
            evil.addfile(member, tar.extractfile(member))
        for name in ("../evil", "/tmp/evil", f"{BLOBS}../../evil", f"{BLOBS}{'a' * 64}"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            evil.addfile(link)
    restore(tmp_path / "evil.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    assert {each.name for each in (tmp_path / "there").iterdir()} == {"index.sqlite", "blobs", "tmp"}
    assert not list(tmp_path.rglob("evil"))


DIES = """
import os, signal, sys
from pathlib import Path
from pinwheel.index.upkeep import restoring
from pinwheel.index.entries import Act
from pinwheel.index.upkeep.restoring import restore

restoring.BATCH_BLOBS = 2
left = [int(sys.argv[3])]

def read():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

restore(Path(sys.argv[1]), Path(sys.argv[2]), now_s=2e9, at="2024-02-03T04:05:06.000000Z", read=read)
"""


def test_a_restore_that_is_killed_is_no_index_and_can_be_done_again(index: Stored, tmp_path: Path) -> None:
    publish(index, *(f"1.{number}" for number in range(6)))
    back_up(index, tmp_path / "backup.tar")
    argv = (sys.executable, "-P", "-c", DIES, str(tmp_path / "backup.tar"), str(tmp_path / "there"), "5")
    assert subprocess.run(argv, env=environment(), timeout=60, check=False).returncode == -signal.SIGKILL
    with pytest.raises(PinwheelError, match="no index"):
        stored(tmp_path / "there")
    restore(tmp_path / "backup.tar", tmp_path / "there", now_s=NOW_S, at=AT)
    with contextlib.closing(stored(tmp_path / "there")) as there:
        assert list(verify(there.records, there.blobs)) == []
        assert len(there.records.project("acme").files) == 6
