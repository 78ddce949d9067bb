"""What the runner says to a request, whatever runs on its host."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from tests.deploy.bare import BareHost

from pinwheel.deploy.host import runner, supervisord
from pinwheel.deploy.host.wire import Wire

OLD, NEW = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


def test_a_change_needs_a_token(host: BareHost) -> None:
    request = {**host.request("activate", host.activation(NEW, OLD)), "fence": None}
    with pytest.raises(supervisord.Refusal, match="fence"):
        runner.Job(request, Wire(-1), threading.Event())


def test_a_host_that_nobody_has_made_ready_tells_what_it_lacks(host: BareHost) -> None:
    for each in sorted(host.root.rglob("*"), reverse=True):
        each.rmdir()
    told = host.ask("facts", {})
    assert (told["ready"], told["applications"], told["uv"]) == (False, {}, None)
    assert {"uv", "supervisor"} <= set(told["missing"])
    assert told["free_bytes"] > 0
    assert host.activate(OLD, None)["code"] == "not-ready"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"protocol": 99}, "unsupported"),
        ({"action": "dance"}, "unsupported"),
        ({"body": {"application": "../etc", "release": "x"}}, "bad-request"),
        ({"body": {}}, "bad-request"),
        ({"layout": {}}, "bad-request"),
        ({"body": None}, "unexpected"),
    ],
)
def test_a_request_that_it_does_not_understand_is_one_error(
    host: BareHost, change: dict[str, Any], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {**host.request("activate", {}), **change}
    monkeypatch.setattr(host, "request", lambda *_: whole)
    error = host.ask("activate", {})
    assert error["code"] == code
    assert "Traceback" not in json.dumps(error)
    assert "line" not in error["where"], "a place in our source is no place of the user's"
    if code == "unexpected":
        assert "report it, with runner.py line " in error["remedy"]
