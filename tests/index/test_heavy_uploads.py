"""I2, I3, I8, I9 on real servers: clients that hang up, that race, that send bombs, and that send much."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.index import hostile, running
from tests.index.hostile import MEBIBYTE, Peak
from tests.index.making import Made, form, metadata, new_file, wheel
from tests.index.running import JSON, Server, authorization, eventually, make_token, names

from pinwheel.index.server.assembly import Stored, stored
from pinwheel.index.upkeep.verifying import verify


@contextlib.contextmanager
def request(server: Server, token: str, content_type: str, *more: str) -> Iterator[socket.socket]:
    """A connection on which the head of an upload was sent."""
    parts = urlsplit(server.url)
    credential = (f"{key}: {value}" for key, value in authorization(token).items())
    lines = ("POST /legacy/ HTTP/1.1", f"Host: {parts.netloc}", f"Content-Type: {content_type}", *credential, *more)
    with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        yield connection


def hang_up(server: Server, token: str, made: Made, chance: random.Random) -> None:
    """Send part of an upload, measured or chunked, and go: politely, or as if the machine had lost power."""
    content_type, body = form(made)
    cut = chance.randrange(len(body) - len(b"--\r\n"))
    chunked = chance.random() < 0.5
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    with request(server, token, content_type, length) as connection:
        connection.sendall(f"{len(body):x}\r\n".encode() + body[:cut] if chunked else body[:cut])
        if chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def nothing_is_left_of_clients_that_hang_up(server: Server, token: str, chance: random.Random, rounds: int) -> None:
    left = [wheel("left", f"1.{number}", padding=chance.choice([0, 300_000])) for number in range(rounds)]
    for made in left:
        hang_up(server, token, made, chance)
    eventually(lambda: not list((server.folder / "tmp").glob("upload-*")))
    assert server.ask("GET", "/simple/left/", token).status == 404
    index = stored(server.folder)
    assert index.records.project("left").files == ()
    assert not {made.sha256 for made in left} & set(index.blobs.every())
    index.close()
    assert server.upload(wheel("left", "1.0", code=str(rounds)), token).status == 200


def test_clients_that_hang_up_at_any_byte_leave_nothing(server: Server, token: str, chance: random.Random) -> None:
    nothing_is_left_of_clients_that_hang_up(server, token, chance, 6)


@pytest.mark.slow
def test_hundreds_of_clients_that_hang_up_leave_nothing(tmp_path: Path, chance: random.Random) -> None:
    with running.running(tmp_path / "data", "--workers", "2") as server:
        nothing_is_left_of_clients_that_hang_up(server, server.token("t", "read", "upload"), chance, 300)


def test_an_upload_that_announces_too_much_is_413_before_it_is_sent(server: Server, token: str) -> None:
    length = f"Content-Length: {10**12}"
    with request(server, token, "multipart/form-data; boundary=b", length, "Expect: 100-continue") as connection:
        assert connection.makefile("rb").readline().split()[1] == b"413"


def fill(index: Stored, projects: int, each: int) -> None:
    """Many small files of which each is as it was recorded, without waiting for the disk."""
    for number in range(projects):
        contents = {f"1.{one}": f"{number} {one}".encode() for one in range(each)}
        made = [Made(f"filler-{number}", at, f"filler_{number}-{at}.tar.gz", body) for at, body in contents.items()]
        for one in made:
            blob = index.blobs.path(one.sha256)
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(one.content)
        index.records.publish_all([new_file(one) for one in made])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_of_twenty_racing_clients_one_wins_also_in_a_store_of_5_000_files(tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "data"
    token = make_token(folder, "t", "read", "upload")
    index = stored(folder)
    fill(index, 50, 100)
    with running.running(folder, "--workers", str(workers)) as server, ThreadPoolExecutor(20) as pool:
        for number in range(5):
            project = f"raced-{number}"
            rivals = [wheel(project, code=f"n = {one}", padding=100_000) for one in range(20)]
            together = threading.Barrier(20)

            def compete(made: Made, together: threading.Barrier = together) -> int:
                together.wait()
                return server.upload(made, token).status

            statuses = list(pool.map(compete, rivals))
            assert sorted(statuses) == [200] + [409] * 19
            winner = rivals[statuses.index(200)]
            for _ in range(workers * 4):  # each worker
                got = server.ask("GET", f"/files/{winner.sha256}/{winner.filename}", token)
                assert got.body == winner.content
                assert names(server.ask("GET", f"/simple/{project}/", token, headers=JSON)) == [winner.filename]
            kept = set(index.blobs.every())
            assert kept & {made.sha256 for made in rivals} == {winner.sha256}, "who lost leaves nothing"
    assert list(verify(index.records, index.blobs)) == []
    index.close()


@pytest.mark.slow
@pytest.mark.parametrize("bomb", hostile.ALL, ids=lambda bomb: bomb.__name__)
def test_an_archive_that_means_harm_is_refused_in_bounded_memory(
    bombed: tuple[Server, str], bomb: Callable[[], Made]
) -> None:
    """Bounded time is that of the connection: 30 s."""
    server, token = bombed
    made = bomb()
    peak = Peak(server.workers())
    peak.forget()
    before = peak.bytes()
    reply = server.upload(made, token)
    assert reply.status == 400, reply.text
    assert reply.text.strip()
    assert len(reply.text) < 10_000
    assert peak.bytes() - before < 96 * MEBIBYTE
    assert server.ask("GET", "/simple/bomb/", token).status == 404
    assert not list((server.folder / "blobs").rglob(made.sha256))
    assert not list((server.folder / "tmp").glob("upload-*"))


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with running.running(tmp_path_factory.mktemp("bombed") / "data", "--workers", "1") as server:
        yield server, server.token("t", "read", "upload")


class Watched:
    """The most that a folder took on disk while this was entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most_bytes = 0

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.most_bytes = max(self.most_bytes, hostile.disk_bytes(self._folder))


@pytest.mark.slow
def test_an_upload_of_300_mib_takes_flat_memory_and_its_own_size_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "big-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, body in (("METADATA", metadata("big", "1.0.0")), ("WHEEL", b""), ("RECORD", b"")):
            archive.writestr(f"big-1.0.0.dist-info/{name}", body)
        with archive.open("big.bin", "w") as member:
            for _ in range(300):
                member.write(os.urandom(MEBIBYTE))
    size = file.stat().st_size
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    head = b'--b\r\nContent-Disposition: form-data; name="content"; filename="' + file.name.encode() + b'"\r\n\r\n'
    tail = b"\r\n--b--\r\n"
    with running.running(tmp_path / "data", "--workers", "1", TMPDIR=str(elsewhere)) as server:
        token = server.token("t", "read", "upload")
        assert server.upload(wheel("warm"), token).status == 200
        peak = Peak(server.workers())
        peak.forget()
        memory, disk = peak.bytes(), hostile.disk_bytes(tmp_path / "data")
        length = f"Content-Length: {len(head) + size + len(tail)}"
        with (
            Watched(tmp_path / "data") as watched,
            Watched(elsewhere) as beside,
            request(server, token, "multipart/form-data; boundary=b", length) as connection,
            file.open("rb") as content,
        ):
            connection.sendall(head)
            connection.sendfile(content)
            connection.sendall(tail)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200, answer.read()
        assert watched.most_bytes - disk < size + 8 * MEBIBYTE, "one copy, which becomes the blob"
        assert beside.most_bytes == 0
        assert peak.bytes() - memory < 32 * MEBIBYTE
        page = server.ask("GET", "/simple/big/", token, headers=JSON).json()
        assert [each["size"] for each in page["files"]] == [size]
