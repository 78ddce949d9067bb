"""One contract, two hosts: the simulated one of the tests and the runner over SSH give the same answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.deploy.deployment import Site, standing
from tests.deploy.simulated import SimulatedHosts, target

from pinwheel import config
from pinwheel.deploy.host import bundle
from pinwheel.deploy.inventory import fleet
from pinwheel.deploy.inventory.fleet import Target
from pinwheel.deploy.planning import facts, readiness, steps, supervisor_file
from pinwheel.deploy.planning.facts import Installed
from pinwheel.deploy.planning.fit import machine
from pinwheel.deploy.planning.secret_set import SecretSet, sealed
from pinwheel.deploy.planning.supervisor_file import Instance
from pinwheel.deploy.reaching.hosts import Hosts, StepRefused
from pinwheel.deploy.reaching.ssh import SshHosts
from pinwheel.deploy.rolling import fetch

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")


@dataclass
class Bench:
    """One bare host behind the port, and what its requests need. Version 1.2.0 is not healthy on it."""

    hosts: Hosts
    target: Target
    application: config.Application
    uv: Mapping[str, str]
    supervisor: str
    index_url: str
    wheels: Mapping[str, Mapping[str, Any]]
    folder: Path
    sent: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    @cached_property
    def secrets(self) -> SecretSet:
        made = sealed("live", "shop", self.application, {"API_KEY": b"not to be told"})
        assert made is not None
        return made

    def file(self, sha256: str) -> Path:
        """What the host wants to be sent."""
        (found,) = (str(each["filename"]) for each in self.wheels.values() if each["sha256"] == sha256)
        self.sent.append(found)
        return self.folder / found

    def ask(self, step: steps.Step, fence: int | None = 5) -> Mapping[str, Any]:
        request = steps.request(
            step,
            self.target,
            environment="live",
            rollout="r1",
            fence=fence,
            index_url=self.index_url,
            by="ann@desk",
            launcher=bundle.launcher(),
            secrets={"shop": self.secrets.document()},
        )
        return self.hosts.ask("h1", request, self.heard.append, files=self.file)

    def release(self, version: str) -> str:
        return f"{version}-{hashlib.sha256(version.encode()).hexdigest()[:8]}"

    def here(self) -> Installed:
        return facts.parse("h1", self.ask(steps.Look("h1"), None)).installed("shop")

    def survey(self) -> list[str]:
        told = self.ask(steps.Survey("h1", self.uv, self.supervisor), None)
        return [each.what for each in readiness.surveyed("h1", told).work]

    def bootstrap(self) -> list[str]:
        told = readiness.readied("h1", self.ask(steps.Bootstrap("h1", self.uv, self.supervisor)))
        assert not told.lacks
        return list(told.done)

    def prepare(
        self,
        version: str,
        *,
        base: str = "",
        name: str = "",
        deliver: Literal["index", "push"] = "index",
        superfluous: Sequence[str] = (),
    ) -> Mapping[str, Any]:
        release, sha256 = name or self.release(version), hashlib.sha256(version.encode()).hexdigest()
        about = ("h1", "shop", "acme-tiny", release, version, sha256, "c0ffee")
        made = (self.wheels[version],), base and self.release(base), deliver
        return self.ask(steps.Prepare(*about, *made, superfluous=tuple(superfluous)))

    def instance(self, version: str) -> Instance:
        return Instance("shop", self.application, self.target, self.release(version), version, self.secrets.id)

    def task(self, version: str, *argv: str, mode: str = "run") -> Mapping[str, Any]:
        release = self.release(version)
        (program,) = supervisor_file.programs(self.instance(version))
        return self.ask(steps.RunOnce("h1", "shop", release, "migrate", program, argv, 20.0, mode))

    def activate(self, version: str, expected: str | None, *, back: bool = False, fence: int = 5) -> Mapping[str, Any]:
        release = self.release(version)
        here = self.instance(version)
        conf, programs = (None, None) if back else (supervisor_file.conf(here), supervisor_file.programs(here))
        current = self.release(expected) if expected else None
        return self.ask(steps.Activate("h1", "shop", release, conf, programs, current), fence)


@pytest.fixture(params=["simulated", pytest.param("real", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bare host."""
    health, secrets = config.Health(**HEALTH), {"API_KEY": config.Secret(variable="API_KEY")}
    program = config.Program(command=("{release}/bin/acme-tiny", "{port}"), secrets=("API_KEY",), health=health)
    application = config.Application(project="acme-tiny", programs={"web": program}, secrets=secrets)
    if request.param == "simulated":
        hosts = SimulatedHosts("h1")
        hosts["h1"].ready = False
        nothing = {"filename": "a.whl", "url": "", "sha256": ""}
        wheels = {version: {"filename": f"{version}.whl", "sha256": version * 20} for version in VERSIONS}
        made = Bench(hosts, target("h1", port="1"), application, nothing, "", "", wheels, tmp_path)
        hosts["h1"].sick.add(made.release("1.2.0"))
        yield made
        return
    with standing(tmp_path, "h1") as site:
        yield from real(site, application)


