"""Killed with SIGKILL at any moment, an index is never half there, and a retry works."""

from __future__ import annotations

import http.client
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.index import crashing, running
from tests.index.making import Made, wheel
from tests.index.running import JSON, Server, environment, eventually, make_token, names

from pinwheel.index.assembly import stored
from pinwheel.index.verifying import verify


@pytest.mark.parametrize("moment", ["between blob and commit", "within the transaction", "after the commit"])
def test_a_publication_that_is_killed_is_there_or_not_and_can_be_repeated(tmp_path: Path, moment: str) -> None:
    made, folder = wheel("acme"), tmp_path / "data"
    file = tmp_path / made.filename
    file.write_bytes(made.content)
    argv = (sys.executable, "-P", crashing.__file__, str(folder), str(file), moment)
    died = subprocess.run(argv, env=environment(), timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    there = moment == "after the commit"

    index = stored(folder)
    try:
        assert index.blobs.size_bytes(made.sha256) == len(made.content), "the blob comes before the record"
        assert bool(index.records.project("acme").files) is there
        assert bool(index.events.after(0, 1)[0]) is there
    finally:
        index.close()

    with running.running(folder) as server:
        token = server.token("t", "read", "upload")
        page = server.ask("GET", "/simple/acme/", token, headers=JSON)
        assert page.status == (200 if there else 404)
        index = stored(folder)
        try:
            assert list(index.blobs.every()) == [] if not there else index.blobs.size_bytes(made.sha256)
            assert server.upload(made, token).status == 200
            assert list(verify(index.records, index.blobs)) == []
        finally:
            index.close()
        assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content


def uploads_until_killed(server: Server, token: str, numbers: itertools.count[int], told: list[Made]) -> None:
    """Upload one new version after the other; `told` are those that were answered with 200."""
    while True:
        made = wheel("acme", f"1.0.{next(numbers)}", padding=200_000)
        try:
            if server.upload(made, token).status == 200:
                told.append(made)
        except (OSError, http.client.HTTPException):
            return


def survives(tmp_path: Path, rounds: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    chance, folder, told, numbers = random.Random(seed), tmp_path / "data", list[Made](), itertools.count()
    token = make_token(folder, "t", "read", "upload")
    for _ in range(rounds):
        with running.running(folder) as server:
            page = server.ask("GET", "/simple/acme/", token, headers=JSON)
            assert {made.filename for made in told} <= set(names(page) if page.status == 200 else ())
            index = stored(folder)
            assert list(verify(index.records, index.blobs)) == []
            index.close()
            before = len(told)
            clients = [
                threading.Thread(target=uploads_until_killed, args=(server, token, numbers, told)) for _ in range(3)
            ]
            for client in clients:
                client.start()
            enough = chance.randrange(1, 8)
            eventually(lambda: len(told) - before >= enough)  # noqa: B023 - asked within the round
            os.killpg(server.process.pid, signal.SIGKILL)
            for client in clients:
                client.join()
    with running.running(folder) as server:
        for made in told:
            assert server.ask("GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content
            assert server.upload(made, token).status == 200


def test_a_server_killed_while_it_takes_uploads_keeps_what_it_confirmed(tmp_path: Path) -> None:
    survives(tmp_path, rounds=2)


@pytest.mark.slow
def test_a_server_killed_again_and_again_keeps_what_it_confirmed(tmp_path: Path) -> None:
    survives(tmp_path, rounds=40)
