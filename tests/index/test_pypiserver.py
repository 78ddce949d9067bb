"""What falls through to pypiserver works on our records: whoever ran it can point pinwheel at the same clients."""

from __future__ import annotations

import urllib.parse
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from tests.index.making import sdist, wheel
from tests.index.running import authorization, call, make_token, upload

from pinwheel.index.server.assembly import Stored


@pytest.fixture
def token(index: Stored) -> str:
    return make_token(index.folder, "t", "read", "upload")


@pytest.fixture
def served(app: Callable[..., Any], token: str) -> Any:
    found = app()
    for made in (wheel("acme", "1.0.0"), wheel("acme", "1.1.0"), sdist("other", "2.0.0")):
        assert upload(found, made, token).status == 200
    return found


def test_the_welcome_page_counts(served: Any, token: str) -> None:
    reply = call(served, "GET", "/", token)
    assert reply.status == 200
    assert "3" in reply.text


def test_packages_are_listed_and_downloaded_by_the_old_address(served: Any, token: str) -> None:
    made = wheel("acme", "1.0.0")
    listing = call(served, "GET", "/packages/", token).text
    assert f"{made.filename}#sha256={made.sha256}" in listing
    assert call(served, "GET", f"/packages/{made.filename}", token).body == made.content
    assert call(served, "GET", "/packages/nothing-1.0.tar.gz", token).status == 404
    assert call(served, "GET", "/packages/../index.sqlite", token).status == 404


def test_the_json_of_a_project(served: Any, token: str) -> None:
    document = call(served, "GET", "/acme/json", token).json()
    assert document["info"] == {"version": "1.1.0"}
    assert set(document["releases"]) == {"1.0.0", "1.1.0"}
    assert call(served, "GET", "/nothing/json", token).status == 404


def test_search(served: Any, token: str) -> None:
    body = xmlrpc.client.dumps(({"name": "acme"},), "search").encode()
    reply = call(served, "POST", "/RPC2", token, body=body)
    assert reply.status == 200
    found: Any = xmlrpc.client.loads(reply.body)[0][0]
    assert {each["version"] for each in found} == {"1.0.0", "1.1.0"}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/simple", "/simple/"),
        ("/simple/acme", "/simple/acme/"),
        ("/packages", "/packages/"),
        ("/acme/", "/simple/acme/"),
        ("/acme", "/simple/acme/"),
    ],
)
def test_redirects(served: Any, token: str, path: str, to: str) -> None:
    reply = call(served, "GET", path, token)
    assert reply.status in (301, 302, 303)
    assert urllib.parse.urlsplit(urllib.parse.urljoin(path, reply.headers["location"])).path == to


@pytest.mark.parametrize("action", ["submit", "verify"])
def test_old_actions_are_still_answered(served: Any, token: str, action: str) -> None:
    assert upload(served, wheel("acme", "3.0.0"), token, action=action).status == 200
    assert call(served, "GET", "/acme/json", token).json()["info"] == {"version": "1.1.0"}


def test_an_unknown_action_is_400(served: Any, token: str) -> None:
    assert upload(served, wheel("acme"), token, action="dance").status == 400


def test_a_user_of_the_password_file_removes_and_the_name_stays_taken(
    app: Callable[..., Any], served: Any, token: str, tmp_path: Path
) -> None:
    assert served
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"ann:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}\n")
    ann = authorization("pw", "ann")["Authorization"]
    found = app(htpasswd=passwords)
    body = b'--b\r\nContent-Disposition: form-data; name=":action"\r\n\r\nremove_pkg\r\n'
    for name, value in (("name", "Acme"), ("version", "1.0")):
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert call(found, "POST", "/", token, body=body + b"--b--\r\n", headers=headers).status == 403, "a token may not"
    asked = headers | {"Authorization": ann}
    assert call(found, "POST", "/", body=body + b"--b--\r\n", headers=asked).status == 200
    assert set(call(found, "GET", "/acme/json", token).json()["releases"]) == {"1.1.0"}
    assert call(found, "GET", f"/packages/{wheel('acme').filename}", token).status == 404
    again = upload(found, wheel("acme", "1.0.0"), token)
    assert (again.status, "never comes back" in again.text) == (409, True)
    assert call(found, "POST", "/", body=body + b"--b--\r\n", headers=asked).status == 404


def test_what_nobody_answers_is_404_or_405(served: Any, token: str) -> None:
    assert call(served, "GET", "/a/b/c", token).status == 404
    assert call(served, "DELETE", "/simple/acme/", token).status == 405


@pytest.mark.parametrize("path", ["/RPC2", "/anything"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_body_for_pypiserver_is_413(served: Any, token: str, path: str, announced: bool) -> None:
    headers = {} if announced else {"Content-Length": "", "Transfer-Encoding": "chunked"}
    assert call(served, "POST", path, token, body=b" " * (64 * 1024 + 1), headers=headers).status == 413


def test_a_search_whose_length_is_not_announced_is_answered(served: Any, token: str) -> None:
    body = xmlrpc.client.dumps(({"name": "acme"},), "search").encode()
    headers = {"Content-Length": "", "Transfer-Encoding": "chunked"}  # the server takes the chunks apart
    assert call(served, "POST", "/RPC2", token, body=body, headers=headers).status == 200
