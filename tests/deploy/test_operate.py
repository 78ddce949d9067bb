"""The operator's acts on simulated hosts and an index in memory: what is asked of whom, and what is left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.memory_index import MemoryIndex
from tests.deploy.simulated import Onlooker, SimulatedHosts

from pinwheel import config
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.planning.outcome import Outcome
from pinwheel.deploy.planning.readiness import Readied
from pinwheel.deploy.planning.releases import NothingToGoBackTo
from pinwheel.deploy.planning.report import Conclusion
from pinwheel.deploy.rolling import bootstrap, compose, operate
from pinwheel.deploy.rolling.fetch import NotInTheIndex
from pinwheel.deploy.rolling.patient import Patient
from pinwheel.deploy.rolling.session import HOSTS_TOKEN_S, Session, open_session
from pinwheel.deploy.rolling.stop import Interrupted, Stop
from pinwheel.errors import PinwheelError, Refused, UsageError
from pinwheel.index.client import Damaged, Holder, IndexUnreachable
from pinwheel.ledger import Ledger, SinkUnreachable

CONFIG = """
[index]
url = "http://index.example"

[applications.shop.programs.web]
command = ["{release}/bin/shop", "--port", "{port}"]

[environments.live]
become = []
[environments.live.layout]
supervisor_from = "index"
[environments.live.hosts]
h1 = {variables = {port = "8001"}}
h2 = {variables = {port = "8002"}}
h3 = {variables = {port = "8003"}}
"""


class World:
    """Everything around a session."""

    def __init__(self, folder: Path, text: str = CONFIG) -> None:
        self.loaded = config.Loaded(config.parse(text, "pinwheel.toml"), folder / "pinwheel.toml")
        self.environment = fleet.environment(self.loaded.config, "live")
        self.hosts = SimulatedHosts(*self.environment.hosts)
        self.index = MemoryIndex()
        self.one, self.two = self.index.publish("1.0.0"), self.index.publish("1.1.0")
        self.spool = folder / "spool"
        self.requests: list[Mapping[str, Any]] = []
        self.stop = Stop()

    def session(self, hosts: Sequence[str] = ()) -> Session:
        targets = fleet.limited("live", self.environment, fleet.targets("live", self.environment), hosts, ())
        limit = " ".join(f"--host {each}" for each in hosts)
        made = Session(self.loaded, "live", self.environment, targets, self.hosts, Onlooker(), limit=limit)
        made.client = made.impatient = self.index  # type: ignore[assignment]
        made.ledger = Ledger(Patient(self.index), self.spool)
        return made

    def kinds(self) -> list[str]:
        return [event.kind for event in self.index.recorded]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PINWHEEL_TOKEN", "the-operators")
    made = World(tmp_path)
    ask = made.hosts.ask

    def listening(host: str, request: Mapping[str, Any], *more: Any, **named: Any) -> Mapping[str, Any]:
        made.requests.append(request)
        return ask(host, request, *more, **named)

    made.hosts.ask = listening  # type: ignore[method-assign]
    return made


def test_a_first_rollout_and_a_second_one_that_has_nothing_to_do(world: World) -> None:
    _, report = operate.rolled_out(world.session(), "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert {host.current for host in world.hosts.hosts.values()} == {world.one}
    assert world.kinds() == ["rollout-started", *["prepared"] * 3, *["activated"] * 3, "rollout-finished"]
    world.hosts.asked.clear()
    made, again = operate.rolled_out(world.session(), "shop==1.0.0")
    assert not made.changes
    assert again.conclusion is Conclusion.DONE
    assert sorted(world.hosts.asked) == [("facts", name) for name in ("h1", "h2", "h3")]
    assert world.kinds()[8:] == ["rollout-started", "rollout-finished"], "it is the newest wish"
    assert world.index.released == [1, 2]


def test_each_host_is_asked_at_most_three_times(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    assert all(len([1 for _, one in world.hosts.asked if one == host]) == 3 for host in world.hosts.hosts)


def test_the_hosts_get_a_token_of_their_own_and_only_where_they_install(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    ((name, scopes, ttl_s),) = world.index.minted
    assert (scopes, ttl_s) == (("read",), HOSTS_TOKEN_S)
    assert "live" in name
    for request in world.requests:
        assert ("short-lived" in repr(request)) == (request["action"] == "prepare")
        assert "the-operators" not in repr(request)


def test_each_host_gets_its_own_conf(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    for number, host in enumerate(world.hosts.hosts.values(), 1):
        assert f"/srv/pinwheel/apps/shop/releases/{world.one}/bin/shop --port 800{number}" in (host.conf or "")


def test_a_plan_is_what_the_rollout_does_and_changes_nothing(world: World) -> None:
    planned = operate.planned(world.session(), "shop==1.0.0")
    assert world.kinds() == []
    assert {action for action, _ in world.hosts.asked} == {"facts"}
    carried_out, _ = operate.rolled_out(world.session(), "shop==1.0.0")
    assert planned == carried_out


def test_an_unhealthy_canary_ends_with_exit_code_1(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    world.hosts["h1"].sick.add(world.two)
    _, report = operate.rolled_out(world.session(), "shop==1.1.0")
    assert (report.exit_code, [str(each.ending) for each in report.outcomes]) == (1, ["reverted", "skipped", "skipped"])


def test_a_rollback_goes_to_the_release_before_without_the_index_giving_anything(world: World) -> None:
    operate.rolled_out(world.session(), "shop==1.0.0")
    operate.rolled_out(world.session(), "shop==1.1.0")
    world.index.minted.clear()
    world.hosts.asked.clear()
    _, report = operate.rolled_back(world.session(), "shop", "")
    assert report.conclusion is Conclusion.DONE
    assert {host.current for host in world.hosts.hosts.values()} == {world.one}
    assert world.index.minted == []
    with pytest.raises(NothingToGoBackTo):
        operate.rolled_back(world.session(), "shop", "")


def test_a_rollback_where_no_host_answers_says_that_and_not_that_nothing_runs(world: World) -> None:
    for host in world.hosts.hosts.values():
        host.unreachable = True
    with pytest.raises(PinwheelError, match="no host answers") as caught:
        operate.rolled_back(world.session(), "shop", "")
    assert [line.partition(":")[0] for line in caught.value.where.splitlines()] == ["h1", "h2", "h3"]


def test_a_rollback_names_another_version_with_to(world: World) -> None:
    three = world.index.publish("1.2.0")
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        operate.rolled_out(world.session(), f"shop=={version}")
    operate.rolled_back(world.session(), "shop", "1.0.0")
    assert {host.current for host in world.hosts.hosts.values()} == {world.one}
    operate.rolled_back(world.session(), "shop", three)
    assert {host.current for host in world.hosts.hosts.values()} == {three}


def test_an_environment_that_somebody_else_holds_is_refused_before_any_host_is_asked(world: World) -> None:
    world.index.holder = Holder("anna@desk", "r9", "", 5, 40)
    with pytest.raises(Refused, match="anna@desk") as caught:
        operate.rolled_out(world.session(), "shop==1.0.0")
    assert caught.value.exit_code == 3
    assert world.hosts.asked == []


def test_an_index_that_is_away_at_the_start_touches_nothing(world: World) -> None:
    world.index.away = True
    with pytest.raises(IndexUnreachable):
        operate.rolled_out(world.session(), "shop==1.0.0")
    assert world.hosts.asked == []


def test_an_index_that_goes_away_after_prepare_stops_nobody_and_gets_every_event_later(world: World) -> None:
    def away(action: str, host: str) -> None:
        world.index.away |= action == "activate"

    world.hosts.before = away
    _, report = operate.rolled_out(world.session(), "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert "activated" not in world.kinds()
    world.index.away = False
    assert world.session().ledger.deliver() == 0
    assert world.kinds() == ["rollout-started", *["prepared"] * 3, *["activated"] * 3, "rollout-finished"]


def test_a_credential_that_expires_meanwhile_hides_no_result(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an event nor the lease's return may turn a finished rollout into an error."""

    def expired(action: str, host: str) -> None:
        world.index.expired |= action == "activate"

    world.hosts.before = expired
    session = world.session()
    _, report = operate.rolled_out(session, "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    (note,) = session.watcher.notes  # type: ignore[attr-defined]
    assert "the index does not know this token" in note
    assert capsys.readouterr().err.count("the index does not know this token") == 1, "not again for every event"
    world.index.expired = False
    assert world.session().ledger.deliver() == 0
    assert world.kinds() == ["rollout-started", *["prepared"] * 3, *["activated"] * 3, "rollout-finished"]


@pytest.mark.parametrize("act", [operate.planned, operate.rolled_out])
def test_a_health_check_that_cannot_be_asked_is_told_with_its_line_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Session, str], object]
) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "the-operators")
    text = CONFIG.replace("[environments.live]", 'health.http = "127.0.0.1:{port}/"\n[environments.live]', 1)
    (tmp_path / "pinwheel.toml").write_text(text)
    world = World(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        act(world.session(), "shop==1.0.0")
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "health" in line)
    key = "applications.shop.programs.web.health.http"
    assert caught.value.where == f"{tmp_path / 'pinwheel.toml'}:{line}: {key}"
    assert world.hosts.asked == []
    assert world.index.released == []


