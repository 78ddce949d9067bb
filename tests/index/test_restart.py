"""SIGHUP: other workers, with the code and the configuration that are on disk by then, and no failed request."""

from __future__ import annotations

import http.client
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.index import running
from tests.index.making import form, wheel
from tests.index.running import Server, authorization, eventually

RESTARTS = 3
LARGE_BYTES = 200 * 1024 * 1024
PIECE_BYTES = 1024 * 1024


def restart(server: Server) -> None:
    """Send SIGHUP and wait until the new workers serve."""
    before, said = set(server.workers()), len(restarts(server))
    os.kill(server.process.pid, signal.SIGHUP)
    eventually(lambda: len(restarts(server)) > said)
    assert len(set(server.workers()) - before) == 2


def restarts(server: Server) -> list[str]:
    return [line for line in server.log if line.startswith("restarted")]


def connection(server: Server) -> http.client.HTTPConnection:
    parts = urlsplit(server.url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=running.WITHIN_S)


@contextmanager
def meanwhile(*loops: Callable[[], object], rounds: int = 2000) -> Iterator[list[object]]:
    """Run each of `loops` again and again in a thread of its own, until the context ends; its failures."""
    failed: list[object] = []
    done = threading.Event()

    def again(one: Callable[[], object]) -> None:
        for _ in range(rounds):
            if done.wait(0.01):
                return
            try:
                one()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
                failed.append(error)

    threads = [threading.Thread(target=again, args=(each,)) for each in loops]
    for each in threads:
        each.start()
    try:
        yield failed
    finally:
        done.set()
        for each in threads:
            each.join(60)


@pytest.mark.slow
def test_a_restart_runs_what_is_on_disk_now(tmp_path: Path) -> None:
    code = tmp_path / "sitecustomize.py"
    code.write_text("")
    with running.running(tmp_path / "data", PYTHONPATH=str(tmp_path)) as server:
        old = server.workers()
        code.write_text("import sys; sys.stderr.write('the new code\\n')")
        restart(server)
        assert server.log.count("the new code") == 2
        eventually(lambda: not set(old) & set(server.workers()))
        assert server.ask("GET", "/-/health").status == 200
        assert server.stop() == 0


@pytest.mark.slow
def test_code_that_does_not_start_leaves_the_old_workers_at_work(tmp_path: Path) -> None:
    code = tmp_path / "sitecustomize.py"
    code.write_text("")
    with running.running(tmp_path / "data", PYTHONPATH=str(tmp_path)) as server:
        old = server.workers()
        code.write_text("import sys; sys.exit(1)")
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: any(line.startswith("not restarted") for line in server.log))
        assert "exit code 1" in next(line for line in server.log if line.startswith("not restarted"))
        assert server.workers() == old
        assert server.ask("GET", "/-/health").status == 200


@pytest.mark.slow
def test_no_request_fails_while_it_is_restarted(tmp_path: Path) -> None:
    """Clients with a connection for each request, one that keeps its connection, uploads, a large download and a large
    upload that last through all the restarts."""
    with running.running(tmp_path / "data") as server:
        token = server.token("t", "read", "upload")
        large = wheel("large", padding=LARGE_BYTES)
        assert server.upload(large, token).status == 200
        kept = connection(server)
        numbers = iter(range(10_000))

        def fresh() -> None:
            assert server.ask("GET", "/simple/large/", token).status == 200

        def keeping() -> None:
            kept.request("GET", "/simple/large/", headers=authorization(token))
            answer = kept.getresponse()
            assert (answer.status, large.filename.encode() in answer.read()) == (200, True)

        def uploading() -> None:
            made = wheel("small", f"1.0.{next(numbers)}")
            assert server.upload(made, token).status == 200
            assert made.filename in server.ask("GET", "/simple/small/", token).text

        with meanwhile(fresh, fresh, keeping, uploading) as failed:
            down = connection(server)
            down.request("GET", f"/files/{large.sha256}/{large.filename}", headers=authorization(token))
            answer = down.getresponse()
            got = answer.read(PIECE_BYTES)

            other = wheel("other", padding=LARGE_BYTES // 4)
            content_type, body = form(other)
            up = connection(server)
            up.putrequest("POST", "/")
            for key, value in ({"Content-Type": content_type} | authorization(token)).items():
                up.putheader(key, value)
            up.putheader("Content-Length", str(len(body)))
            up.endheaders(body[:PIECE_BYTES])
            for number in range(1, RESTARTS + 1):
                restart(server)
                got += answer.read(PIECE_BYTES)
                up.send(body[number * PIECE_BYTES : (number + 1) * PIECE_BYTES])
            assert len(server.workers()) > 2, "those with a request to finish are still there"
            got += answer.read()
            up.send(body[(RESTARTS + 1) * PIECE_BYTES :])
            assert up.getresponse().status == 200
            down.close()
            up.close()
            eventually(lambda: len(server.workers()) == 2)
        assert failed == []
        assert got == large.content
        assert other.filename in server.ask("GET", "/simple/other/", token).text
        assert not [line for line in server.log if "killed" in line]
        kept.close()


@pytest.mark.slow
def test_a_request_that_does_not_end_holds_an_old_worker_no_longer_than_the_limit(tmp_path: Path) -> None:
    with running.running(tmp_path / "data", "--drain", "2") as server:
        token = server.token("t", "read", "upload")
        large = wheel("large", padding=LARGE_BYTES // 4)
        assert server.upload(large, token).status == 200
        stuck = connection(server)
        stuck.request("GET", f"/files/{large.sha256}/{large.filename}", headers=authorization(token))
        started = time.monotonic()
        restart(server)
        eventually(lambda: len(server.workers()) == 2)
        assert time.monotonic() - started >= 2
        assert any("had not finished 2 s after the restart" in line for line in server.log)
        stuck.close()


@pytest.mark.slow
@pytest.mark.parametrize("nohup", [False, True], ids=["plain", "nohup"])
def test_a_closed_terminal_ends_it_unless_it_was_started_with_nohup(tmp_path: Path, nohup: bool) -> None:
    ours, theirs = pty.openpty()
    log = tmp_path / "log"
    argv = (*running.PINWHEEL, "index.serve", "--data", str(tmp_path / "data"), "--port", "0", "--workers", "1")
    with log.open("wb") as out:
        process = subprocess.Popen(
            ("setsid", "--ctty", *(("nohup",) if nohup else ()), *argv),
            stdin=theirs,
            stdout=out,
            stderr=out,
            env=running.environment(),
        )
    os.close(theirs)
    try:
        eventually(lambda: "serving " in log.read_text())
        os.close(ours)
        if nohup:
            url = log.read_text().partition(" at ")[2].split()[0]
            server = Server(process, tmp_path / "data", url)
            assert server.ask("GET", "/-/health").status == 200
            assert process.poll() is None
        else:
            assert process.wait(running.WITHIN_S) == 0
            assert "restarted" not in log.read_text()
    finally:
        process.terminate()
        process.wait(running.WITHIN_S)
