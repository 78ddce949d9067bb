"""What people and scripts see of hosts, and of what was done to them."""

from __future__ import annotations

import time
from typing import Any

from pinwheel.deploy.planning.facts import HostFacts, Installed, Process, Record, Release
from pinwheel.deploy.planning.outcome import Ending, Outcome
from pinwheel.deploy.showing import status, story

NEW, OLD = "1.1.0-bbbbbbbb", "1.0.0-aaaaaaaa"
AT = "2026-01-01T00:00:00Z"

RUNS: dict[str, Any] = {
    "current": OLD,
    "releases": (Release(OLD, "1.0.0", "", "good"),),
    "processes": (Process("shop-web", 41, "RUNNING", AT, 3700, 5 << 20),),
    "deployed_at": AT,
    "deployed_by": "ann@desk",
    "deployed_in": "r1",
    "last": Record("commit", AT, "ann@desk", "r1", OLD, "", ""),
}
AWAY = Outcome("h9", Ending.UNREACHABLE, "nobody listens", "is it up?")
WENT_BACK = Record("reverted", "2026-02-03T10:00:00Z", "ben@desk", "r2", NEW, OLD, "the gate said no")


def host(name: str, **installed: object) -> HostFacts:
    applications = {"shop": Installed(**installed)} if installed else {}  # type: ignore[arg-type]
    about = {"uv": "0.9.1", "supervisor": "4.3.0", "fence": {"live": 7, "test": 9}}
    return HostFacts(name, "3.11", "x86_64", ("glibc", "2.36"), 10**9, True, applications=applications, **about)  # type: ignore[arg-type]


def test_each_application_on_each_host_has_a_line() -> None:
    two = (*RUNS["processes"], Process("shop-worker", 0, "FATAL"))
    known: dict[str, HostFacts | Outcome] = {
        "h1": host("h1", **RUNS),
        "h2": host("h2", **(RUNS | {"processes": two, "drift": True, "last": WENT_BACK})),
        "h3": host("h3"),
        "h9": AWAY,
    }
    assert [each.cells for each in status.lines(known)] == [
        ("h1", "shop", "1.0.0", AT, "ann@desk", "1 RUNNING", "1h 1min", "5 MiB", ""),
        (
            *("h2", "shop", "1.0.0", AT, "ann@desk", "1 RUNNING, shop-worker FATAL", "1h 1min", "5 MiB"),
            "drift, reverted 1.1.0 on 2026-02-03: the gate said no",
        ),
        ("h3", "", "", "", "", "nothing", "", "", ""),
        ("h9", "", "", "", "", "unreachable", "", "", "nobody listens; is it up?"),
    ]


def test_the_first_lines_are_the_fleet_at_a_glance() -> None:
    newer = RUNS | {"current": NEW, "releases": (Release(NEW, "1.1.0", "", "good"),)}
    known: dict[str, HostFacts | Outcome] = {
        "h1": host("h1", **RUNS),
        "h2": host("h2", **newer),
        "h3": host("h3", **(newer | {"drift": True})),
        "h4": host("h4", **(newer | {"in_doubt": True})),
        "h9": AWAY,
    }
    assert status.summary(known, "live") == [
        "live: 5 hosts; 1 unreachable",
        "shop: 1.1.0 on 3 hosts, 1.0.0 on 1 host; 1 not healthy, 1 with drift, 1 in doubt",
    ]
    counts = status.document(known, "live")["summary"]["applications"]["shop"]
    assert counts == {"versions": {"1.0.0": 1, "1.1.0": 3}, "unhealthy": 1, "drift": 1, "in_doubt": 1}


def test_a_thousand_hosts_are_a_few_lines_with_what_is_odd_at_the_end() -> None:
    known: dict[str, HostFacts | Outcome] = {f"web-{number:04d}": host("", **RUNS) for number in range(1000)}
    known["web-0500"] = host("", **(RUNS | {"drift": True}))
    known["web-0600"] = AWAY
    began = time.process_time()
    lines = status.alike(status.lines(known))
    assert [each.cells[0] for each in lines] == ["web-0000, web-0001 and 996 more", "web-0500", "web-0600"]
    assert len(status.document(known, "live")["hosts"]) == 1000
    assert time.process_time() - began < 30, "it grows with the hosts, not with their square"