def test_a_limited_rollout_asks_no_other_host_and_its_shares_are_of_those_that_it_reaches(world: World) -> None:
    """Two of three hosts: 50% is one of them. The event says that it was limited, for whoever reads it later."""
    rollout = world.environment.rollout.but(batch="50%", max_unavailable=2, canary=0)
    world.environment = world.environment.but(rollout=rollout)
    made, report = operate.rolled_out(world.session(["h1", "h3"]), "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert made.waves == (("h1",), ("h3",))
    assert {host for _, host in world.hosts.asked} == {"h1", "h3"}
    assert world.index.recorded[0].detail["limit"] == "--host h1 --host h3"


def test_an_application_of_a_group_is_brought_to_that_group_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    groups = '[environments.live.groups]\nweb = {hosts = ["h2", "h3"]}\nodd = {hosts = ["h3"]}\n'
    worker = '[applications.shop.programs.worker]\ncommand = ["{release}/bin/work"]\ngroups = ["odd"]\n'
    text = f'[applications.shop]\ngroups = ["web"]\n{CONFIG}{groups}{worker}'
    world = World(tmp_path, text)
    operate.rolled_out(world.session(), "shop==1.0.0")
    operate.rolled_out(world.session(), "shop==1.1.0")
    operate.rolled_back(world.session(), "shop", "")
    assert {host for _, host in world.hosts.asked} == {"h2", "h3"}
    assert "worker" not in (world.hosts["h2"].conf or "")
    assert "programs=shop-web,shop-worker" in (world.hosts["h3"].conf or "")


def test_a_version_without_a_lock_is_an_error_before_the_lease(world: World) -> None:
    with pytest.raises(NotInTheIndex):
        operate.rolled_out(world.session(), "shop==9.9.9")
    assert world.index.released == []


PUSH = CONFIG.replace("become = []", 'become = []\ndeliver = "push"')


@pytest.fixture
def pushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Hosts that do not reach the index."""
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return World(tmp_path, PUSH)


def test_hosts_that_do_not_reach_the_index_are_sent_what_they_lack(pushing: World) -> None:
    _, report = operate.rolled_out(pushing.session(), "shop==1.0.0")
    assert report.conclusion is Conclusion.DONE
    assert [each.sent for each in pushing.hosts.hosts.values()] == [["shop-1.0.0-py3-none-any.whl"]] * 3
    assert pushing.index.downloaded == ["shop-1.0.0-py3-none-any.whl"], "once for all of them"
    assert pushing.index.minted == [], "what never asks the index needs no credential"


def test_what_cannot_be_fetched_for_the_hosts_is_an_error_before_they_are_touched(pushing: World) -> None:
    pushing.index.damaged = True
    with pytest.raises(Damaged):
        operate.rolled_out(pushing.session(), "shop==1.0.0")
    assert pushing.hosts.did("prepare") == []
    assert pushing.index.released == [1]


def test_bootstrap_of_a_machine_without_uv_has_to_do_with_pip(world: World) -> None:
    world.hosts["h2"].ready = False
    world.index.remove("uv")
    session = world.session()
    done = bootstrap.bootstrapped(session, bootstrap.surveyed(session))
    assert done == {"h2": Readied("h2", ("start supervisor",), ())}
    assert isinstance(session.watcher, Onlooker)
    assert session.watcher.notes[1].startswith("h2 has to do with pip: the index has no uv for x86_64")


def work(world: World) -> dict[str, list[str]]:
    """What there is to do on each host that answers."""
    found = bootstrap.surveyed(world.session())
    return {name: [one.what for one in each[1].work] for name, each in found.items() if not isinstance(each, Outcome)}


def test_bootstrap_makes_bare_hosts_ready_and_the_second_time_changes_nothing(world: World) -> None:
    world.hosts["h2"].ready = False
    uv = world.index.files("uv")[0].filename
    assert work(world) == {"h1": [], "h2": [f"install {uv}", "start supervisor"], "h3": []}
    assert world.hosts.did("bootstrap") == []
    assert world.index.released == []
    session = world.session()
    done = bootstrap.bootstrapped(session, bootstrap.surveyed(session))
    assert done == {"h2": Readied("h2", (f"install {uv}", "start supervisor"), ())}
    (request,) = [each for each in world.requests if each["action"] == "bootstrap"]
    assert request["body"]["uv"]["url"].startswith("http://index.example/files/")
    assert request["body"]["supervisor_requirements"].startswith("supervisor==4.3.0 --hash=sha256:")
    assert "short-lived" in request["body"]["index_url"]
    assert all("short-lived" not in repr(each) for each in world.requests if each["action"] == "survey")
    assert bootstrap.bootstrapped(session, bootstrap.surveyed(session)) == {}
    assert world.hosts.did("bootstrap") == ["h2"]


def test_bootstrap_goes_on_with_the_hosts_that_it_reaches(world: World) -> None:
    world.hosts["h1"].unreachable = True
    world.hosts["h2"].ready = False
    session = world.session()
    found = bootstrap.surveyed(session)
    assert isinstance(found["h1"], Outcome)
    assert list(found) == ["h1", "h2", "h3"]
    assert [*bootstrap.bootstrapped(session, found)] == ["h2"]


def test_the_users_that_programs_run_as_are_made_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    groups = '[environments.live.groups]\nweb = {hosts = ["h2"]}\n'
    text = CONFIG.replace('"{port}"]', '"{port}"]\nuser = "shop"\ngroups = ["web"]') + groups
    world = World(tmp_path, text)
    assert work(world) == {"h1": [], "h2": ["add the system user shop"], "h3": []}


def test_a_host_for_which_the_index_has_no_uv_is_named_and_the_others_are_made_ready(world: World) -> None:
    session = world.session()
    ask = world.hosts.ask

    def elsewhere(host: str, request: Mapping[str, Any], *more: Any, **named: Any) -> Mapping[str, Any]:
        answer, other = ask(host, request, *more, **named), {"machine": "riscv64", "pip": False}
        return {**answer, **other} if (host, request["action"]) == ("h2", "facts") else answer

    world.hosts.ask = elsewhere  # type: ignore[method-assign]
    found = bootstrap.surveyed(session)
    assert isinstance(found["h2"], Outcome)
    assert "no uv for riscv64" in found["h2"].reason
    assert not isinstance(found["h3"], Outcome)


def test_hosts_that_see_the_index_elsewhere_get_that_address(tmp_path: Path) -> None:
    text = CONFIG.replace("become = []", 'become = []\nindex_url = "https://inner.example/pypi"')
    world = World(tmp_path, text)
    assert world.session().index_for_hosts() == "https://inner.example/pypi/simple/"
    (uv,) = world.index.files("uv")
    assert world.session().as_hosts_see(uv)["url"] == uv.url.replace(
        "http://index.example", "https://inner.example/pypi"
    )


def test_an_interruption_while_facts_are_gathered_changes_nothing(world: World) -> None:
    session = world.session()
    world.hosts.before = lambda action, host: session.stop.set(signal.SIGINT)
    with pytest.raises(Interrupted):
        operate.rolled_out(session, "shop==1.0.0")
    assert world.index.released == [1]


def test_ctrl_c_while_a_command_is_asked_for_a_secret_is_an_interruption(tmp_path: Path) -> None:
    """The terminal sends it to that command, too; that it failed is not the operator's mistake."""
    secret = '[applications.shop.secrets]\nPASSWORD = { command = ["sh", "-c", "kill -INT $$"] }\n'
    session = World(tmp_path, CONFIG + secret).session()
    session.stop.set(signal.SIGINT)
    with pytest.raises(Interrupted, match="nothing was changed") as caught:
        compose.wish(session, "shop==1.0.0")
    assert caught.value.exit_code == 130


def test_an_index_that_does_not_answer_is_left_alone_for_a_while() -> None:
    index, now = MemoryIndex(), [0.0]
    patient = Patient(index, 30, lambda: now[0])
    index.away = True
    with pytest.raises(SinkUnreachable):
        patient.record([])
    index.away = False
    with pytest.raises(SinkUnreachable):
        patient.record([])
    now[0] = 30.0
    patient.record([])


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pinwheel.toml").write_text(CONFIG)
    monkeypatch.setenv("PINWHEEL_CONFIG", str(tmp_path / "pinwheel.toml"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("configured")
def test_a_signal_stops_what_is_under_way_and_the_old_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with open_session("live", Onlooker()) as session:
        aborted = threading.Event()
        session.hosts.abort = aborted.set  # type: ignore[method-assign]
        os.kill(os.getpid(), signal.SIGTERM)
        assert aborted.wait(10)
        assert session.stop.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("configured")
def test_an_unknown_environment_is_wrong_usage() -> None:
    with pytest.raises(UsageError), open_session("alive", Onlooker()):
        pytest.fail("it must not come here")
