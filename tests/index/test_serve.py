"""The server as a process: what it claims, how it starts and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.index import running
from tests.index.certificates import self_signed
from tests.index.making import wheel
from tests.index.running import Server, eventually, run_pinwheel
from tests.ports import free_port


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["alone", "as a terminal does"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_its_workers(tmp_path: Path, how: int, send: Callable[[int, int], None]) -> None:
    with running.running(tmp_path / "data", "--workers", "2") as server:
        workers = server.workers()
        assert len(workers) == 2
        send(server.process.pid, how)
        assert server.process.wait(running.WITHIN_S) == 0
        assert not [pid for pid in workers if alive(pid)]
        assert [line for line in server.log if not line.startswith("serving")] == []


@pytest.mark.slow
def test_a_worker_ends_however_often_it_is_told_to(tmp_path: Path) -> None:
    with running.running(tmp_path / "data", "--workers", "1") as server:
        (worker,) = server.workers()

        def ended() -> bool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGTERM)
            return not alive(worker)

        eventually(ended)
        eventually(lambda: _healthy(server))


@pytest.mark.slow
def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running.running(tmp_path / "data") as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
        connection.request("GET", "/-/health")
        connection.getresponse().read()
        workers = server.workers()
        assert server.stop() == 0
        assert not [pid for pid in workers if alive(pid)]
        connection.close()


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_server(tmp_path: Path) -> None:
    with running.running(tmp_path / "data") as server:
        workers = server.workers()
        os.kill(server.process.pid, signal.SIGKILL)
        eventually(lambda: not [pid for pid in workers if alive(pid)])
        server.process.wait(10)
    with running.running(tmp_path / "data"):
        pass  # and the folder is free again


@pytest.mark.slow
def test_a_worker_that_died_is_replaced(tmp_path: Path) -> None:
    with running.running(tmp_path / "data") as server:
        before = server.workers()
        eventually(lambda: server.ask("GET", "/-/health").status == 200)
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(server.workers()) == 2 and before[0] not in server.workers())
        eventually(lambda: _healthy(server))
        eventually(lambda: any("another takes its place" in line for line in server.log))  # and it is said on stderr


@pytest.mark.slow
def test_workers_that_die_one_after_the_other_are_replaced_slowly(tmp_path: Path) -> None:
    with running.running(tmp_path / "data") as server:
        first, second = server.workers()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: any("another takes its place" in line for line in server.log))
        os.kill(second, signal.SIGKILL)
        eventually(lambda: any("another takes its place in 5 s" in line for line in server.log))
        eventually(lambda: len(server.workers()) == 2 and {first, second}.isdisjoint(server.workers()))
        assert _healthy(server)


def _healthy(server: Server) -> bool:
    with contextlib.suppress(OSError):
        return server.ask("GET", "/-/health").status == 200
    return False


def test_a_data_folder_has_one_server(server: Server) -> None:
    second = run_pinwheel("index.serve", "--data", str(server.folder), "--port", "0")
    assert second.returncode == 3
    assert "another server works with this data folder" in second.stderr
    assert str(server.folder) in second.stderr


def test_a_port_taken_by_another_pinwheel_is_said_to_be(server: Server, tmp_path: Path) -> None:
    port = str(urlsplit(server.url).port)
    second = run_pinwheel("index.serve", "--data", str(tmp_path / "data"), "--port", port)
    assert second.returncode == 1
    assert f"port {port} is taken by another pinwheel index" in second.stderr
    assert "--port" in second.stderr


def test_a_port_taken_by_something_else_is_said_to_be(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.02,))
        thread.start()
        try:
            port = str(other.server_address[1])
            done = run_pinwheel("index.serve", "--data", str(tmp_path / "data"), "--port", port)
        finally:
            other.shutdown()
            thread.join()
    assert done.returncode == 1
    assert f"port {port} is taken by another program" in done.stderr


def test_a_port_taken_by_something_that_speaks_no_http_is_said_to_be(tmp_path: Path) -> None:
    def greet(listening: socket.socket) -> None:
        with listening.accept()[0] as connection:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=greet, args=(other,), daemon=True)
        thread.start()
        port = str(other.getsockname()[1])
        done = run_pinwheel("index.serve", "--data", str(tmp_path / "data"), "--port", port)
        thread.join(running.WITHIN_S)
    assert (done.returncode, f"port {port} is taken by another program" in done.stderr) == (1, True), done.stderr


@pytest.mark.slow
def test_of_two_servers_started_at_once_on_a_port_one_serves(tmp_path: Path) -> None:
    port = free_port()
    argv = [
        (*running.PINWHEEL, "index.serve", "--data", str(tmp_path / name), "--port", str(port)) for name in ("a", "b")
    ]
    both = [
        subprocess.Popen(each, stderr=subprocess.PIPE, env=running.environment(), start_new_session=True)
        for each in argv
    ]
    try:
        eventually(lambda: any(each.poll() is not None for each in both))
        loser = next(each for each in both if each.poll() is not None)
        assert loser.returncode == 1
        assert loser.stderr is not None
        assert b"is taken by" in loser.stderr.read()
    finally:
        for each in both:
            each.send_signal(signal.SIGTERM)
        for each in both:
            each.wait(30)
            if each.stderr is not None:
                each.stderr.close()


@pytest.mark.parametrize(
    ("flags", "exit_code", "said"),
    [
        (("--port", "99999"), 2, "no port"),
        (("--workers", "0"), 2, "worker"),
        (("--htpasswd", "missing"), 2, "missing"),
        (("--packages", "missing"), 2, "missing"),
        (("--tls-cert", "missing"), 2, "--tls-key"),
        (("--upstream", "nonsense"), 2, "not the address"),
        (("--upstream", "http://[/simple/"), 2, "not the address"),
        (("--upstream", "http://ann:secret@127.0.0.1:1/simple/"), 2, "PIP_INDEX_URL"),
        (("--private", "["), 2, "no glob"),
        (("--private", ""), 2, "no glob"),
        (("--host", "no.such.host.invalid"), 1, "no address"),
        (("--host", "203.0.113.5"), 1, "no address"),
        (("--host", "203.0.113.5", "--port", "8080"), 1, "no address"),
    ],
)
def test_wrong_flags_are_said_and_nothing_is_served(
    tmp_path: Path, flags: tuple[str, ...], exit_code: int, said: str
) -> None:
    port = () if "--port" in flags else ("--port", "0")
    done = run_pinwheel("index.serve", "--data", str(tmp_path / "data"), *port, *flags)
    assert (done.returncode, said in done.stderr) == (exit_code, True), done.stderr
    assert "secret" not in done.stderr


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_pinwheel("index.serve", "--data", str(tmp_path / "file" / "data"), "--port", "0")
    assert done.returncode == 1
    assert "the data folder cannot be written" in done.stderr


def test_it_serves_https_itself(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    self_signed(certificate, key)
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with running.running(tmp_path / "data", *flags) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(f"{server.url}-/health", context=trust, timeout=10) as answer:
            assert answer.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["no PEM", "key missing", "key of another", "key with a password"])
def test_a_certificate_that_cannot_be_used_is_told_before_the_start(tmp_path: Path, wrong: str) -> None:
    from cryptography.hazmat.primitives import serialization

    certificate, key, other = (tmp_path / name for name in ("cert.pem", "key.pem", "other.pem"))
    self_signed(certificate, key)
    if wrong == "no PEM":
        certificate.write_bytes(b"\x30\x82")
    elif wrong == "key missing":
        key.unlink()
    elif wrong == "key of another":
        self_signed(other, key)
    else:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        secret = serialization.BestAvailableEncryption(b"secret")
        formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
        key.write_bytes(private.private_bytes(*formats, secret))
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key), "--port", "0", "--data", str(tmp_path / "data"))
    done = run_pinwheel("index.serve", *flags)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "--tls-key" in done.stderr


def test_two_workers_answer_alike_right_after_an_upload(server: Server, token: str) -> None:
    for number in range(10):
        made = wheel("alike", f"1.0.{number}")
        assert server.upload(made, token).status == 200
        for _ in range(4):  # each on a connection of its own, so both workers get some
            assert made.filename in server.ask("GET", "/simple/alike/", token).text
