"""Who may do what, and that a wrong credential is never taken for none."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from tests.index.making import wheel
from tests.index.running import authorization, call, make_token, names, upload

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.credentials.access import WRONG_BURST, Access, hashed, new_token
from pinwheel.index.grants import granted
from pinwheel.index.server.assembly import Stored, now
from pinwheel.index.simple.pages import JSON_V1
from pinwheel.index.store.tokens import DatabaseTokens

JSON = {"Accept": JSON_V1}
READS = ("/", "/simple/", "/simple/acme/", "/packages/", "/acme/json", "/-/events", "/files/x/y")


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    file = tmp_path / "htpasswd"
    file.write_text(f"# people\nann:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n\n")
    return file


def test_without_a_credential_everything_asks_for_one(app: Callable[..., Any]) -> None:
    served = app()
    for path in READS:
        reply = call(served, "GET", path)
        assert reply.status == 401, path
        assert reply.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize("anonymous_read", [False, True])
def test_a_wrong_credential_is_401_everywhere(app: Callable[..., Any], anonymous_read: bool) -> None:
    served = app(anonymous_read=anonymous_read)
    headers = ("Basic", "Basic !", "Basic QQ==", "Bearer x", *authorization("wrong").values(), "nonsense")
    for path, (number, header) in itertools.product(READS, enumerate(headers)):
        reply = call(served, "GET", path, headers={"Authorization": header}, address=f"192.0.2.{number}")
        assert reply.status == 401, (path, header)


def test_health_and_readiness_need_none(app: Callable[..., Any]) -> None:
    assert call(app(), "GET", "/-/health").json() == {"api": 1, "status": "ok", "version": "0.1.0"}
    assert call(app(), "GET", "/-/ready").json() == {"api": 1, "status": "ok"}


@pytest.mark.parametrize(
    ("scopes", "reads", "uploads"),
    [(("read",), 404, 403), (("upload",), 403, 200), (("deploy",), 403, 403), (("admin",), 404, 200)],
)
def test_a_token_may_do_what_its_scopes_say(
    app: Callable[..., Any], index: Stored, scopes: tuple[str, ...], reads: int, uploads: int
) -> None:
    token, served = make_token(index.folder, "t", *scopes), app()
    assert call(served, "GET", "/simple/acme/", token).status == reads
    assert upload(served, wheel("acme"), token).status == uploads


def test_a_token_may_touch_only_its_projects(app: Callable[..., Any], index: Stored) -> None:
    everything = make_token(index.folder, "all", "read", "upload")
    some = make_token(index.folder, "some", "read", "upload", projects=("acme-*",))
    served, secret = app(), wheel("other")
    for made in (secret, wheel("acme-greet")):
        upload(served, made, everything)
    assert upload(served, wheel("acme-shop"), some).status == 200
    assert upload(served, wheel("third"), some).status == 403
    assert call(served, "GET", "/simple/acme-greet/", some).status == 200
    assert call(served, "GET", "/simple/other/", some).status == 403
    assert call(served, "GET", f"/files/{secret.sha256}/{secret.filename}", some).status == 403
    assert call(served, "GET", f"/packages/{secret.filename}", some).status == 403
    for path in ("/packages/", "/other/json", "/"):
        assert call(served, "GET", path, some).status == 403, "these show all projects"
    listed = call(served, "GET", "/simple/", some, headers=JSON).json()["projects"]
    assert [each["name"] for each in listed] == ["acme-greet", "acme-shop"]


def test_a_revoked_token_ends_at_once_and_so_do_its_children(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "parent", "read", "deploy"), app()
    minted = call(served, "POST", "/-/tokens", token, body=b'{"name": "c", "scopes": ["read"], "ttl_s": 60}')
    child = minted.json()["token"]
    assert [call(served, "GET", "/simple/", each).status for each in (token, child)] == [200, 200]
    assert index.tokens.revoke("parent", now())
    assert [call(served, "GET", "/simple/", each).status for each in (token, child)] == [401, 401]
    assert not index.tokens.revoke("parent", now())


def test_a_token_ends_when_it_expires_also_when_it_is_remembered(index: Stored) -> None:
    clock = [time.time()]
    door = Access(index.tokens, now=lambda: clock[0])
    token = make_token(index.folder, "short", "read", expires_at=clock[0] + 10)
    header = authorization(token)["Authorization"]
    assert door.identify(header, 1) is not None
    clock[0] += 11
    assert door.identify(header, 1) is None


def test_only_a_hash_of_a_token_is_stored(index: Stored) -> None:
    token = make_token(index.folder, "t", "read")
    index.close()
    for file in index.folder.glob("index.sqlite*"):
        assert token.encode() not in file.read_bytes()
    with sqlite3.connect(index.folder / "index.sqlite") as connection:
        assert connection.execute("SELECT hash FROM tokens").fetchall() == [(hashed(token),)]
    connection.close()


@pytest.mark.parametrize(
    ("name", "scopes"), [("t", ["fly"]), ("t", []), ("", ["read"]), ("a,b", ["read"]), ("a\nb", ["read"])]
)
def test_a_token_that_makes_no_sense_is_not_made(name: str, scopes: list[str]) -> None:
    with pytest.raises(UsageError):
        new_token(name, granted(scopes), created_at=now())


def test_users_of_the_password_file_read_and_upload(app: Callable[..., Any], htpasswd: Path) -> None:
    served = app(htpasswd=htpasswd)
    ann = authorization("secret", "ann")
    assert call(served, "GET", "/simple/", headers=ann).status == 200
    assert call(served, "POST", "/-/events", headers=ann, body=b'{"events": []}').status == 200
    assert call(served, "POST", "/-/leases/prod", headers=ann, body=b"{}").status == 403
    for wrong in (authorization("wrong", "ann"), authorization("secret", "bob"), authorization("", "ann")):
        assert call(served, "GET", "/simple/", headers=wrong or {"Authorization": "Basic YW5uOg=="}).status == 401


def test_a_token_that_is_revoked_while_it_is_verified_is_not_remembered(
    index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = authorization(make_token(index.folder, "t", "read"))["Authorization"]
    door = Access(index.tokens)
    real = index.tokens.find

    def revoked_meanwhile(hash_: str) -> Any:
        found = real(hash_)
        monkeypatch.undo()
        index.tokens.revoke("t", now())
        assert door.identify("Basic eDp5", 2) is None  # somebody else asks, and knows of the revocation
        return found

    monkeypatch.setattr(DatabaseTokens, "find", lambda _self, hash_: revoked_meanwhile(hash_))
    door.identify(header, 1)
    assert door.identify(header, 2) is None


def test_a_new_token_makes_nobody_forget(index: Stored) -> None:
    before = index.records.serials()
    make_token(index.folder, "t", "read")
    assert index.records.serials() == before
    index.tokens.revoke("t", now())
    assert index.records.serials() != before


def test_anonymous_readers_read_and_do_nothing_else(app: Callable[..., Any], index: Stored) -> None:
    served = app(anonymous_read=True)
    made = wheel("acme")
    upload(served, made, make_token(index.folder, "t", "upload"))
    assert names(call(served, "GET", "/simple/acme/", headers=JSON)) == [made.filename]
    assert call(served, "GET", f"/files/{made.sha256}/{made.filename}").headers["cache-control"].startswith("public")
    assert call(served, "GET", "/packages/").status == 200
    assert upload(served, wheel("acme", "2.0"), "").status == 401
    assert call(served, "POST", "/-/leases/prod", body=b"{}").status == 401


@pytest.mark.parametrize("path", ["events", "leases/prod", "attachments/acme/1.0", "metrics", "tokens", "nothing"])
def test_anonymous_readers_hear_nothing_of_hosts_and_people(app: Callable[..., Any], index: Stored, path: str) -> None:
    served = app(anonymous_read=True)
    reply = call(served, "GET", f"/-/{path}")
    assert (reply.status, "www-authenticate" in reply.headers) == (401, True)
    assert call(served, "GET", f"/-/{path}", make_token(index.folder, "t", "read")).status in (200, 403, 404)
    assert call(served, "PUT", f"/-/{path}").status == 401


@pytest.mark.parametrize("path", ["health", "ready", "whoami", "projects/acme", "releases/acme"])
def test_anonymous_readers_hear_what_there_is(app: Callable[..., Any], path: str) -> None:
    assert call(app(anonymous_read=True), "GET", f"/-/{path}").status == 200


def test_a_failure_tells_the_operator_and_not_the_client(
    app: Callable[..., Any], index: Stored, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served, token = app(), make_token(index.folder, "t", "read")

    def failed(*_about: object) -> None:
        raise PinwheelError("ann has a weak password", where="/srv/htpasswd", remedy="ask ann")

    monkeypatch.setattr(Access, "identify", failed)
    reply = call(served, "GET", "/simple/", token)
    assert (reply.status, reply.text) == (500, "the index failed; its log says why\n")
    heard = capsys.readouterr().err
    assert "ann has a weak password" in heard
    assert "/srv/htpasswd" in heard


def test_who_is_wrong_too_often_hears_that_while_right_ones_are_served(app: Callable[..., Any], index: Stored) -> None:
    served, token = app(), make_token(index.folder, "t", "read")
    heard = [call(served, "GET", "/simple/", f"wrong{number % 3}") for number in range(WRONG_BURST + 2)]
    assert [each.status for each in heard] == [401] * WRONG_BURST + [429] * 2
    assert int(heard[-1].headers["retry-after"]) >= 1
    assert call(served, "GET", "/simple/", token).status == 200, "also the first time, from the same address"
    assert call(served, "GET", "/simple/", "wrong", address="192.0.2.1").status == 401


def test_no_number_of_wrong_tokens_makes_a_right_one_be_looked_up_again(
    index: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, header = Access(index.tokens), authorization(make_token(index.folder, "t", "read"))["Authorization"]
    assert door.identify(header, 1) is not None
    monkeypatch.setattr(DatabaseTokens, "find", lambda _self, _hashed: None)
    for number in range(3000):
        wrong = authorization(f"wrong{number}")["Authorization"]
        assert door.identify(wrong, 1, f"10.{number // 250}.{number % 250}.1") is None
    assert door.identify(header, 1) is not None


# protected projects


@pytest.fixture
def guarded(app: Callable[..., Any], index: Stored) -> Any:
    """Everybody may read, but not what is protected; one project of each kind is there."""
    served = app(anonymous_read=True, protected=("acme-secret*",))
    token = make_token(index.folder, "up", "upload")
    for made in (wheel("acme-secret"), wheel("acme-open")):
        assert upload(served, made, token).status == 200
    return served


def test_a_protected_project_needs_a_credential_whether_it_exists_or_not(guarded: Any, index: Stored) -> None:
    made, reader = wheel("acme-secret"), make_token(index.folder, "reader", "read")
    paths = (
        *("/simple/acme-secret/", "/simple/acme-secret-plans/", "/packages/", "/"),
        *(f"/files/{made.sha256}/{made.filename}{more}" for more in ("", ".metadata")),
        *(f"/packages/{made.filename}", "/-/projects/acme-secret", "/-/attachments/acme-secret/1.0"),
    )
    for path in paths:
        assert call(guarded, "GET", path).status == 401, path
        assert call(guarded, "GET", path, reader).status != 401, path


def test_a_page_of_all_projects_shows_each_only_theirs(guarded: Any, index: Stored) -> None:
    shown = {
        "nobody": call(guarded, "GET", "/simple/", headers=JSON),
        "some": call(guarded, "GET", "/simple/", make_token(index.folder, "s", "read:acme-s*"), headers=JSON),
        "all": call(guarded, "GET", "/simple/", make_token(index.folder, "a", "read"), headers=JSON),
    }
    assert {who: [each["name"] for each in page.json()["projects"]] for who, page in shown.items()} == {
        "nobody": ["acme-open"],
        "some": ["acme-secret"],
        "all": ["acme-open", "acme-secret"],
    }
    assert {page.headers["cache-control"] for page in shown.values()} == {"private, no-cache"}
    upload(guarded, wheel("acme-third"), make_token(index.folder, "again", "upload"))
    names_now = call(guarded, "GET", "/simple/", headers=JSON).json()["projects"]
    assert [each["name"] for each in names_now] == ["acme-open", "acme-third"]


def test_caches_of_others_keep_only_what_everybody_may_read(guarded: Any, index: Stored) -> None:
    token = make_token(index.folder, "reader", "read")
    secret, public = wheel("acme-secret"), wheel("acme-open")
    for made, of_page, of_file in ((secret, "private, no-cache", "private"), (public, "no-cache", "public")):
        page = call(guarded, "GET", f"/simple/{made.project}/", token)
        file = call(guarded, "GET", f"/files/{made.sha256}/{made.filename}", token)
        assert page.headers["cache-control"] == of_page
        assert file.headers["cache-control"] == f"{of_file}, max-age=31536000, immutable"


# a web server in front asks


ASKED = (  # an address, and what nobody, somebody who may read acme-s*, and somebody who may read all hear of it
    ("/simple/acme-open/", 204, 403, 204),
    ("/simple/acme-secret/?format=x/../y", 401, 204, 204),
    ("/simple/attrs/", 204, 204, 204),
    ("/simple/", 403, 403, 204),
    ("/c/prod/simple/acme-secret/", 401, 204, 204),
    ("/simple/acme-open/../acme-secret/", 403, 403, 403),
    ("/simple/acme-open/%2e%2e/acme-secret/", 403, 403, 403),
    ("//simple/acme-secret/", 403, 403, 403),
    ("/simple/acme%2dsecret/", 401, 204, 204),
    ("/packages/", 403, 403, 403),
    (f"/files/{'0' * 64}/nonsense", 403, 403, 204),
    (f"/files/{'0' * 64}/..", 403, 403, 403),
    ("/-/events", 403, 403, 403),
    ("", 403, 403, 403),
)


def test_a_web_server_hears_whether_it_may_answer(guarded: Any, index: Stored) -> None:
    tokens = ("", make_token(index.folder, "s", "read:acme-s*"), make_token(index.folder, "a", "read"))
    for path, *expected in ASKED:
        headers = {"X-Original-URI": path, "X-Original-Method": "GET"}
        heard = [call(guarded, "GET", "/-/authorize", token, headers=headers).status for token in tokens]
        assert heard == expected, path
        assert call(guarded, "GET", "/-/authorize", "wrong", headers=headers).status == 401, path


def test_a_web_server_hears_how_long_it_may_believe_that(guarded: Any, index: Stored) -> None:
    tokens = {
        204: make_token(index.folder, "a", "read"),
        403: make_token(index.folder, "o", "read:other"),
        401: "wrong",
    }
    for status, token in tokens.items():
        heard = call(guarded, "GET", "/-/authorize", token, headers={"X-Original-URI": "/simple/acme-secret/"})
        more = ", stale-if-error=3600" if status == 204 else ""
        assert (heard.status, heard.headers["cache-control"]) == (status, f"max-age=2{more}")
    assert call(guarded, "GET", "/-/whoami", "wrong").headers["cache-control"] == "no-store"


def test_a_web_server_hears_of_files_by_their_project(guarded: Any, index: Stored) -> None:
    made, token = wheel("acme-secret"), make_token(index.folder, "a", "read")
    for more in ("", ".metadata"):
        headers = {"X-Original-URI": f"/files/{made.sha256}/{made.filename}{more}"}
        assert call(guarded, "GET", "/-/authorize", headers=headers).status == 401
        assert call(guarded, "GET", "/-/authorize", token, headers=headers).status == 204
    assert call(guarded, "GET", "/-/authorize", token, headers=headers | {"X-Original-Method": "PUT"}).status == 403
