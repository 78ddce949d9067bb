"""Which locks fit which hosts: found in a plan, before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.deploy.test_plan import host, wish

from pinwheel.config import Rollout
from pinwheel.deploy.planning.facts import HostFacts
from pinwheel.deploy.planning.fit import Needs, misfit, needs
from pinwheel.deploy.planning.plan import plan
from pinwheel.deploy.planning.wish import BadLock, lock


def facts(python: str, libc: tuple[str, str] = ("glibc", "2.36"), machine: str = "x86_64") -> HostFacts:
    return HostFacts("h1", python, machine, libc, 10**10, True)


def package(*wheels: str, name: str = "acme", **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "wheels": [{"name": each} for each in wheels], **more}


PURE = "acme-1.0-py3-none-any.whl"
FOR_312 = "acme-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
ABI3 = "acme-1.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
MUSL = "acme-1.0-cp312-cp312-musllinux_1_2_x86_64.whl"


@pytest.mark.parametrize(
    ("document", "host", "told"),
    [
        ({"packages": [package(PURE)]}, facts("3.10.12"), ""),
        ({"requires-python": ">=3.11", "packages": [package(PURE)]}, facts("3.12.3"), ""),
        (
            {"requires-python": ">=3.11", "packages": []},
            facts("3.10.12"),
            "its python is 3.10.12, and the lock says that it needs >=3.11",
        ),
        ({"packages": [package(PURE, **{"requires-python": ">=3.13"})]}, facts("3.12.3"), "acme needs >=3.13"),
        ({"packages": [package(FOR_312)]}, facts("3.12.3"), ""),
        (
            {"packages": [package(FOR_312)]},
            facts("3.10.12"),
            "the lock has no wheel of acme 1.0 for Python 3.10, which is this host's",
        ),
        ({"packages": [package(FOR_312)]}, facts("3.12.3", ("glibc", "2.27")), "Python 3.12 on x86_64 with glibc 2.27"),
        ({"packages": [package(FOR_312)]}, facts("3.12.3", machine="aarch64"), "Python 3.12 on aarch64"),
        ({"packages": [package(FOR_312)]}, facts("3.12.3", ("musl", "")), "with musl"),
        ({"packages": [package(MUSL)]}, facts("3.12.3", ("musl", "")), ""),
        ({"packages": [package(FOR_312)]}, facts("3.12.3", ("", "")), ""),
        ({"packages": [package(ABI3)]}, facts("3.14.0rc1"), ""),
        ({"packages": [package(ABI3)]}, facts("3.13.0+"), ""),
        ({"packages": [package(FOR_312, marker="sys_platform == 'win32'")]}, facts("3.10.12"), ""),
        ({"packages": [package(FOR_312, marker="python_version >= '3.12'")]}, facts("3.10.12"), ""),
        ({"packages": [{"name": "acme", "version": "1.0", "sdist": {}}]}, facts("3.12.3"), "no wheel of acme 1.0"),
    ],
)
def test_a_lock_fits_a_host_or_says_why_not(document: dict[str, Any], host: HostFacts, told: str) -> None:
    said = misfit(needs(document), host)
    assert told in said
    assert bool(told) == bool(said)


def test_a_wheel_may_be_named_by_its_address_alone() -> None:
    for wheel in (
        {"url": f"https://x/{PURE}#sha256=00"},
        {"url": "https://x/a-1.0%2Bcpu-py3-none-any.whl"},
        {"path": PURE},
    ):
        document = {"packages": [{"name": "a", "version": "1.0", "wheels": [wheel]}]}
        assert misfit(needs(document), facts("3.12.3")) == ""


def test_a_host_with_the_wrong_python_is_blocked_in_the_plan_with_what_to_do() -> None:
    """D9: one line, what, where, what to do. The others go on being planned."""
    told = {"h1": host("h1"), "h2": replace(host("h2"), python="3.10.12")}
    wanted = wish(told)
    assert wanted.delivery is not None
    needed = needs({"requires-python": ">=3.11"})
    wanted = replace(wanted, delivery=replace(wanted.delivery, needs=needed))
    made = plan(wanted, told, Rollout())
    assert [each.host for each in made.hosts] == ["h1"]
    (blocked,) = made.blocked
    assert blocked.reason == "its python is 3.10.12, and the lock says that it needs >=3.11"
    assert "layout.python" in blocked.remedy


@pytest.mark.parametrize("line", ['requires-python = "three"', "requires-python = 3"])
def test_a_lock_that_cannot_be_read_is_one_error(line: str) -> None:
    with pytest.raises(BadLock, match="cannot be read"):
        lock("acme", "1.0", f'lock-version = "1.0"\n{line}\n'.encode(), b"", ())


def test_nothing_is_needed_by_default() -> None:
    assert misfit(Needs(), facts("3.10.0")) == ""
