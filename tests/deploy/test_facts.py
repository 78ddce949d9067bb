"""Facts are read as the protocol gives them, and nonsense is said to be nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.simulated import SimulatedHost

from pinwheel.deploy.planning import facts
from pinwheel.deploy.rolling.answers import Nonsense, legible

BARE: dict[str, Any] = {
    "python": "3.11.2",
    "machine": "aarch64",
    "libc": ["musl", "1.2"],
    "free_bytes": 5,
    "ready": False,
    "missing": ["uv"],
    "uv": None,
    "supervisor": None,
    "fence": {},
    "applications": {},
}


def test_a_bare_host_runs_nothing() -> None:
    told = facts.parse("h1", BARE)
    assert (told.host, told.machine, told.libc, told.ready, told.missing) == (
        "h1",
        "aarch64",
        ("musl", "1.2"),
        False,
        ("uv",),
    )
    assert (told.free_bytes, told.uv, told.supervisor, told.fence) == (5, None, None, {})
    assert told.installed("shop").current is None
    assert not told.installed("shop").healthy


def test_a_ready_host_tells_its_tools_and_the_tokens_it_has_seen() -> None:
    told = facts.parse("h1", SimulatedHost("h1", fence=7).facts())
    assert (told.python, told.uv, told.supervisor, told.fence) == ("3.11.2", "0.9.1", "4.3.0", {"live": 7})


def test_a_running_application_is_read_whole() -> None:
    host = SimulatedHost("h1", current="1-a", conf="conf", programs=["shop-web"], pid=7)
    host.releases["1-a"] = {
        "release": "1-a",
        "version": "1",
        "lock_sha256": "",
        "verdict": "good",
        "activated_at": None,
    }
    here = facts.parse("h1", host.facts()).installed("shop")
    assert here.healthy
    release = here.release("1-a")
    assert release is not None
    assert (release.version, release.verdict, release.activated_at) == ("1", "good", "")
    assert here.processes[0].pid == 7
    assert here.drift  # the conf is not the stored one


def test_the_conf_text_may_be_absent() -> None:
    host = SimulatedHost("h1", releases={"1-a": dict.fromkeys(("release", "version", "lock_sha256", "verdict"), "x")})
    host.releases["1-a"]["activated_at"] = None
    document = host.facts()
    del document["applications"]["shop"]["conf"]
    assert facts.parse("h1", document).installed("shop").conf is None


@pytest.mark.parametrize("gone", sorted(BARE))
def test_facts_with_something_missing_are_nonsense_and_say_what(gone: str) -> None:
    with pytest.raises(Nonsense) as caught, legible():
        facts.parse("h1", {key: value for key, value in BARE.items() if key != gone})
    assert gone in caught.value.problem


@pytest.mark.parametrize("applications", [[], {"shop": {}}, {"shop": {"current": None}}])
def test_applications_of_another_shape_are_nonsense(applications: object) -> None:
    with pytest.raises(Nonsense), legible():
        facts.parse("h1", BARE | {"applications": applications})
