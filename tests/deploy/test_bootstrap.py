"""What a bootstrap does outside of the layout: users, and the unit of our own supervisord. Tools stand in for the
system's, because tests must change neither users nor services of the machine that runs them."""

from __future__ import annotations

import getpass
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.bare import BareHost

from pinwheel.deploy.host import bootstrap, runner, wire

TOOL = """#!/bin/sh
echo "${0##*/} $@" >> "%s"
exit $(cat "%s" 2>/dev/null || echo 0)
"""


@dataclass
class Tools:
    """`useradd` and `systemctl` that only write down how they were called."""

    folder: Path

    @property
    def called(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    def fail(self, code: int) -> None:
        (self.folder / "code").write_text(str(code))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("useradd", "systemctl"):
        (folder / name).write_text(TOOL % (folder / "log", folder / "code"))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Tools(folder)


@pytest.fixture
def host(host: BareHost) -> BareHost:
    (host.root / "etc").mkdir()
    return host


def job(host: BareHost, supervisor_from: str = "index", **body: Any) -> runner.Job:
    uv = {"filename": "uv-0.9.1-py3-none-any.whl", "url": "", "sha256": ""}
    asked = {"uv": uv, "supervisor_requirements": "supervisor==4.3.0 --hash=sha256:00\n", "users": [], **body}
    made = runner.Job(host.request("survey", asked, supervisor_from), wire.Wire(-1), threading.Event())
    made.unit = host.root / "units" / made.unit.name
    return made


def with_systemd(monkeypatch: pytest.MonkeyPatch, folder: Path, user: int = 0) -> None:
    monkeypatch.setattr(bootstrap, "SYSTEMD", folder)
    monkeypatch.setattr(os, "geteuid", lambda: user)


def whats(job: runner.Job) -> list[str]:
    return [each["what"] for each in bootstrap.survey(job)["changes"]]


def test_only_users_that_are_not_there_are_made_and_cannot_log_in(host: BareHost, tools: Tools) -> None:
    asked = job(host, "host", users=["pinwheel-absent", getpass.getuser()])
    assert "add the system user pinwheel-absent" in whats(asked)
    assert not any(getpass.getuser() in each.split() for each in whats(asked))
    assert tools.called == []
    bootstrap.bootstrap(asked, -1)
    options = "--system --user-group --no-create-home --shell /usr/sbin/nologin"
    assert tools.called == [f"useradd {options} pinwheel-absent"]


@pytest.mark.parametrize("name", ["-x", "a b", "Root;", "x" * 40])
def test_what_cannot_be_a_user_is_refused_and_no_tool_is_started(host: BareHost, tools: Tools, name: str) -> None:
    told = bootstrap.bootstrap(job(host, "host", users=[name]), -1)
    assert "cannot be the name of a user" in told["missing"][0]["problem"]
    assert tools.called == []


def test_a_user_that_cannot_be_made_keeps_nothing_else_from_being_done(host: BareHost, tools: Tools) -> None:
    tools.fail(9)
    (host.root / "cache").rmdir()
    told = bootstrap.bootstrap(job(host, "host", users=["pinwheel-absent"]), -1)
    assert told["changes"] == [f"make {host.root / 'cache'}"]
    assert "exit code 9" in told["missing"][0]["problem"]
    assert told["missing"][1]["what"].startswith("install uv"), "it was tried"
    assert "not tried" not in told["missing"][1]["problem"]


def test_where_systemd_is_our_supervisord_is_registered(
    host: BareHost, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_systemd(monkeypatch, tmp_path)
    asked = job(host)
    asked.unit.parent.mkdir()
    what = f"write {asked.unit} and enable it"
    (change,) = [each for each in bootstrap.changes(asked, -1) if each.what == what]
    assert asked.unit.name == f"pinwheel{str(host.root).replace('/', '-')}.service"
    change.do()
    assert tools.called == ["systemctl daemon-reload", f"systemctl enable {asked.unit.name}"]
    text = asked.unit.read_text()
    assert f'ExecStart="{host.root}/supervisor/bin/supervisord" -n -c "{host.root}/etc/supervisord.conf"' in text
    assert asked.unit.stat().st_mode & 0o777 == 0o644
    assert what not in whats(asked), "the second time there is nothing to do"
    assert bootstrap.notes(asked) == []


def test_where_the_unit_is_supervisor_is_started_by_systemd(host: BareHost, tools: Tools) -> None:
    asked = job(host)
    asked.unit.parent.mkdir()
    asked.unit.touch()
    (host.root / "supervisor").mkdir()
    (host.root / "supervisor/COMPLETE").touch()
    threading.Timer(0.2, host.start_supervisor).start()
    assert runner.start_supervisor(asked) is True
    assert tools.called == [f"systemctl start {asked.unit.name}"]


@pytest.mark.parametrize(("there", "user", "why"), [(False, 0, "no systemd"), (True, 1000, "only root")])
def test_where_it_cannot_be_registered_that_is_said(
    host: BareHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, user: int, why: str
) -> None:
    with_systemd(monkeypatch, tmp_path if there else tmp_path / "absent", user)
    assert not any("enable" in each for each in whats(job(host)))
    (note,) = bootstrap.survey(job(host))["notes"]
    assert why in note
    assert bootstrap.notes(job(host, "host")) == [], "a supervisor of the host's own is none of our business"


@pytest.mark.parametrize(
    ("supervisor_from", "installed", "ours", "own"),
    [
        ("auto", True, False, False),
        ("auto", False, False, True),
        ("auto", True, True, True),
        ("index", True, False, True),
        ("host", False, True, False),
    ],
)
def test_whose_supervisor_it_is(
    host: BareHost, tools: Tools, supervisor_from: str, installed: bool, ours: bool, own: bool
) -> None:
    """By itself: the host's own where it is installed, unless ours is there already."""
    if installed:
        (tools.folder / "supervisord").touch(0o755)
    if ours:
        (host.root / "supervisor").mkdir()
        (host.root / "supervisor/COMPLETE").touch()
    if not installed:
        os.environ["PATH"] = str(tools.folder)  # the machine may have one; the fixture puts PATH back
    assert job(host, supervisor_from).own_supervisor is own
