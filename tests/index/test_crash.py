"""I1: killed with SIGKILL at any moment of an upload, an index is never half there, and a retry works."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.index import crashing, running
from tests.index.making import Made, form, wheel
from tests.index.running import JSON, Server, call, environment, make_token, names

from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.upkeep.sweeping import sweep
from pinwheel.index.upkeep.verifying import verify

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = ("upload.received", "blobs.put", "records.publish_all", "event_log.append", "answers.send")
"""Functions in the order in which an upload comes to them: before the blob, the record, its commit, and the answer."""


class Doomed:
    """Processes that upload one file each, and that die at a line of our choice."""

    def __init__(self, process: subprocess.Popen[str], index: Stored, token: str) -> None:
        self._process = process
        self._index = index
        self._token = token

    def upload(self, made: Made, last: int | str | None = None) -> Any:
        """Die at the line numbered `last`, or at the first of that function; None lets it live."""
        content_type, body = form(made)
        file = self._index.folder.parent / "body"
        file.write_bytes(body)
        about = {"folder": str(self._index.folder), "body": str(file), "token": self._token}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(about | {"content_type": content_type, "last": last}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def doomed(index: Stored) -> Iterator[Doomed]:
    token = make_token(index.folder, "doomed", "read", "upload")
    argv = (sys.executable, "-P", crashing.__file__)
    where = environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True, env=where) as process:
        yield Doomed(process, index, token)


def is_whole(index: Stored, app: Any, token: str, made: Made) -> bool:
    """Whether the file is there after its uploader died: with all that belongs to it, or not at all."""
    listed = call(app, "GET", f"/simple/{made.project}/", token, headers=JSON)
    there = listed.status == 200 and list(names(listed)) == [made.filename]
    assert there is (index.records.file(made.filename) is not None)
    got = call(app, "GET", f"/files/{made.sha256}/{made.filename}", token)
    assert (got.status, got.body == made.content) == ((200, True) if there else (404, False))
    return there


def holds(doomed: Doomed, index: Stored, app: Any, token: str, moments: Sequence[int | str]) -> set[bool]:
    """Die at each of the moments; says whether the files were there then."""
    ends = set()
    for number, moment in enumerate(moments):
        made = wheel(f"acme-{number}", code=f"n = {number}")
        doomed.upload(made, moment)
        ends.add(is_whole(index, app, token, made))
        assert doomed.upload(made)["status"] == 200, f"a retry after death at {moment}"
        assert is_whole(index, app, token, made)
        sweep(index.records, index.blobs, index.temporary)
        assert set(index.blobs.every()) == index.records.blobs(), "orphans are swept"
        assert list(index.temporary.iterdir()) == []
    assert list(verify(index.records, index.blobs)) == []
    return ends


def test_an_upload_killed_before_the_record_is_not_there_and_after_it_is_whole(
    doomed: Doomed, index: Stored, app: Callable[..., Any], chance: random.Random
) -> None:
    token, lines = make_token(index.folder, "t", "read", "upload"), doomed.upload(wheel("acme"))["functions"]
    assert sorted(MOMENTS, key=lines.index) == list(MOMENTS)
    assert holds(doomed, index, app(), token, [*MOMENTS, *chance.sample(range(len(lines)), 3)]) == {False, True}


@pytest.mark.slow
def test_an_upload_may_be_killed_at_every_line_of_ours(doomed: Doomed, index: Stored, app: Callable[..., Any]) -> None:
    lines = doomed.upload(wheel("acme"))["functions"]
    assert len(lines) > 200
    token = make_token(index.folder, "t", "read", "upload")
    assert holds(doomed, index, app(), token, range(len(lines))) == {False, True}


def uploads_until_killed(
    server: Server, token: str, numbers: Iterator[int], begun: list[Made], told: list[Made]
) -> None:
    """Upload one new version after the other; `told` are those that were answered with 200."""
    while True:
        made = wheel("acme", f"1.0.{next(numbers)}", padding=30_000)
        begun.append(made)
        try:
            if server.upload(made, token).status == 200:
                told.append(made)
        except (OSError, http.client.HTTPException):
            return


def killed(server: Server, chance: random.Random) -> None:
    """Kill the server and its workers, in some order."""
    pids = [server.process.pid, *server.workers()]
    chance.shuffle(pids)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait()
    # or the next server's housekeeping would find the lock of a worker that is still dying
    running.eventually(lambda: not any(map(holds_files, pids)))


def holds_files(pid: int) -> bool:
    try:
        return bool(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - it may end while it is looked at
    except OSError:
        return False


def holds_what_is_recorded(index: Stored) -> bool:
    """Whether there is each blob that a record needs, and none besides."""
    return set(index.blobs.every()) == index.records.blobs()


@pytest.mark.slow
def test_a_server_killed_again_and_again_keeps_what_it_confirmed(tmp_path: Path, chance: random.Random) -> None:
    folder, told, begun, numbers = tmp_path / "data", list[Made](), list[Made](), itertools.count()
    token, looked_at = make_token(folder, "t", "read", "upload"), 0
    for _ in range(200):
        with running.running(folder, "--workers", chance.choice("12")) as server:
            index = stored(folder)
            # soon after the start: requests do not wait for it
            running.eventually(functools.partial(holds_what_is_recorded, index))
            index.close()
            page = server.ask("GET", "/simple/acme/", token, headers=JSON)
            listed = set(names(page) if page.status == 200 else ())
            assert {made.filename for made in told} <= listed
            for made in begun[looked_at:]:
                got = server.ask("GET", f"/files/{made.sha256}/{made.filename}", token)
                there = made.filename in listed
                assert (got.status, got.body == made.content) == ((200, True) if there else (404, False))
                assert server.upload(made, token).status == 200
            looked_at = len(begun)
            about = (server, token, numbers, begun, told)
            clients = [threading.Thread(target=uploads_until_killed, args=about) for _ in range(3)]
            for client in clients:
                client.start()
            time.sleep(chance.uniform(0, 0.12))  # this is the moment
            killed(server, chance)
            for client in clients:
                client.join()
    with running.running(folder) as server:
        for made in begun:
            assert server.upload(made, token).status == 200
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
        assert set(names(server.ask("GET", "/simple/acme/", token, headers=JSON))) == {made.filename for made in begun}
        index = stored(folder)
        assert list(verify(index.records, index.blobs)) == []
        index.close()
