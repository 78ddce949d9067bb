"""The control plane: leases that fence, events that are recorded once, attachments, minted tokens."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.index.running import Reply, call, make_token

from pinwheel.events import KINDS, OF_THE_INDEX, Event
from pinwheel.index.server.assembly import Stored
from pinwheel.index.store.leases import Leases

LEASE = {"owner": "ann@desk", "rollout": "r1", "ttl_s": 30}


@pytest.fixture
def ask(app: Callable[..., Any], index: Stored) -> Callable[..., Reply]:
    """Ask with a token that may do everything; keywords of `call` go through."""
    served, token = app(), make_token(index.folder, "t", "admin")

    def asked(method: str, path: str, body: Any = None, *, token: str = token) -> Reply:
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return call(served, method, path, token, body=sent)

    return asked


def event(**about: str) -> dict[str, Any]:
    usual = {"id": uuid.uuid4().hex, "at": "2024-01-01T00:00:00Z", "kind": "activated", "actor": "a", "subject": "shop"}
    return Event(**(usual | about)).document()  # type: ignore[arg-type]


# leases


def test_one_holds_a_lease_and_the_other_hears_who(ask: Callable[..., Reply]) -> None:
    first = ask("POST", "/-/leases/prod", LEASE)
    assert first.status == 200
    assert first.json() | {"acquired_at": "", "age_s": 0, "expires_in_s": 30} == {
        "api": 1,
        "token": first.json()["token"],
        "owner": "ann@desk",
        "rollout": "r1",
        "acquired_at": "",
        "age_s": 0,
        "expires_in_s": 30,
    }
    second = ask("POST", "/-/leases/prod", LEASE | {"owner": "ben", "rollout": "r2"})
    assert second.status == 409
    assert second.json()["holder"]["owner"] == "ann@desk"
    assert second.json()["holder"]["age_s"] >= 0
    assert ask("GET", "/-/leases/prod").json()["holder"]["rollout"] == "r1"
    assert ask("GET", "/-/leases/test").json()["holder"] is None


def test_a_released_lease_can_be_taken_and_its_token_grows(ask: Callable[..., Reply]) -> None:
    first = ask("POST", "/-/leases/prod", LEASE).json()["token"]
    assert ask("DELETE", f"/-/leases/prod?token={first}").status == 200
    assert ask("DELETE", f"/-/leases/prod?token={first}").status == 200
    assert ask("POST", "/-/leases/prod", LEASE).json()["token"] == first + 1
    assert ask("DELETE", f"/-/leases/prod?token={first}").json()["released"] is False
    assert ask("GET", "/-/leases/prod").json()["holder"]["rollout"] == "r1"


def test_a_lease_that_ran_out_is_taken_with_a_higher_token_and_the_old_one_is_fenced(index: Stored) -> None:
    leases: Leases = index.leases
    ours, first = leases.acquire("prod", "ann", "r1", now=100.0, ttl_s=10)
    assert ours
    assert leases.renew("prod", first.token, now=105.0, ttl_s=10) is not None
    assert leases.acquire("prod", "ben", "r2", now=114.9, ttl_s=10)[0] is False
    assert leases.renew("prod", first.token, now=115.1, ttl_s=10) is None
    ours, second = leases.acquire("prod", "ben", "r2", now=115.2, ttl_s=10)
    assert (ours, second.token) == (True, first.token + 1)
    assert leases.renew("prod", first.token, now=115.3, ttl_s=10) is None
    assert leases.release("prod", first.token, now=115.4) is False
    held = leases.holder("prod", now=115.5)
    assert held is not None
    assert (held.owner, held.acquired_at) == ("ben", 115.2)


def test_of_many_who_want_a_lease_one_gets_it(index: Stored) -> None:
    with ThreadPoolExecutor(10) as pool:
        got = list(pool.map(lambda n: index.leases.acquire("prod", f"o{n}", f"r{n}", 100.0, 10)[0], range(10)))
    assert sum(got) == 1


@pytest.mark.parametrize(
    "body",
    [
        LEASE | {"projects": "shop"},
        LEASE | {"projects": [""]},
        {},
        {"owner": "a"},
        LEASE | {"ttl_s": 0},
        LEASE | {"ttl_s": "x"},
        LEASE | {"ttl_s": 1e9},
        LEASE | {"owner": 1},
    ],
)
def test_a_lease_request_that_makes_no_sense_is_400(ask: Callable[..., Reply], body: dict[str, Any]) -> None:
    assert ask("POST", "/-/leases/prod", body).status == 400


def test_leases_need_the_right_scope_and_environment(ask: Callable[..., Reply], index: Stored) -> None:
    read = make_token(index.folder, "r", "read")
    test = make_token(index.folder, "d", "deploy", environments=("test-*",))
    assert ask("POST", "/-/leases/prod", LEASE, token=read).status == 403
    assert ask("POST", "/-/leases/prod", LEASE, token=test).status == 403
    assert ask("POST", "/-/leases/test-1", LEASE, token=test).status == 200
    assert ask("GET", "/-/leases/test-1", token=read).status == 200


def test_a_lease_is_only_for_projects_that_the_token_may_deploy(ask: Callable[..., Reply], index: Stored) -> None:
    acme = make_token(index.folder, "acme", "deploy", projects=("acme-*",))
    for projects, why in ((["other"], "not for other"), (["acme-a", "other"], "not for other"), ([], "every project")):
        refused = ask("POST", "/-/leases/prod", LEASE | {"projects": projects}, token=acme)
        assert refused.status == 403
        assert why in refused.json()["error"]
    assert ask("POST", "/-/leases/prod", LEASE, token=acme).status == 403, "who names none means all"
    assert ask("GET", "/-/leases/prod", token=acme).json()["holder"] is None
    assert ask("POST", "/-/leases/prod", LEASE | {"projects": ["Acme_A"]}, token=acme).status == 200


def test_a_project_and_an_environment_count_together(ask: Callable[..., Reply], index: Stored) -> None:
    both = make_token(index.folder, "both", "deploy:acme-*@test", "deploy:other@prod")
    assert ask("POST", "/-/leases/prod", LEASE | {"projects": ["acme-a"]}, token=both).status == 403
    assert ask("POST", "/-/leases/test", LEASE | {"projects": ["acme-a"]}, token=both).status == 200


def test_a_lease_can_be_ended_by_whoever_may_deploy_there_and_the_next_one_fences_it(
    ask: Callable[..., Reply], index: Stored
) -> None:
    mine = ask("POST", "/-/leases/prod", LEASE).json()
    holder = ask("GET", "/-/leases/prod").json()["holder"]
    assert holder["token"] == mine["token"]
    staging = make_token(index.folder, "d", "deploy", environments=("staging",))
    assert ask("DELETE", f"/-/leases/prod?token={holder['token']}", token=staging).status == 403
    assert ask("DELETE", f"/-/leases/prod?token={holder['token']}").json()["released"] is True
    assert ask("PUT", "/-/leases/prod", {"token": mine["token"], "ttl_s": 30}).status == 409
    assert ask("POST", "/-/leases/prod", LEASE | {"owner": "ben"}).json()["token"] > mine["token"]


# events


def test_an_event_is_recorded_once_however_often_it_comes(ask: Callable[..., Reply]) -> None:
    events = [event(), event()]
    assert ask("POST", "/-/events", {"events": events}).json()["recorded"] == 2
    assert ask("POST", "/-/events", {"events": [*events, event()]}).json()["recorded"] == 1
    assert len(ask("GET", "/-/events").json()["events"]) == 3


def test_events_are_read_in_order_from_where_one_was(ask: Callable[..., Reply]) -> None:
    for number in range(5):
        ask("POST", "/-/events", {"events": [event(version=str(number))]})
    first = ask("GET", "/-/events?limit=2").json()
    assert [each["version"] for each in first["events"]] == ["0", "1"]
    rest = ask("GET", f"/-/events?after={first['events'][-1]['serial']}").json()
    assert [each["version"] for each in rest["events"]] == ["2", "3", "4"]
    assert rest["last"] == rest["events"][-1]["serial"]


def test_events_are_found_by_what_they_are_about(ask: Callable[..., Reply]) -> None:
    ask("POST", "/-/events", {"events": [event(subject="shop", environment="prod"), event(kind="failed"), event()]})
    assert len(ask("GET", "/-/events?environment=prod").json()["events"]) == 1
    assert len(ask("GET", "/-/events?kind=failed&subject=shop").json()["events"]) == 1
    assert ask("GET", "/-/events?subject=other").json()["events"] == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"events": {}}', b'{"events": [1]}', b'{"events": [{"id": "x"}]}', b"\xff"]
)
def test_events_that_make_no_sense_are_400_and_none_is_recorded(ask: Callable[..., Reply], body: bytes) -> None:
    assert ask("POST", "/-/events", body).status == 400
    assert ask("POST", "/-/events", {"events": [event(), event(kind="danced")]}).status == 400
    assert ask("GET", "/-/events").json() == {"api": 1, "events": [], "last": 0}


def test_who_may_not_deploy_to_an_environment_may_not_speak_for_it(ask: Callable[..., Reply], index: Stored) -> None:
    token = make_token(index.folder, "d", "deploy", environments=("test-*",))
    assert ask("POST", "/-/events", {"events": [event(environment="prod")]}, token=token).status == 403
    assert ask("POST", "/-/events", {"events": [event(environment="test-1")]}, token=token).status == 200


def test_a_token_sees_the_events_of_its_projects_and_environments(ask: Callable[..., Reply], index: Stored) -> None:
    sent = [
        event(subject="Acme_Shop", environment="prod"),
        event(subject="acme-shop", environment="test-1"),
        event(subject="other", environment="test-1"),
        event(subject="", environment="test-1", kind="bootstrapped"),
        event(subject="acme-shop", kind="released"),
    ]
    assert ask("POST", "/-/events", {"events": sent}).json()["recorded"] == 5

    def seen(query: str = "", **about: Any) -> list[int]:
        token = make_token(index.folder, uuid.uuid4().hex, "read", **about)
        ids = [each["id"] for each in sent]
        return [ids.index(each["id"]) for each in ask("GET", f"/-/events{query}", token=token).json()["events"]]

    assert seen() == [0, 1, 2, 3, 4]
    assert seen(projects=("acme-*",)) == [0, 1, 3, 4]
    assert seen(environments=("test-*",)) == [1, 2, 3, 4]
    assert seen(projects=("acme-*",), environments=("test-*",)) == [1, 3, 4]
    assert seen("?limit=2", projects=("acme-*",), environments=("test-*",)) == [1, 3], "the limit counts what is seen"


def test_a_minted_token_sees_no_events(ask: Callable[..., Reply]) -> None:
    minted = ask("POST", "/-/tokens", {"name": "host", "scopes": ["read"], "ttl_s": 60}).json()["token"]
    assert ask("GET", "/-/events", token=minted).status == 403
    assert ask("GET", "/simple/", token=minted).status == 200


def test_nobody_speaks_for_what_is_not_his(ask: Callable[..., Reply], index: Stored) -> None:
    upload = make_token(index.folder, "u", "upload")
    some = make_token(index.folder, "s", "upload", "deploy", projects=("acme-*",))

    def told(token: str, **about: str) -> int:
        return ask("POST", "/-/events", {"events": [event(**about)]}, token=token).status

    for kind in ("released", "locked", "vendored"):
        assert told(upload, kind=kind) == 200
    for kind in KINDS:
        if kind not in (*OF_THE_INDEX, "released", "locked", "vendored"):
            assert told(upload, kind=kind) == 403, kind
    assert told(some, subject="Acme_Shop") == 200
    assert told(some, subject="", kind="bootstrapped") == 200
    assert told(some, subject="other") == 403
    assert len(ask("GET", "/-/events").json()["events"]) == 5


def test_an_event_tells_who_recorded_it_besides_who_is_said_to_have_acted(
    ask: Callable[..., Reply], index: Stored
) -> None:
    token = make_token(index.folder, "ci", "upload")
    forged = event(actor="the boss", kind="released") | {"recorded_by": "the boss"}
    ask("POST", "/-/events", {"events": [forged]}, token=token)
    (found,) = ask("GET", "/-/events").json()["events"]
    assert (found["actor"], found["recorded_by"]) == ("the boss", "ci")


# tokens


def test_a_minted_token_reads_and_does_nothing_else(ask: Callable[..., Reply], index: Stored) -> None:
    deploy = make_token(index.folder, "d", "deploy")
    asked = {"name": "rollout", "scopes": ["read"], "ttl_s": 60}
    reply = ask("POST", "/-/tokens", asked, token=deploy)
    assert reply.status == 200
    child = reply.json()["token"]
    assert reply.json()["expires_at"].endswith("Z")
    assert ask("GET", "/simple/", token=child).status == 200
    assert ask("POST", "/-/tokens", asked, token=child).status == 403
    assert ask("POST", "/-/leases/prod", LEASE, token=child).status == 403
    assert ask("POST", "/-/tokens", asked, token=deploy).status == 200, "the same name again"


@pytest.mark.parametrize(
    "changed", [{"scopes": ["read", "upload"]}, {"scopes": []}, {"ttl_s": 1e9}, {"name": 1}, {"name": ""}]
)
def test_only_short_lived_tokens_for_reading_are_minted(ask: Callable[..., Reply], changed: dict[str, Any]) -> None:
    body = {"name": "", "scopes": ["read"], "ttl_s": 60} | {"name": "x"} | changed
    assert ask("POST", "/-/tokens", body).status == (200 if changed == {"name": ""} else 400)


# who one is


def test_who_is_recognised_hears_what_they_may_do(
    ask: Callable[..., Reply], app: Callable[..., Any], index: Stored
) -> None:
    about: dict[str, Any] = {"projects": ("acme-*",), "environments": ("test",), "expires_at": 4102444800.0}
    assert ask("GET", "/-/whoami", token=make_token(index.folder, "ci", "upload", "read", **about)).json() == {
        "api": 1,
        "name": "ci",
        "kind": "token",
        "scopes": ["read", "upload"],
        "grants": [
            {"scope": "upload", "projects": ["acme-*"], "environments": ["test"]},
            {"scope": "read", "projects": ["acme-*"], "environments": ["test"]},
        ],
        "expires_at": "2100-01-01T00:00:00.000000Z",
    }
    everything = ask("GET", "/-/whoami").json()
    assert everything["scopes"] == ["read", "upload", "promote", "deploy", "admin"], "admin may do all"
    assert everything["expires_at"] is None
    assert call(app(anonymous_read=True), "GET", "/-/whoami").json()["kind"] == "anonymous"


def test_who_is_not_recognised_is_401_and_not_nobody(ask: Callable[..., Reply]) -> None:
    assert ask("GET", "/-/whoami", token="wrong").status == 401
    assert ask("GET", "/-/whoami", token="").status == 401


# own files


def test_own_files_need_the_right_scope_and_project(ask: Callable[..., Reply], index: Stored) -> None:
    upload_only = make_token(index.folder, "u", "upload")
    other = make_token(index.folder, "o", "read", projects=("other",))
    assert ask("GET", "/-/projects/shop", token=upload_only).status == 403
    assert ask("GET", "/-/projects/shop", token=other).status == 403
    assert ask("GET", "/-/projects/other", token=other).json()["files"] == []
    assert ask("GET", "/-/projects/shop", token="wrong").status == 401


# attachments


def test_the_newest_attachment_wins_and_older_ones_stay(ask: Callable[..., Reply]) -> None:
    path = "/-/attachments/Acme_Shop/1.0.0/pylock.toml"
    old = ask("PUT", path, b"old").json()["sha256"]
    new = ask("PUT", path, b"new").json()["sha256"]
    ask("PUT", path, b"new")
    assert ask("GET", "/-/attachments/acme-shop/1.0/pylock.toml").body == b"new"
    assert ask("GET", f"{path}?sha256={old}").body == b"old"
    assert ask("GET", f"{path}?sha256={'0' * 64}").status == 404
    ask("PUT", "/-/attachments/acme-shop/1.0.0/another.json", b"{}")
    listed = ask("GET", "/-/attachments/acme-shop/1.0.0").json()["attachments"]
    assert [(each["name"], each["size"]) for each in listed] == [("another.json", 2), ("pylock.toml", 3)]
    assert listed[1]["sha256"] == new
    assert ask("GET", "/-/attachments/acme-shop/2.0").json()["attachments"] == []


def test_an_attachment_keeps_its_blob(ask: Callable[..., Reply], index: Stored) -> None:
    from pinwheel.index.upkeep.sweeping import sweep

    ask("PUT", "/-/attachments/shop/1.0/lock", b"body")
    assert sweep(index.records, index.blobs, index.temporary).orphans == 0
    assert ask("GET", "/-/attachments/shop/1.0/lock").body == b"body"


@pytest.mark.parametrize(
    ("path", "status"),
    [("shop/1.0/../x", 404), ("shop/1.0/.hidden", 404), ("shop/one/x", 400), ("shop", 404), ("shop/1.0/a/b", 404)],
)
def test_an_attachment_needs_a_plain_place(ask: Callable[..., Reply], path: str, status: int) -> None:
    assert ask("PUT", f"/-/attachments/{path}", b"x").status == status


def test_a_huge_attachment_is_413(ask: Callable[..., Reply]) -> None:
    assert ask("PUT", "/-/attachments/shop/1.0/x", bytes(8 * 2**20 + 1)).status == 413


def test_attachments_need_the_right_scope_and_project(ask: Callable[..., Reply], index: Stored) -> None:
    read = make_token(index.folder, "r", "read")
    other = make_token(index.folder, "o", "upload", projects=("other",))
    assert ask("PUT", "/-/attachments/shop/1.0/x", b"x", token=read).status == 403
    assert ask("PUT", "/-/attachments/shop/1.0/x", b"x", token=other).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/-/",
        "/-/nothing",
        "/-/leases/",
        "/-/leases/../x",
        "/-/events/1",
        "/-/tokens/x",
        "/-/whoami/x",
        "/-/projects",
        "/-/projects/",
        "/-/projects/a/b",
    ],
)
def test_what_is_not_there_is_404(ask: Callable[..., Reply], path: str) -> None:
    assert ask("GET", path).status == 404


UNSTORABLE = ["9223372036854775808", "1" * 5000, '"\\ud800"', "1e999", "NaN", "[" * 100_000]


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: value[:20])
def test_what_cannot_be_stored_is_400_with_a_reason(ask: Callable[..., Reply], value: str) -> None:
    sent = {"events": [event() | {"detail": {"n": "HERE"}}]}
    asked = [
        ("POST", "/-/events", sent),
        ("PUT", "/-/leases/prod", {"token": "HERE", "ttl_s": 30}),
        ("POST", "/-/leases/prod", LEASE | {"owner": "HERE"}),
        ("POST", "/-/releases/acme/1.0/yank", {"reason": "HERE"}),
    ]
    for method, path, body in asked:
        reply = ask(method, path, json.dumps(body).replace('"HERE"', value).encode())
        assert (reply.status, bool(reply.json()["error"])) == (400, True), path


@pytest.mark.parametrize("value", ["9223372036854775808", "1" * 5000, "-" + "9" * 30, "x", "\u00b2", ""])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "events?after"), ("GET", "events?limit"), ("DELETE", "leases/prod?token")]
)
def test_a_number_in_the_query_that_is_none_is_400(
    ask: Callable[..., Reply], method: str, path: str, value: str
) -> None:
    reply = ask(method, f"/-/{path}={value}")
    assert (reply.status, "number" in reply.json()["error"]) == (400, True)


def test_an_address_that_is_no_text_is_400(ask: Callable[..., Reply]) -> None:
    for path in ("projects/\udcff", "releases/\udcff", "attachments/\udcff/1.0"):
        assert ask("GET", f"/-/{path}").status == 400