def test_the_status_document_has_the_promised_shape() -> None:
    document = status.document({"h1": host("h1", **RUNS), "h9": AWAY}, "live")
    assert document["environment"] == "live"
    first, away = document["hosts"]
    process = {"program": "shop-web", "pid": 41, "state": "RUNNING", "since": AT}
    assert first["applications"] == [
        {
            "application": "shop",
            "version": "1.0.0",
            "release": OLD,
            "commit": "",
            "signer": "",
            "healthy": True,
            "deployed_at": AT,
            "deployed_by": "ann@desk",
            "rollout": "r1",
            "processes": [process],
            "drift": False,
            "in_doubt": False,
            "colour": "",
            "unsupported": "",
            "last": {
                "outcome": "commit",
                "at": AT,
                "by": "ann@desk",
                "rollout": "r1",
                "release": OLD,
                "previous": "",
                "reason": "",
            },
        }
    ]
    assert (first["name"], first["reachable"]) == ("h1", True)
    assert (first["python"], first["uv"], first["supervisor"]) == ("3.11", "0.9.1", "4.3.0")
    assert (first["free_bytes"], first["fence"], first["memory_bytes"]) == (10**9, 7, {"shop": 5 << 20})
    assert (away["name"], away["reachable"], away["applications"]) == ("h9", False, [])


def test_only_the_application_that_was_asked_for_is_shown() -> None:
    known = {"h1": host("h1", **RUNS)}
    assert status.document(known, "live", "other")["hosts"][0]["applications"] == []
    assert [each.cells[5] for each in status.lines(known, "other")] == ["nothing"]
    assert status.summary(known, "live", "other") == ["live: 1 host"]


def test_an_application_in_doubt_is_not_healthy() -> None:
    document = status.document({"h1": host("h1", **(RUNS | {"in_doubt": True}))}, "live")
    assert document["hosts"][0]["applications"][0]["healthy"] is False


def event(serial: int, kind: str, rollout: str, second: int, **about: Any) -> dict[str, Any]:
    usual = {"subject": "shop", "version": "1.1.0", "actor": "ann@desk", "outcome": "ok", "detail": {}}
    at = f"2026-01-01T00:00:{second:02d}.000+00:00"
    return usual | {"serial": serial, "kind": kind, "rollout": rollout, "at": at} | about


def test_a_rollout_is_one_line_and_one_without_an_end_says_so() -> None:
    told = story.chapters(
        [
            event(1, "rollout-started", "r1", 0, detail={"act": "rollback"}),
            event(4, "rollout-started", "r2", 30),
            event(5, "unlocked", "r2", 40, actor="ben@desk", detail={"owner": "ann@desk pid 7"}),
            event(3, "rollout-finished", "r1", 12, outcome="halted", detail={"hosts": {"reverted": 1, "skipped": 2}}),
        ]
    )
    at = "2026-01-01T00:00:{:02d}Z".format
    assert story.rows(told) == [
        (at(0), "r1", "rollback", "shop", "1.1.0", "halted", "1 reverted, 2 skipped", "12s", "ann@desk"),
        (at(30), "r2", "rollout", "shop", "1.1.0", "unfinished", "", "", "ann@desk"),
        (at(40), "r2", "unlock", "", "", "ok", "taken from ann@desk pid 7", "", "ben@desk"),
    ]
    assert story.document(told, "live")["rollouts"][0]["seconds"] == 12.0


def test_the_events_of_a_rollout_say_how_long_and_why() -> None:
    reverted = event(
        1, "reverted", "r1", 0, host="h1", outcome="reverted", detail={"seconds": 2.04, "reason": "no\nDB"}
    )
    assert story.event_rows([reverted, {"at": "2027"}]) == [
        ("2026-01-01T00:00:00Z", "reverted", "shop", "1.1.0", "h1", "reverted: no DB", "2.0 s", "ann@desk"),
        ("2027", "", "", "", "", "", "", ""),
    ]


def test_what_a_newer_pinwheel_has_touched_is_said_and_not_called_healthy() -> None:
    newer = "this host was last touched by a newer pinwheel"
    known: dict[str, Any] = {"h1": host("h1", **(RUNS | {"current": None, "unsupported": newer}))}
    (shown,) = status.document(known, "live")["hosts"]
    (application,) = shown["applications"]
    assert (application["healthy"], application["unsupported"]) == (False, newer)
