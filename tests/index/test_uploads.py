"""Uploads: what is let in, what is not, and that nothing is ever half there."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.index.making import Made, form, sdist, wheel
from tests.index.running import Server, authorization, call, make_token, names, upload

from pinwheel.index.intake import upload as uploading
from pinwheel.index.server.assembly import Stored
from pinwheel.index.simple.pages import JSON_V1
from pinwheel.index.store import database

JSON = {"Accept": JSON_V1}


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


def nothing_stored(index: Stored) -> bool:
    return index.records.names() == () and not list(index.blobs.every()) and not list(index.temporary.iterdir())


@pytest.mark.parametrize("path", ["/", "/legacy/", "/simple/"])
@pytest.mark.parametrize("made", [wheel("acme"), sdist("acme")], ids=["wheel", "sdist"])
def test_a_sound_distribution_is_let_in(app: Callable[..., Any], token: str, path: str, made: Made) -> None:
    served = app()
    assert upload(served, made, token, path).status == 200
    assert names(call(served, "GET", "/simple/acme/", token, headers=JSON)) == [made.filename]


def test_the_form_may_say_nothing_but_the_file(app: Callable[..., Any], token: str) -> None:
    assert upload(app(), wheel("acme"), token, action="", protocol_version="", name="", version="").status == 200


def test_digests_that_agree_are_fine(app: Callable[..., Any], token: str) -> None:
    made = wheel("acme")
    reply = upload(
        app(),
        made,
        token,
        sha256_digest=made.sha256.upper(),
        md5_digest=hashlib.md5(made.content, usedforsecurity=False).hexdigest(),
        blake2_256_digest=hashlib.blake2b(made.content, digest_size=32).hexdigest(),
        metadata_version="1.0",  # flit says another than its file has
    )
    assert reply.status == 200


def test_the_same_bytes_again_are_welcome(app: Callable[..., Any], token: str, index: Stored) -> None:
    served, made = app(), wheel("acme")
    replies = [upload(served, made, token) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert [reply.headers["pinwheel-outcome"] for reply in replies] == ["published", "already there", "already there"]
    assert len(index.records.project("acme").files) == 1
    assert list(index.temporary.iterdir()) == []


def test_the_same_bytes_again_put_a_lost_blob_back(app: Callable[..., Any], token: str, index: Stored) -> None:
    served, made = app(), wheel("acme")
    upload(served, made, token)
    index.blobs.discard(made.sha256)
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).status == 404
    again = upload(served, made, token)
    assert (again.status, again.headers["pinwheel-outcome"]) == (200, "already there")
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}", token).body == made.content


def test_other_bytes_are_refused_naming_both_hashes(app: Callable[..., Any], token: str) -> None:
    served, first, second = app(), wheel("acme"), wheel("acme", code="other = True")
    upload(served, first, token)
    reply = upload(served, second, token)
    assert reply.status == 409
    assert first.sha256 in reply.text
    assert second.sha256 in reply.text
    assert "pinwheel-outcome" not in reply.headers
    assert reply.headers["content-type"].startswith("text/plain")


def test_another_spelling_of_a_version_is_the_same_file(app: Callable[..., Any], token: str) -> None:
    served = app()
    upload(served, wheel("acme", "1.0"), token)
    assert upload(served, wheel("acme", "1.0.0"), token).status == 409


def test_every_reason_is_told_at_once(app: Callable[..., Any], token: str, index: Stored) -> None:
    made = dataclasses.replace(wheel("acme"), content=b"garbage")
    reply = upload(
        app(), made, token, name="other", version="2.0", filetype="sdist", sha256_digest="00", md5_digest="11"
    )
    assert reply.status == 400
    for reason in ("sha256_digest", "md5_digest", "other", "2.0", "filetype sdist", "zip archive"):
        assert reason in reply.text
    assert nothing_stored(index)


@pytest.mark.parametrize(
    ("made", "filename", "fields"),
    [
        (wheel("acme"), "", {"name": "other"}),
        (wheel("acme"), "", {"version": "2.0"}),
        (wheel("acme"), "", {"version": "1" * 5000}),
        (wheel("acme"), "", {"filetype": "sdist"}),
        (wheel("acme"), "other-1.0.0-py3-none-any.whl", {"name": "other"}),
        (wheel("acme"), "acme-2.0.0-py3-none-any.whl", {"version": "2.0.0"}),
        (sdist("acme"), "acme-2.0.0.tar.gz", {"version": "2.0.0"}),
        (sdist("acme"), "other-1.0.0.tar.gz", {"name": "other"}),
        (wheel("acme"), "acme-1.0.0.tar.gz", {}),
        (sdist("acme"), "acme-1.0.0-py3-none-any.whl", {}),
    ],
    ids=lambda each: each.filename if isinstance(each, Made) else None,
)
def test_filename_metadata_and_form_must_agree(
    app: Callable[..., Any], token: str, index: Stored, made: Made, filename: str, fields: dict[str, str]
) -> None:
    reply = upload(app(), made, token, filename=filename, **fields)
    assert (reply.status, bool(reply.text.strip())) == (400, True)
    assert len(reply.text) < 2000
    assert nothing_stored(index)


@pytest.mark.parametrize("spelled", ["foo.bar", "Foo-Bar", "FOO_BAR", "foo--bar"])
def test_another_spelling_of_a_name_is_the_same_file(app: Callable[..., Any], token: str, spelled: str) -> None:
    served, made = app(), sdist("foo-bar")
    upload(served, made, token)
    again = f"{spelled}-1.0.0.tar.gz"
    assert upload(served, made, token, filename=again).headers["pinwheel-outcome"] == "already there"
    other = upload(served, sdist("foo-bar", code="other"), token, filename=again)
    assert (other.status, made.filename in other.text) == (409, True)
    assert names(call(served, "GET", "/simple/foo-bar/", token, headers=JSON)) == [made.filename]


@pytest.mark.parametrize("digest", ["sha256_digest", "blake2_256_digest", "md5_digest"])
def test_a_digest_that_is_wrong_is_told_with_the_right_one(
    app: Callable[..., Any], token: str, index: Stored, digest: str
) -> None:
    made = wheel("acme")
    right = {
        "sha256_digest": made.sha256,
        "blake2_256_digest": hashlib.blake2b(made.content, digest_size=32).hexdigest(),
        "md5_digest": hashlib.md5(made.content, usedforsecurity=False).hexdigest(),
    }
    reply = upload(app(), made, token, **{digest: "0" * 32})
    assert (reply.status, right[digest] in reply.text) == (400, True)
    assert nothing_stored(index)


@pytest.mark.parametrize("made", [wheel("acme", padding=3000), sdist("acme")], ids=["wheel", "sdist"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "half", "all but the end", "a bit in the middle"])
def test_a_damaged_file_is_refused_with_all_reasons(
    app: Callable[..., Any], token: str, index: Stored, made: Made, damage: str
) -> None:
    whole, middle = made.content, len(made.content) // 2
    content = {
        "empty": b"",
        "garbage": b"garbage" * 100,
        "half": whole[:middle],
        "all but the end": whole[:-1],
        "a bit in the middle": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    }[damage]
    reply = upload(app(), dataclasses.replace(made, content=content), token, sha256_digest=made.sha256, version="2.0")
    assert reply.status == 400
    for reason in ("sha256_digest", "version 2.0"):
        assert reason in reply.text
    assert len(reply.text.splitlines()) > 2, "what is wrong with the file itself"
    assert nothing_stored(index)


@pytest.mark.parametrize("field", ["sha256_digest", "name", "version", ":action"])
def test_a_field_that_is_not_utf_8_is_a_reason(app: Callable[..., Any], token: str, index: Stored, field: str) -> None:
    content_type, body = form(wheel("acme"), sha256_digest="sha")
    before = f'name="{field}"\r\n\r\n'.encode()
    reply = call(
        app(), "POST", "/", token, body=body.replace(before, before + b"\xff"), headers={"Content-Type": content_type}
    )
    assert (reply.status, "not UTF-8" in reply.text) == (400, True)
    assert nothing_stored(index)


@pytest.mark.parametrize(
    "filename",
    [
        "../acme-1.0.0-py3-none-any.whl",
        "/tmp/acme-1.0.0-py3-none-any.whl",
        "a\\acme-1.0.0-py3-none-any.whl",
        "%2e%2e%2facme-1.0.0-py3-none-any.whl",
        "acme-1.0.0-py3-none-any.whl\0",
        "a" * 300 + "-1.0.0-py3-none-any.whl",
        ".acme-1.0.0-py3-none-any.whl",
        "äcme-1.0.0-py3-none-any.whl",
        "acme-1.0.0.zip",
        "acme.whl",
        "acme-1.0.0-py3-none-any.whl/",
        "acme-1.0.0-py3-none-any.whl\n",
        "-acme-1.0.0-py3-none-any.whl",
        "acme-1.0.0-py3-any.whl",
        "acme-1.0.0.tar.bz2",
        "acme-1.0.0.tar.gz.exe",
        "con",
        "..",
        "~",
        "",
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(
    app: Callable[..., Any], token: str, index: Stored, filename: str
) -> None:
    made = wheel("acme")
    content_type, body = form(made)
    body = body.replace(f'filename="{made.filename}"'.encode(), f'filename="{filename}"'.encode())
    reply = call(app(), "POST", "/", token, body=body, headers={"Content-Type": content_type})
    assert reply.status == 400
    assert reply.body.strip()
    assert nothing_stored(index)


@pytest.mark.parametrize("length", [0, 1, 300, -200, -3])
def test_a_cut_body_leaves_nothing(app: Callable[..., Any], token: str, index: Stored, length: int) -> None:
    """A body that simply ends: that is how granian hands on a client that hung up."""
    content_type, body = form(wheel("acme"))
    for announced in (str(len(body)), ""):
        headers = {"Content-Type": content_type, "Content-Length": announced}
        assert call(app(), "POST", "/", token, body=body[:length], headers=headers).status == 400
        assert nothing_stored(index)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\xff\r\n--b--\r\n',
        ),
    ],
)
def test_what_is_no_upload_form_is_refused(
    app: Callable[..., Any], token: str, index: Stored, content_type: str, body: bytes
) -> None:
    assert call(app(), "POST", "/", token, body=body, headers={"Content-Type": content_type}).status == 400
    assert nothing_stored(index)


def test_two_files_in_one_form_are_refused(app: Callable[..., Any], token: str, index: Stored) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="content"; filename="acme-1.0.0-py3-none-any.whl"\r\n\r\nx\r\n'
    content_type, double = "multipart/form-data; boundary=b", part + part + b"--b--\r\n"
    reply = call(app(), "POST", "/", token, body=double, headers={"Content-Type": content_type})
    assert (reply.status, "more than one file" in reply.text) == (400, True)
    assert nothing_stored(index)


def test_a_file_over_the_limit_is_413_and_leaves_nothing(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = app(largest_file_bytes=1000)
    content_type, body = form(wheel("acme", padding=5000))
    assert call(served, "POST", "/", token, body=body, headers={"Content-Type": content_type}).status == 413
    monkeypatch.setattr(uploading, "FORM_BYTES", 0)
    announced = {"Content-Type": content_type, "Content-Length": str(10**12)}
    assert call(served, "POST", "/", token, body=b"", headers=announced).status == 413
    assert nothing_stored(index)


def test_a_huge_field_is_413(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "FORM_BYTES", 1000)
    assert upload(app(), wheel("acme"), token, description="x" * 2000).status == 413
    assert nothing_stored(index)


@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_full_disk_is_507_and_it_works_again_afterwards(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    served = app()
    with monkeypatch.context() as patched:
        patched.setattr(uploading, "write_all", full) if where == "write" else patched.setattr(os, "fsync", full)
        reply = upload(served, wheel("acme"), token)
    assert (reply.status, "full" in reply.text) == (507, True)
    assert nothing_stored(index)
    assert upload(served, wheel("acme"), token).status == 200


def test_a_chunked_body_is_taken(server: Server, token_of_server: str) -> None:
    made = wheel("chunked")
    content_type, body = form(made)
    parts = urlsplit(server.url)
    with socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        head = [
            "POST / HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: close",
            f"Content-Type: {content_type}",
            "Transfer-Encoding: chunked",
            *(f"{key}: {value}" for key, value in authorization(token_of_server).items()),
        ]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        for start in range(0, len(body), 100):
            piece = body[start : start + 100]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


def test_of_twenty_racing_uploads_exactly_one_wins(server: Server, token_of_server: str) -> None:
    rivals = [wheel("raced", code=f"n = {number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda made: server.upload(made, token_of_server).status, rivals))
    assert sorted(statuses) == [200] + [409] * 19
    winner = rivals[statuses.index(200)]
    assert server.ask("GET", f"/files/{winner.sha256}/{winner.filename}", token_of_server).body == winner.content
    (file,) = server.ask("GET", "/simple/raced/", token_of_server, headers=JSON).json()["files"]
    assert file["hashes"]["sha256"] == winner.sha256
    kept = {each.name for each in (server.folder / "blobs").rglob("*")}
    assert kept & {made.sha256 for made in rivals} == {winner.sha256}, "who lost leaves nothing"


@pytest.fixture
def token_of_server(server: Server, request: pytest.FixtureRequest) -> str:
    name = f"uploads-{request.node.name}-{os.getpid()}"
    return server.token(name, "read", "upload")


def test_temporary_files_are_gone(server: Server, token_of_server: str) -> None:
    server.upload(wheel("tidy"), token_of_server)
    assert [file for file in Path(server.folder / "tmp").iterdir() if file.name.startswith("upload")] == []


def test_an_upload_while_others_keep_the_database_is_503_and_works_after(
    app: Callable[..., Any], token: str, index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    served = app()
    other = sqlite3.connect(index.folder / "index.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        refused = upload(served, wheel("acme"), token)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert call(served, "GET", "/simple/", token).status == 200, "reading goes on"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert upload(served, wheel("acme"), token).status == 200