HEALTH: dict[str, Any] = {
    "http": "http://127.0.0.1:{port}/health",
    "interval_s": 0.1,
    "min_healthy_s": 0.3,
    "deadline_s": 3.0,
}


def real(site: Site, application: config.Application) -> Iterator[Bench]:
    loaded = config.load(site.folder, {})
    (one,) = fleet.targets("live", loaded.config.environments["live"])
    with SshHosts([one], known_hosts=site.lab.known_hosts, identity_file=site.lab.identity_file) as hosts:
        made = Bench(hosts, one, application, {}, "", site.client.credentialed_simple_url(), {}, site.folder)
        found = facts.parse("h1", made.ask(steps.Look("h1"), None))
        uv = fetch.uv_wheel(site.client.files("uv"), machine(found))
        made.uv = {"filename": uv.filename, "url": uv.url, "sha256": uv.sha256}
        made.supervisor = fetch.requirements([fetch.supervisor_wheel(site.client.files("supervisor"))])
        made.wheels = {
            each.version: {
                "name": "acme-tiny",
                "version": each.version,
                "filename": each.filename,
                "sha256": each.sha256,
                "size": 1000,
            }
            for each in site.client.own_files("acme-tiny")
        }
        yield made


def a_bare_host_tells_what_it_lacks(bench: Bench) -> None:
    told = facts.parse("h1", bench.ask(steps.Look("h1"), None))
    assert not told.ready
    assert told.missing
    assert told.python
    assert told.libc[0] in ("glibc", "musl")
    assert told.installed("shop") == Installed()


def bootstrap_makes_it_ready_once(bench: Bench) -> None:
    assert (wanted := bench.survey())
    assert bench.survey() == wanted, "it changes nothing"
    assert bench.bootstrap()[1:] == wanted[1:], (
        "what is done is what was said; the first are folders, of which some are made"
    )
    assert bench.survey() == []
    assert bench.bootstrap() == []
    told = facts.parse("h1", bench.ask(steps.Look("h1"), None))
    assert (told.ready, told.missing) == (True, ())
    assert told.uv
    assert told.supervisor
    assert told.free_bytes > 0


def prepare_builds_once_and_runs_nothing(bench: Bench) -> None:
    made = bench.prepare("1.0.0")
    assert made["created"] is True
    assert (made["how"], made["base"], made["shared"]) == ("uv", None, 0)
    assert set(made) >= {"seconds", "bytes"}
    again = bench.prepare("1.0.0")
    assert (again["created"], again["how"]) == (False, "there")
    here = bench.here()
    assert (here.current, here.processes) == (None, ())
    release = here.release(bench.release("1.0.0"))
    assert release is not None
    assert release.verdict == "prepared"


def a_task_runs_once_in_what_is_prepared(bench: Bench) -> None:
    assert bench.here().tasks == {}
    first = bench.task("1.0.0", "true")
    assert (first["ran"], first["state"], first["exit"]) == (True, "done", 0)
    assert bench.task("1.0.0", "true")["ran"] is False
    assert bench.here().tasks == {f"{bench.release('1.0.0')}/migrate": "done"}


def a_command_finds_nothing_before_something_runs(bench: Bench) -> None:
    with pytest.raises(StepRefused) as caught:
        bench.ask(steps.Run("h1", "shop", "shop-web", ("true",)), None)
    assert caught.value.code == "not-prepared"


def a_command_runs_beside_it_and_needs_no_token(bench: Bench) -> None:
    bench.heard.clear()
    assert bench.ask(steps.Run("h1", "shop", "shop-web", ("echo", "hello from the command")), None)["exit"] == 0
    assert bench.heard == ["hello from the command"]


def it_has_its_secrets(bench: Bench) -> None:
    assert bench.here().secrets == bench.secrets.id
    release = bench.release("1.0.0")
    (program,) = supervisor_file.programs(Instance("shop", bench.application, bench.target, release, "1.0.0", "0" * 16))
    with pytest.raises(StepRefused) as caught:
        bench.ask(steps.Activate("h1", "shop", release, "conf", (program,), release))
    assert caught.value.code == "not-prepared"


def another_lock_of_the_same_wheels_shares_them(bench: Bench) -> None:
    made = bench.prepare("1.0.0", base="1.0.0", name="1.0.0-cccccccc", deliver="push")
    assert (made["created"], made["how"], made["base"], made["shared"]) == (True, "clone", bench.release("1.0.0"), 1)
    assert bench.sent == [], "nothing was lacking"
    first, second = bench.here().release(bench.release("1.0.0")), bench.here().release("1.0.0-cccccccc")
    assert first
    assert second
    assert first.wheels == second.wheels == {bench.wheels["1.0.0"]["sha256"][:16]}


def activate_runs_it_and_a_second_time_changes_nothing(bench: Bench) -> None:
    assert bench.activate("1.0.0", None)["outcome"] == "activated"
    here = bench.here()
    assert here.current == bench.release("1.0.0")
    assert here.healthy
    assert not here.drift
    assert [each.program for each in here.processes] == ["shop-web"]
    release = here.release(here.current)
    assert release is not None
    assert release.verdict == "good"
    assert release.activated_at
    assert bench.activate("1.0.0", "1.0.0")["outcome"] == "unchanged"
    assert [(each.pid, each.since) for each in bench.here().processes] == [
        (each.pid, each.since) for each in here.processes
    ]


