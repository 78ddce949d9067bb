"""What is decided over HTTP: who may, what the answers say, and what is written into the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.index.making import form, sdist, wheel
from tests.index.running import JSON, Reply, call, make_token, upload

from pinwheel.events import KINDS, OF_THE_INDEX
from pinwheel.index.channels import Channels
from pinwheel.index.server.assembly import Stored
from pinwheel.index.web.control import SCOPE_OF_EVENTS

ONE, SOURCE, TWO = wheel("acme", "1.0.0"), sdist("acme", "1.0.0"), wheel("acme", "2.0.0")
Ask = Callable[..., Reply]


@pytest.fixture
def served(app: Callable[..., Any], index: Stored) -> Any:
    found = app(channels=Channels({"prod": ()}))
    token = make_token(index.folder, "uploader", "upload")
    for made in (ONE, SOURCE, TWO):
        assert upload(found, made, token).status == 200
    return found


@pytest.fixture
def ask(served: Any, index: Stored) -> Ask:
    """Ask with a token of these scopes."""
    made: dict[tuple[Any, ...], str] = {}

    def asked(method: str, path: str, scope: str, sent: Any = None, *, projects: tuple[str, ...] = ("*",)) -> Reply:
        key = (scope, projects)
        if key not in made:
            made[key] = make_token(index.folder, f"token-{len(made)}-{scope}", scope, projects=projects)
        body = b"" if method == "GET" else json.dumps(sent or {}).encode()
        return call(served, method, path, made[key], body=body)

    return asked


def told(index: Stored) -> list[dict[str, Any]]:
    return [event for event in index.events.after(0, 100)[0] if event["kind"] != "published"]


ACTS = {
    "yank": ("POST", "/-/releases/acme/1.0.0/yank", "upload", {"reason": "broken"}),
    "unyank": ("POST", "/-/releases/acme/1.0.0/unyank", "upload", {}),
    "promote": ("POST", "/-/releases/acme/1.0.0/promote", "promote", {"channel": "prod"}),
    "demote": ("POST", "/-/releases/acme/1.0.0/demote", "promote", {"channel": "prod"}),
    "status": ("PUT", "/-/projects/acme/status", "admin", {"status": "archived", "reason": "done"}),
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_needs_its_scope(ask: Ask, index: Stored, act: str) -> None:
    method, path, needed, sent = ACTS[act]
    for scope in {"read", "upload", "promote", "deploy"} - {needed}:
        assert ask(method, path, scope, sent).status == 403
    assert told(index) == []
    assert ask(method, path, needed, sent).status == 200
    assert ask(method, path, "admin", sent).status == 200


@pytest.mark.parametrize("act", ACTS)
def test_no_act_reaches_projects_that_the_token_is_not_for(ask: Ask, index: Stored, act: str) -> None:
    method, path, scope, sent = ACTS[act]
    assert ask(method, path, scope, sent, projects=("other-*",)).status == 403
    assert told(index) == []


def test_the_credential_is_the_actor_of_the_event(ask: Ask, index: Stored) -> None:
    ask(*ACTS["yank"])
    ask(*ACTS["promote"])
    assert [(event["kind"], event["actor"], event["recorded_by"]) for event in told(index)] == [
        ("yanked", "token-0-upload", "token-0-upload"),
        ("promoted", "token-1-promote", "token-1-promote"),
    ]


def test_an_answer_says_whether_something_changed_and_for_which_files(ask: Ask) -> None:
    first = ask("POST", "/-/releases/Acme/1/yank", "upload", {"reason": "broken"})
    assert first.json() == {"api": 1, "changed": True, "files": [ONE.filename, SOURCE.filename]}
    assert ask("POST", "/-/releases/acme/1.0/yank", "upload", {"reason": "broken"}).json()["changed"] is False


def test_what_is_decided_is_on_the_page_at_once(ask: Ask, served: Any, index: Stored) -> None:
    reader = make_token(index.folder, "reader", "read")

    def page() -> dict[str, Any]:
        found: dict[str, Any] = call(served, "GET", "/simple/acme/", reader, headers=JSON).json()
        return found

    ask("POST", "/-/releases/acme/1.0.0/yank", "upload", {"reason": 'broken "badly" <b>'})
    assert [file["yanked"] for file in page()["files"]] == ['broken "badly" <b>', 'broken "badly" <b>', False]
    html = call(served, "GET", "/simple/acme/", reader).body
    assert b'data-yanked="broken &quot;badly&quot; &lt;b&gt;"' in html
    ask("PUT", "/-/projects/acme/status", "admin", {"status": "deprecated", "reason": "use <hello>"})
    assert page()["project-status"] == {"status": "deprecated", "reason": "use <hello>"}
    html = call(served, "GET", "/simple/acme/", reader).body
    assert b'<meta name="pypi:project-status" content="deprecated">' in html
    assert b'<meta name="pypi:project-status-reason" content="use &lt;hello&gt;">' in html


def test_a_project_in_quarantine_has_a_page_without_files_and_its_files_are_not_served(
    ask: Ask, served: Any, index: Stored
) -> None:
    reader = make_token(index.folder, "reader", "read")
    file = f"/files/{ONE.sha256}/{ONE.filename}"
    assert call(served, "GET", file, reader).status == 200
    ask("PUT", "/-/projects/acme/status", "admin", {"status": "quarantined", "reason": "malware?"})
    page = call(served, "GET", "/simple/acme/", reader, headers=JSON)
    assert (page.status, page.json()["files"], page.json()["project-status"]["status"]) == (200, [], "quarantined")
    for path in (file, f"{file}.metadata", f"/packages/{ONE.filename}"):
        assert call(served, "GET", path, reader).status == 404
    ask("PUT", "/-/projects/acme/status", "admin", {"status": "active"})
    assert call(served, "GET", file, reader).status == 200


@pytest.mark.parametrize("status", ["archived", "quarantined"])
def test_a_closed_project_refuses_uploads_with_the_reason(ask: Ask, served: Any, index: Stored, status: str) -> None:
    ask("PUT", "/-/projects/acme/status", "admin", {"status": status, "reason": "replaced by hello"})
    token = make_token(index.folder, "late", "upload")
    refused = upload(served, wheel("acme", "3.0.0"), token)
    assert refused.status == 403
    assert f"acme is {status} (replaced by hello)" in refused.text
    assert upload(served, ONE, token).status == 200, "its own files it knows"
    assert set(index.blobs.every()) == index.records.blobs(), "the refused one takes no space"


@pytest.mark.parametrize(
    ("method", "path", "scope", "sent", "status", "said"),
    [
        ("POST", "/-/releases/acme/9.9/yank", "upload", {}, 404, "acme has no release 9.9"),
        ("POST", "/-/releases/other/1.0/promote", "promote", {"channel": "prod"}, 404, "other has no release 1.0"),
        ("POST", "/-/releases/acme/one/yank", "upload", {}, 400, "no version"),
        ("POST", "/-/releases/acme/1.0.0/yank", "upload", {"reason": 7}, 400, "one line of text"),
        ("POST", "/-/releases/acme/1.0.0/yank", "upload", {"reason": "x\ny"}, 400, "one line of text"),
        ("POST", "/-/releases/acme/1.0.0/yank", "upload", {"reason": "x" * 501}, 400, "500 characters"),
        (
            "POST",
            "/-/releases/acme/1.0.0/promote",
            "promote",
            {"channel": "test"},
            400,
            "no channel test; there are prod",
        ),
        ("POST", "/-/releases/acme/1.0.0/promote", "promote", {"channel": "main"}, 400, "every release is in main"),
        ("POST", "/-/releases/acme/1.0.0/promote", "promote", {}, 400, "no channel None"),
        ("POST", "/-/releases/acme/1.0.0/explode", "admin", {}, 404, "the acts on a release are"),
        ("PUT", "/-/projects/acme/status", "admin", {"status": "lost"}, 400, "the status is one of active"),
        ("PUT", "/-/projects/other/status", "admin", {"status": "archived"}, 404, "nothing of other"),
        ("POST", "/-/releases/acme/1.0.0/yank", "upload", [1], 400, "not a JSON object"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    ask: Ask, index: Stored, method: str, path: str, scope: str, sent: Any, status: int, said: str
) -> None:
    refused = ask(method, path, scope, sent)
    assert refused.status == status
    assert said in refused.json()["error"]
    assert told(index) == []


def test_releases_are_listed_with_yank_and_channels(ask: Ask) -> None:
    ask(*ACTS["yank"])
    ask(*ACTS["promote"])
    assert ask("GET", "/-/releases/Acme", "read").json()["releases"] == [
        {
            "version": "1.0.0",
            "yanked": "broken",
            "channels": ["main", "prod"],
            "files": [ONE.filename, SOURCE.filename],
        },
        {"version": "2.0.0", "yanked": None, "channels": ["main"], "files": [TWO.filename]},
    ]
    assert ask("GET", "/-/releases/nobody", "read").json()["releases"] == []
    assert ask("GET", "/-/releases/acme", "read", projects=("other-*",)).status == 403


@pytest.mark.parametrize("kind", OF_THE_INDEX)
def test_nobody_can_forge_what_the_index_says_itself(ask: Ask, index: Stored, kind: str) -> None:
    event = {"id": "f" * 32, "at": "2024-01-01T00:00:00Z", "kind": kind, "actor": "eve", "subject": "acme"}
    before = index.events.after(0, 100)
    for scope in ("upload", "deploy", "admin"):
        refused = ask("POST", "/-/events", scope, {"events": [event]})
        assert (refused.status, "index alone" in refused.json()["error"]) == (400, True)
    assert index.events.after(0, 100) == before


def test_of_every_kind_of_event_it_is_said_who_may_send_it() -> None:
    assert sorted((*OF_THE_INDEX, *SCOPE_OF_EVENTS)) == sorted(KINDS)


@pytest.mark.parametrize(("kind", "needed"), [("released", "upload"), ("locked", "upload"), ("activated", "deploy")])
def test_an_event_needs_the_scope_of_what_it_tells_of(ask: Ask, kind: str, needed: str) -> None:
    event = {"id": "e" * 32, "at": "2024-01-01T00:00:00Z", "kind": kind, "actor": "ann", "subject": "acme"}
    for scope in {"upload", "deploy"} - {needed}:
        assert ask("POST", "/-/events", scope, {"events": [event]}).status == 403
    assert ask("POST", "/-/events", needed, {"events": [event]}).json()["recorded"] == 1


def test_what_is_in_quarantine_is_not_in_pypiservers_listing_and_can_be_removed(
    ask: Ask, served: Any, index: Stored
) -> None:
    token = make_token(index.folder, "root", "read", "admin")
    assert ONE.filename in call(served, "GET", "/packages/", token).text
    ask("PUT", "/-/projects/acme/status", "admin", {"status": "quarantined"})
    assert ONE.filename not in call(served, "GET", "/packages/", token).text
    content_type, body = form(ONE, action="remove_pkg")
    assert call(served, "POST", "/", token, body=body, headers={"Content-Type": content_type}).status == 200
    assert [release.version for release in index.releases.of("acme")] == ["2.0.0"]


def test_pypiservers_removal_takes_the_whole_version_at_once_and_is_told(served: Any, index: Stored) -> None:
    token = make_token(index.folder, "root", "read", "admin")
    content_type, body = form(ONE, action="remove_pkg")
    done = call(served, "POST", "/", token, body=body, headers={"Content-Type": content_type})
    assert done.status == 200
    page = call(served, "GET", "/simple/acme/", token, headers=JSON)
    assert [file["filename"] for file in page.json()["files"]] == [TWO.filename]
    (event,) = told(index)
    assert (event["kind"], event["version"], event["actor"]) == ("removed", "1.0.0", "root")
    assert [file["filename"] for file in event["detail"]["files"]] == [ONE.filename, SOURCE.filename]
    assert set(index.blobs.every()) == index.records.blobs(), "nor does it take space any more"
