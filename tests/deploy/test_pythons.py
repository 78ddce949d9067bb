"""The runner's transaction under each Python that hosts may have: looked at, prepared, activated, gone back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.bare import BareHost
from tests.deploy.pythons import MINORS, found
from tests.deploy.stocked import Index, body
from tests.deploy.test_runner_prepare import host, index, stock

__all__ = ["host", "index", "stock"]  # fixtures

OLD, NEW = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


@pytest.fixture(params=MINORS)
def running(request: pytest.FixtureRequest, host: BareHost) -> BareHost:
    """A host whose runner runs under the Python of that minor."""
    python = found(request.param)
    if python is None:
        pytest.skip(f"this machine has no Python {request.param}")
    host.python = str(python)
    host.start_supervisor()
    return host


@pytest.mark.slow
def test_the_transaction_works_under_every_python_of_hosts(
    running: BareHost, index: Index, request: pytest.FixtureRequest
) -> None:
    minor = request.node.callspec.params["running"]
    facts = running.ask("facts", {})
    assert facts["python"].startswith(f"{minor}.")
    assert facts["libc"][0] in ("glibc", "musl")

    made = running.ask("prepare", body(index, release="0.9.0-cccccccc"))
    assert made.get("created"), made
    asked: dict[str, Any] = {"uv": index.file("uv"), "supervisor_requirements": "", "users": []}
    assert running.ask("survey", asked)["changes"] == []

    assert running.activate(OLD, None)["outcome"] == "activated"
    assert running.activate(OLD, OLD)["outcome"] == "unchanged"
    back = running.activate(NEW, OLD, "sick", deadline_s=2.0)
    assert (back["outcome"], "500" in back["probe"]) == ("reverted", True)
    assert running.activate(NEW, OLD)["outcome"] == "activated"
    assert running.back(OLD, NEW)["outcome"] == "activated"

    work = running.start("activate", running.activation(NEW, OLD, "shortlived", min_healthy_s=5.0))
    work.hear("progress")
    work.kill()
    replayed = running.ask("activate", running.activation(OLD, OLD))
    assert replayed["outcome"] in ("unchanged", "activated"), "what was cut off went back first"
    assert running.facts()["current"] == OLD