def the_next_release_takes_its_place(bench: Bench) -> None:
    made = bench.prepare("1.1.0", base="1.0.0", deliver="push")
    assert (made["how"], made["shared"]) == ("uv", 0)
    assert bench.sent == [bench.wheels["1.1.0"]["filename"]]
    before = bench.here()
    assert bench.activate("1.1.0", "1.0.0")["outcome"] == "activated"
    here = bench.here()
    assert here.current == bench.release("1.1.0")
    assert here.processes[0].pid != before.processes[0].pid
    assert here.conf_sha256 != before.conf_sha256


def a_sick_release_goes_back_and_is_marked_bad(bench: Bench) -> None:
    bench.prepare("1.2.0")
    before = bench.here()
    result = bench.activate("1.2.0", "1.1.0")
    assert result["outcome"] == "reverted"
    assert result["reason"]
    assert result["probe"] or result["log_tail"]
    here = bench.here()
    assert (here.current, here.conf_sha256, here.healthy) == (before.current, before.conf_sha256, True)
    release = here.release(bench.release("1.2.0"))
    assert release is not None
    assert release.verdict == "bad"


def going_back_needs_only_the_name(bench: Bench) -> None:
    assert bench.activate("1.0.0", "1.1.0", back=True)["outcome"] == "activated"
    here = bench.here()
    assert here.current == bench.release("1.0.0")
    assert (here.healthy, here.drift) == (True, False)


def a_restart_is_an_activation_of_what_runs_and_the_journal_knows_by_whom(bench: Bench) -> None:
    before = bench.here()
    step = steps.Activate("h1", "shop", bench.release("1.0.0"), None, None, bench.release("1.0.0"), restart="")
    assert bench.ask(step)["outcome"] == "activated"
    after = bench.here()
    assert after.current == before.current
    assert after.processes[0].pid != before.processes[0].pid
    assert after.last is not None
    assert (after.last.event, after.last.release, after.last.by) == ("commit", before.current, "ann@desk")


def logs_are_told_in_answers_of_their_own(bench: Bench) -> None:
    told: list[Mapping[str, Any]] = []
    request = steps.request(
        steps.Logs("h1", "shop", "", 5, False, {}), bench.target, environment="live", rollout="", fence=None
    )
    assert bench.hosts.ask("h1", request, lambda text: None, told.append)["logs"] == ["shop-web"]
    assert all((each["process"], len(each["seen"])) == ("shop-web", 2) for each in told)


def a_host_removes_what_is_named_but_not_what_runs(bench: Bench) -> None:
    named = {"shop": [bench.release("1.0.0"), bench.release("1.2.0")]}
    gone = [f"apps/shop/releases/{bench.release('1.2.0')}"]
    assert bench.ask(steps.Weigh("h1", named, whole=False), None)["removed"] == gone
    answer = bench.ask(steps.Prune("h1", named, whole=False))
    assert (answer["removed"], answer["kept"]) == (gone, {f"shop {bench.release('1.0.0')}": "it runs"})
    assert bench.here().release(bench.release("1.2.0")) is None
    again = bench.prepare("1.0.0", superfluous=["1.0.0-cccccccc", bench.release("1.0.0")])
    assert again["removed"] == ["apps/shop/releases/1.0.0-cccccccc"]


def a_host_that_has_moved_refuses(bench: Bench) -> None:
    with pytest.raises(StepRefused) as caught:
        bench.activate("1.1.0", "1.1.0")
    assert caught.value.code == "moved"
    assert caught.value.remedy


def a_host_refuses_a_lower_token_than_it_has_seen(bench: Bench) -> None:
    with pytest.raises(StepRefused) as caught:
        bench.activate("1.1.0", "1.0.0", fence=4)
    assert caught.value.code == "fenced"
    assert bench.here().current == bench.release("1.0.0")
    assert facts.parse("h1", bench.ask(steps.Look("h1"), None)).fence == {"live": 5}


STORY = (
    a_bare_host_tells_what_it_lacks,
    bootstrap_makes_it_ready_once,
    prepare_builds_once_and_runs_nothing,
    another_lock_of_the_same_wheels_shares_them,
    a_task_runs_once_in_what_is_prepared,
    a_command_finds_nothing_before_something_runs,
    activate_runs_it_and_a_second_time_changes_nothing,
    it_has_its_secrets,
    a_command_runs_beside_it_and_needs_no_token,
    the_next_release_takes_its_place,
    a_sick_release_goes_back_and_is_marked_bad,
    going_back_needs_only_the_name,
    a_restart_is_an_activation_of_what_runs_and_the_journal_knows_by_whom,
    logs_are_told_in_answers_of_their_own,
    a_host_removes_what_is_named_but_not_what_runs,
    a_host_that_has_moved_refuses,
    a_host_refuses_a_lower_token_than_it_has_seen,
)


def test_both_hosts_tell_the_same_story(bench: Bench) -> None:
    for chapter in STORY:
        chapter(bench)
