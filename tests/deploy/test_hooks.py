"""The operator's own commands and the webhook, with real processes and a real web server."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.memory_index import MemoryIndex
from tests.deploy.test_operate import CONFIG, World

from pinwheel.deploy.planning.report import Conclusion
from pinwheel.deploy.rolling import operate
from pinwheel.deploy.rolling.hooks import HookFailed
from pinwheel.deploy.rolling.webhook import Announced
from pinwheel.deploy.showing import reports
from pinwheel.errors import UsageError
from pinwheel.ledger import Ledger


def site(folder: Path, monkeypatch: pytest.MonkeyPatch, **hooks: str) -> World:
    """A world with hooks; `./say` in its folder writes down with which words it was called."""
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    say = folder / "say"
    say.write_text(f"#!{sys.executable}\nimport sys\nopen('told', 'a').write(' '.join(sys.argv[1:]) + chr(10))\n")
    say.chmod(0o755)
    lines = "".join(f"hooks.{key} = {value}\n" for key, value in hooks.items())
    text = CONFIG.replace("become = []", f"become = []\n{lines}")
    (folder / "pinwheel.toml").write_text(text)
    return World(folder, text)


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines() if (folder / "told").exists() else []


def test_commands_run_in_the_folder_of_the_configuration_with_everything_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = site(
        tmp_path,
        monkeypatch,
        before='["./say", "before", "{application} {version}"]',
        drain='["./say", "drain", "{host}", "{address}", "{port}"]',
        undrain='["./say", "undrain", "{host}", "{version}"]',
        after='["./say", "after", "{environment}", "{outcome}"]',
    )
    operate.rolled_out(world.session(), "shop==1.0.0")
    assert told(tmp_path) == [
        "before shop 1.0.0",
        *(
            line
            for number in (1, 2, 3)
            for line in (f"drain h{number} h{number} 800{number}", f"undrain h{number} 1.0.0")
        ),
        "after live done",
    ]
    (tmp_path / "told").unlink()
    operate.rolled_out(world.session(), "shop==1.0.0")
    assert told(tmp_path) == [], "there was nothing to do"


def test_a_command_before_the_rollout_that_fails_means_that_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = site(tmp_path, monkeypatch, before='["sh", "-c", "echo the freeze is on >&2; exit 7"]')
    with pytest.raises(HookFailed, match="sh exits with 7: the freeze is on"):
        operate.rolled_out(world.session(), "shop==1.0.0")
    assert {action for action, _ in world.hosts.asked} == {"facts"}
    assert world.index.released == [1]


def test_a_command_after_it_that_fails_is_only_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = site(tmp_path, monkeypatch, after='["false"]')
    session = world.session()
    _, report = operate.rolled_out(session, "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert session.watcher.notes == ["the command after the rollout failed: false exits with 1"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ('["nobody-has-this"]', "nobody-has-this is not installed"),
        ('["sleep", "60"]', "sleep did not end within 0.2 s"),
        ('["./pinwheel.toml"]', "./pinwheel.toml: Permission denied"),
    ],
)
def test_a_drain_that_does_not_work_leaves_its_host_alone_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, says: str
) -> None:
    world = site(tmp_path, monkeypatch, drain=command, undrain='["true"]', timeout_s="0.2")
    _, report = operate.rolled_out(world.session(), "shop==1.0.0")
    assert report.outcomes[0].reason == f"it was not drained: {says}"
    assert world.hosts.did("activate") == []


@pytest.mark.parametrize(
    ("hooks", "key"),
    [
        ({"drain": '["lb", "{hots}"]', "undrain": '["lb"]'}, "hooks.drain"),
        ({"before": '["say", "{host}"]'}, "hooks.before"),
        ({"drain": '["lb"]'}, "hooks"),
        ({"webhook": '"chat.example/hook"'}, "hooks.webhook"),
    ],
)
def test_a_hook_that_cannot_be_is_wrong_usage_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hooks: dict[str, str], key: str
) -> None:
    world = site(tmp_path, monkeypatch, **hooks)
    for act in (operate.planned, operate.rolled_out):
        with pytest.raises(UsageError) as caught:
            act(world.session(), "shop==1.0.0")
        assert key in caught.value.where
    assert world.hosts.asked == []


class Listener:
    """A web server that keeps what is posted to it, and answers with `status`."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.status = 200
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.status)
                self.send_header("Location", "http://elsewhere.example/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/secret-path"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_webhook_hears_of_the_start_and_the_end_and_of_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    world = site(tmp_path, monkeypatch)
    monkeypatch.setenv("PINWHEEL_WEBHOOK", listener.url)
    world.hosts["h1"].sick.add(world.one)
    operate.rolled_out(world.session(), "shop==1.0.0")
    started, finished = listener.posted
    assert (started["kind"], started["subject"], started["environment"]) == ("rollout-started", "shop", "live")
    assert (finished["kind"], finished["outcome"]) == ("rollout-finished", "halted")
    assert finished["rollout"] == started["rollout"]
    assert finished["detail"]["reason"]
    for secret in ("ours", "short-lived"):
        assert secret not in json.dumps(listener.posted).replace("yours", "")


@pytest.mark.parametrize("status", [302, 500])
def test_a_webhook_that_does_not_take_it_is_only_said_and_its_address_is_not(
    tmp_path: Path, listener: Listener, status: int
) -> None:
    listener.status = status
    notes: list[str] = []
    ledger = Announced(Ledger(MemoryIndex(), tmp_path), listener.url, notes.append)
    ledger.append("rollout-started", "shop")
    ledger.append("prepared", "shop")
    assert notes == [f"the webhook at 127.0.0.1 was not told of rollout-started: it answers {status}"]
    assert len(listener.posted) == 1


def test_a_webhook_that_nobody_answers_is_only_said(tmp_path: Path) -> None:
    notes: list[str] = []
    index = MemoryIndex()
    ledger = Announced(Ledger(index, tmp_path), "http://127.0.0.1:1/secret-path", notes.append)
    ledger.append("rollout-finished", "shop")
    (note,) = notes
    assert note == "the webhook at 127.0.0.1 was not told of rollout-finished: nobody listens"
    assert "secret" not in note
    assert [each.kind for each in index.recorded] == ["rollout-finished"]


def test_the_last_words_name_who_is_still_drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = site(tmp_path, monkeypatch, drain='["true"]', undrain='["false"]')
    made, report = operate.rolled_out(world.session(), "shop==1.0.0")
    said = reports.next_step(report, made, "live")
    assert "Still out of service: h1." in said
    assert "deploy.resume --env live --application shop" in said
