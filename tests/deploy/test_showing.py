"""What people and scripts see of plans, reports and facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pinwheel.config import Rollout
from pinwheel.deploy.planning.facts import HostFacts, Installed, Process, Release
from pinwheel.deploy.planning.outcome import GOOD, Ending, Outcome
from pinwheel.deploy.planning.plan import Plan, plan
from pinwheel.deploy.planning.report import Conclusion, Report
from pinwheel.deploy.planning.wish import Delivery, Setup, Wish
from pinwheel.deploy.showing import outcomes, plans, reports

NEW, OLD = "1.1.0-bbbbbbbb", "1.0.0-aaaaaaaa"


def host(name: str, **installed: object) -> HostFacts:
    applications = {"shop": Installed(**installed)} if installed else {}  # type: ignore[arg-type]
    about = {"uv": "0.9.1", "supervisor": "4.3.0", "fence": {"live": 7, "test": 9}}
    return HostFacts(name, "3.11", "x86_64", ("glibc", "2.36"), 10**9, True, applications=applications, **about)  # type: ignore[arg-type]


RUNS: dict[str, Any] = {
    "current": OLD,
    "releases": (Release(OLD, "1.0.0", "", "good", commit="c0ffee", signer="ann@acme.example"),),
    "processes": (Process("shop-web", 41, "RUNNING", "2026-01-01T00:00:00Z"),),
}
AWAY = Outcome("h9", Ending.UNREACHABLE, "nobody listens", "is it up?")


def made(**facts: HostFacts | Outcome) -> Plan:
    delivery = Delivery(dict.fromkeys(facts, Setup("conf\n", ())))
    return plan(Wish("shop", "shop", "1.1.0", NEW, delivery, commit="c0ffee"), facts, Rollout(max_unavailable=2))


def back(**facts: HostFacts | Outcome) -> Plan:
    """The plan of a rollback."""
    return plan(Wish("shop", "shop", "1.0.0", OLD, None), facts, Rollout())


def test_a_plan_says_who_has_no_turn_and_why() -> None:
    known = {name: host(name, **RUNS) for name in ("h1", "h2")} | {"h8": AWAY, "h9": AWAY}
    assert "no turn for h1, h2: h8, h9 are out of service, and no more than 2 may be" in plans.notes(made(**known))


def test_a_plan_shows_hosts_order_and_diffs() -> None:
    planned = made(h1=host("h1", **(RUNS | {"conf": "old\n"})), h2=host("h2", **(RUNS | {"conf": "old\n"})), h9=AWAY)
    assert [row[0] for row in plans.rows(planned)] == ["h1", "h2", "h9"]
    order, making, diff = plans.notes(planned)
    assert order == "order: h1 → h2"
    assert making == "prepare h1, h2 by uv: no release here has any of it"
    assert diff.startswith("conf on h1, h2:")
    document = plans.document(planned, "live")
    assert (document["changes"], document["waves"], document["release"]) == (True, [["h1"], ["h2"]], NEW)
    assert [each["name"] for each in document["blocked"]] == ["h9"]
    assert document["hosts"][0]["activate"] is True
    assert (document["hosts"][0]["how"], document["hosts"][0]["bytes"]) == ("uv", 0)


def test_a_host_that_could_not_say_is_told_with_the_file_that_it_is_about_and_not_with_its_address() -> None:
    refused = Outcome("h1", Ending.FAILED, "Permission denied", "see to it", shown="ann@h1:22: /srv/state/fence.json")
    assert outcomes.one_line(refused) == "/srv/state/fence.json: Permission denied; see to it"
    away = Outcome("h1", Ending.UNREACHABLE, "nobody listens", "is it up?", shown="ann@h1:22")
    assert outcomes.one_line(away) == "nobody listens; is it up?"


def report(conclusion: Conclusion, *endings: Ending) -> Report:
    outcomes = tuple(Outcome(f"h{number}", ending, remedy="look at it") for number, ending in enumerate(endings, 1))
    return Report("r1", conclusion, "because" if conclusion is not Conclusion.DONE else "", outcomes, 1)


def test_the_report_document_has_the_promised_shape() -> None:
    document = reports.document(report(Conclusion.HALTED, Ending.REVERTED, Ending.SKIPPED), made())
    assert (document["rollout"], document["application"], document["version"]) == ("r1", "shop", "1.1.0")
    assert document["outcome"] == "halted"
    assert document["hosts"][0] == {
        "name": "h1",
        "outcome": "reverted",
        "release": "",
        "reason": "",
        "drained": "",
        "seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (report(Conclusion.DONE, Ending.ACTIVATED), "done: shop 1.1.0 runs on 1 host"),
        (report(Conclusion.HALTED, Ending.REVERTED), "halted: because. Look at it"),
        (report(Conclusion.HALTED, Ending.UNHEALTHY), "Look at that host first"),
        (report(Conclusion.HALTED, Ending.UNKNOWN), "deploy.status --env live"),
        (report(Conclusion.HALTED, Ending.FAILED), "then: pinwheel deploy.rollout shop==1.1.0 --env live"),
        (report(Conclusion.HALTED, Ending.FAILED), "Nothing that runs was touched"),
        (report(Conclusion.HALTED, Ending.ACTIVATED, Ending.FAILED), "halted: because. Put that right"),
        (report(Conclusion.FAILED, Ending.UNREACHABLE), "deploy.rollout shop==1.1.0 --env live"),
        (
            report(Conclusion.HALTED, Ending.TAKEN_BACK, Ending.REVERTED),
            "halted: because; h1 went back too. Look at it",
        ),
        (report(Conclusion.HALTED, Ending.STAYED, Ending.REVERTED), "h1 should have gone back and did not: pinwheel"),
        (report(Conclusion.FENCED, Ending.SKIPPED), "deploy.status --env live"),
        (report(Conclusion.INTERRUPTED, Ending.SKIPPED), "To go on: pinwheel deploy.rollout"),
    ],
)
def test_every_end_says_what_to_do_next(given: Report, says: str) -> None:
    assert says in reports.next_step(given, made(), "live")


def test_a_resume_that_stopped_goes_on_as_a_resume() -> None:
    resumed = replace(made(), wish=replace(made().wish, act="resume"))
    said = reports.next_step(report(Conclusion.FAILED, Ending.UNREACHABLE), resumed, "live")
    assert said.endswith("pinwheel deploy.resume --env live --application shop")


OF_ROLLOUTS = {Ending.TAKEN_BACK, Ending.STAYED}


@pytest.mark.parametrize("ending", [each for each in Ending if each not in GOOD | OF_ROLLOUTS])
@pytest.mark.parametrize("conclusion", [Conclusion.HALTED, Conclusion.FAILED, Conclusion.INTERRUPTED])
def test_a_rollback_that_stopped_goes_on_as_a_rollback(conclusion: Conclusion, ending: Ending) -> None:
    said = reports.next_step(report(conclusion, ending), back(), "live")
    assert said.endswith(": pinwheel deploy.rollback shop --to 1.0.0 --env live")
    assert "deploy.rollout" not in said


def test_who_is_still_out_of_service_is_named_with_what_puts_him_back() -> None:
    gone = replace(
        report(Conclusion.HALTED, Ending.UNHEALTHY), outcomes=(Outcome("h1", Ending.UNKNOWN, drained="gone"),)
    )
    said = reports.next_step(gone, made(), "live")
    assert said.endswith(
        "Still out of service: h1. Once it is healthy: pinwheel deploy.resume --env live --application shop"
    )
    assert reports.rows(gone) == [("h1", "unknown", "-", "out of service: gone")]


def test_of_two_locks_of_one_version_a_rollback_goes_on_to_the_same_one() -> None:
    known = host("h1", **(RUNS | {"current": "1.0.0-cccccccc"}))
    said = reports.next_step(report(Conclusion.HALTED, Ending.FAILED), back(h1=known), "live")
    assert f"deploy.rollback shop --to {OLD} --env live" in said


def test_an_ending_shows_the_log_and_the_remedy() -> None:
    lines = outcomes.lines(
        Outcome("h1", Ending.REVERTED, "the probe got 500", "correct it", shown="Traceback\nboom", seconds=2.04)
    )
    assert lines == [
        "  h1: reverted in 2.0 s: the probe got 500",
        "    | Traceback",
        "    | boom",
        "    remedy: correct it",
    ]
