"""Logs of many hosts at once: who is read, who is told about, and what a person sees."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.simulated import SimulatedHosts
from tests.deploy.test_operate import CONFIG, World

from pinwheel.deploy.reaching.hosts import HostLost, Told, untold
from pinwheel.deploy.rolling import logs, operate
from pinwheel.deploy.showing import lines
from pinwheel.errors import UsageError


class Page:
    """A reader in memory. `full_after` makes it refuse more lines."""

    def __init__(self, full_after: int | None = None) -> None:
        self.read: list[tuple[str, str, str]] = []
        self.notes: list[tuple[str, str]] = []
        self._full_after = full_after

    def lines(self, host: str, process: str, lines: Sequence[str]) -> None:
        if self._full_after is not None and len(self.read) >= self._full_after:
            raise BrokenPipeError
        self.read += [(host, process, line) for line in lines]

    def said(self, host: str, text: str) -> None:
        self.notes.append((host, text))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    made = World(tmp_path)
    operate.rolled_out(made.session(), "shop==1.0.0")
    for name, host in made.hosts.hosts.items():
        host.log = [f"{name} says {number}" for number in range(30)]
    return made


def test_the_last_lines_of_each_host_are_read(world: World) -> None:
    page = Page()
    assert logs.read(world.session(), "shop", page, lines=2)
    assert sorted(page.read) == [
        (name, "shop-web", f"{name} says {number}") for name in ("h1", "h2", "h3") for number in (28, 29)
    ]
    assert page.notes == []


def test_a_host_that_is_away_or_never_had_it_is_told_and_the_others_are_read(world: World) -> None:
    world.hosts["h1"].unreachable = True
    world.hosts["h2"].current = None
    page = Page()
    assert not logs.read(world.session(), "shop", page, lines=1)
    assert [host for host, _, _ in page.read] == ["h3"]
    assert sorted(page.notes) == [
        ("h1", "nobody listens; is it up?"),
        ("h2", "shop was never here; roll out"),
    ]


def test_who_is_followed_and_goes_away_is_told_once_and_goes_on_where_it_was(world: World) -> None:
    """Lost three times, and then back with one more line."""
    session, ask, asked = world.session(), SimulatedHosts.ask, [0]

    def lossy(host: str, request: Mapping[str, Any], heard: Any, told: Told = untold) -> Mapping[str, Any]:
        asked[0] += 1
        if asked[0] in (1, 5):
            ask(world.hosts, host, request, heard, told)
        if asked[0] == 5:
            session.stop.set(signal.SIGINT)
            return {}
        if asked[0] == 4:
            world.hosts["h1"].log.append("h1 says 30")
        raise HostLost("it is silent; the host ends what it does by itself")

    world.hosts.ask = lossy  # type: ignore[method-assign, assignment]
    session.targets = session.targets[:1]
    page = Page()
    assert logs.read(session, "shop", page, lines=1, follow=True, again_s=0.0)
    assert [line for _, _, line in page.read] == ["h1 says 29", "h1 says 30"]
    assert page.notes == [("h1", "it is silent; it is asked again until it is back"), ("h1", "it is back")]


def test_a_reader_that_goes_away_ends_all_hosts(world: World) -> None:
    with pytest.raises(BrokenPipeError):
        logs.read(world.session(), "shop", Page(full_after=1), lines=1)
    assert world.hosts.aborted


def test_hundreds_of_hosts_are_followed_at_once(tmp_path: Path, world: World) -> None:
    names = [f"web-{number:03d}" for number in range(300)]
    hosts = "\n".join(f"{name} = {{variables = {{port = '1'}}}}" for name in names)
    many = World(tmp_path / "many", CONFIG.partition("h1 = ")[0] + hosts)
    for host in many.hosts.hosts.values():
        host.current, host.programs, host.log = "1", ["shop-web"], ["one"]
    page = Page()
    assert logs.read(many.session(), "shop", page, lines=1, follow=True)
    assert sorted(host for host, _, _ in page.read) == names


def test_wrong_usage_asks_nobody(world: World) -> None:
    world.hosts.asked.clear()
    with pytest.raises(UsageError):
        logs.read(world.session(), "shop", Page(), program="mailer", lines=-1)
    assert world.hosts.asked == []


def test_a_line_stands_after_its_host_and_process() -> None:
    assert lines.prefix("h1", "web", 5, colour=False) == "h1    web |"
    coloured = lines.prefix("h1", "web", 5, colour=True)
    assert coloured.startswith("\x1b[")
    assert coloured == lines.prefix("h1", "web", 5, colour=True), "a host keeps its colour"


def test_a_log_cannot_steer_the_terminal() -> None:
    assert lines.harmless("a\tb\x1b[2Jc\x1b]0;title\x07d\r\x9b") == "a\tb[2Jc]0;titled"
    assert lines.harmless("\x1b[31mred") == "\x1b[31mred\x1b[0m"
