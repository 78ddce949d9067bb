"""A data folder that is damaged, or not ours to write: one error with a remedy from every task."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from tests.index.making import wheel
from tests.index.running import PINWHEEL, environment, make_token, run_pinwheel

from pinwheel.errors import PinwheelError
from pinwheel.index.entries import NoSpace
from pinwheel.index.server.assembly import stored
from pinwheel.index.store.database import Database

TASKS = [
    ("index.serve", "--port", "0"),
    ("index.token-create", "new", "--scope", "read"),
    ("index.token-list",),
    ("index.token-revoke", "t"),
    ("index.token-rotate", "t"),
    ("index.why", "acme"),
    ("index.verify",),
]
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    make_token(made, "t", "read")
    return made


@pytest.mark.parametrize(("start", "end"), [(0, 100), (4096, None), (0, None)], ids=["header", "pages", "all"])
def test_a_damaged_database_is_said_to_be(folder: Path, start: int, end: int | None) -> None:
    file = folder / "index.sqlite"
    content = bytearray(file.read_bytes())
    content[start:end] = b"\xa5" * len(content[start:end])
    file.write_bytes(content)
    with pytest.raises(PinwheelError, match="damaged") as raised:
        stored(folder).tokens.every()
    assert (raised.value.where, "index.restore" in raised.value.remedy) == (str(file), True)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task[0])
def test_no_task_shows_a_traceback_for_a_damaged_database(folder: Path, task: tuple[str, ...]) -> None:
    (folder / "index.sqlite").write_bytes(wheel("acme").content)
    done = run_pinwheel(*task, "--data", str(folder))
    assert (done.returncode, done.stderr.count("\n")) == (1, 3), done.stderr
    assert "the index's database is damaged" in done.stderr


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (sqlite3.SQLITE_READONLY_DIRECTORY, PinwheelError, "opened for writing"),
        (sqlite3.SQLITE_READONLY_CANTINIT, PinwheelError, "opened for writing"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, PinwheelError, "opened for writing"),
        (sqlite3.SQLITE_CORRUPT_INDEX, PinwheelError, "damaged"),
        (sqlite3.SQLITE_FULL | 1 << 8, NoSpace, "full"),
        (sqlite3.SQLITE_IOERR_FSYNC, PinwheelError, "cannot be read or written: no"),
        (sqlite3.SQLITE_PROTOCOL, PinwheelError, "cannot be read or written: no"),
        (sqlite3.SQLITE_ERROR, OperationalError, "no"),  # nonsense that we asked for
    ],
)
def test_the_extended_codes_of_sqlite_mean_what_the_plain_ones_mean(
    folder: Path, code: int, kind: type[Exception], said: str
) -> None:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    with pytest.raises(kind, match=said), Database(folder / "index.sqlite").reading():
        raise OperationalError("SELECT", {}, error)


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["readable", "closed"])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task[0])
def test_a_folder_of_somebody_else_is_said_to_be_not_writable(folder: Path, task: tuple[str, ...], mode: int) -> None:
    # not "as another user": who need not be able to reach this checkout or its interpreter. Root with no
    # capability is a user like any other, to whom nobody's folder is closed.
    for each in (folder, *folder.rglob("*")):
        os.chown(each, NOBODY, NOBODY)
    folder.chmod(mode)
    done = subprocess.run(
        ("setpriv", "--bounding-set=-all", "--inh-caps=-all", *PINWHEEL, *task, "--data", str(folder)),
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 3), done.stderr
    assert "writing" in done.stderr or "written" in done.stderr
