"""Which wheels of a lock a host takes, as its installer would choose, or why the lock is not for it: known in a plan,
before anything is touched or sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from tests.deploy.simulated import SimulatedHost
from tests.deploy.test_plan import host, wish

from pinwheel.config import Rollout
from pinwheel.deploy.planning import facts
from pinwheel.deploy.planning.fit import Machine, Misfit, chosen, machine
from pinwheel.deploy.planning.lock import packages
from pinwheel.deploy.planning.plan import plan


def on(python: str, libc: tuple[str, str] = ("glibc", "2.36"), hardware: str = "x86_64") -> Machine:
    return Machine(python, hardware, libc)


HERE = on("3.11.2")


def package(*wheels: str, name: str = "acme", **more: Any) -> dict[str, Any]:
    listed = [{"url": f"https://index.example/files/{each}", "hashes": {"sha256": each}} for each in wheels]
    return {"name": name, "version": "1.0", "wheels": listed, **more}


def taken(*documents: dict[str, Any], host: Machine = HERE, requires_python: str = "") -> list[str] | str:
    """The names of the wheels, or why there are none."""
    found = chosen(packages(documents), SpecifierSet(requires_python), host)
    return found.why if isinstance(found, Misfit) else [each.filename for each in found]


PURE = "acme-1.0-py3-none-any.whl"
FOR_312 = "acme-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
ABI3 = "acme-1.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
MUSL = "acme-1.0-cp312-cp312-musllinux_1_2_x86_64.whl"


@pytest.mark.parametrize(
    ("document", "host", "told"),
    [
        (package(PURE), on("3.10.12"), ""),
        (package(PURE, **{"requires-python": ">=3.13"}), on("3.12.3"), "3.12.3, and the lock says that acme needs"),
        (package(FOR_312), on("3.12.3"), ""),
        (package(FOR_312), on("3.10.12"), "the lock has no wheel of acme 1.0 for Python 3.10, which is this host's"),
        (package(FOR_312), on("3.12.3", ("glibc", "2.27")), "Python 3.12 on x86_64 with glibc 2.27"),
        (package(FOR_312), on("3.12.3", hardware="aarch64"), "Python 3.12 on aarch64"),
        (package(FOR_312), on("3.12.3", ("musl", "")), "with musl"),
        (package(FOR_312), on("3.12.3", ("", "")), "with an unknown libc"),
        (package(MUSL), on("3.12.3", ("musl", "")), ""),
        (package(ABI3), on("3.12.3", ("", "")), ""),
        (package(ABI3), on("3.14.0rc1"), ""),
        (package(ABI3, **{"requires-python": ">=3.13"}), on("3.13.0+"), ""),
        (package(FOR_312, marker="sys_platform == 'win32'"), on("3.10.12"), ""),
        (package(FOR_312, marker="python_version >= '3.12'"), on("3.10.12"), ""),
        (package(sdist={}), on("3.12.3"), "no wheel of acme 1.0"),
    ],
)
def test_a_lock_fits_a_host_or_says_why_not(document: dict[str, Any], host: Machine, told: str) -> None:
    found = taken(document, host=host)
    assert told in found if told else not isinstance(found, str)


@pytest.mark.parametrize(
    ("python", "told"),
    [("3.12.3", []), ("3.10.12", "its python is 3.10.12, and the lock says that it needs >=3.11")],
)
def test_a_lock_may_be_for_some_pythons_only(python: str, told: list[str] | str) -> None:
    assert taken(host=on(python), requires_python=">=3.11") == told


@pytest.mark.parametrize(
    ("wheel", "name"),
    [
        ({"url": f"https://x/{PURE}#sha256=00"}, PURE),
        ({"url": "https://x/acme-1.0%2Bcpu-py3-none-any.whl"}, "acme-1.0+cpu-py3-none-any.whl"),
        ({"path": PURE}, PURE),
    ],
)
def test_a_wheel_may_be_named_by_its_address_alone(wheel: dict[str, Any], name: str) -> None:
    document = {"name": "acme", "version": "1.0", "wheels": [wheel | {"hashes": {"sha256": "00"}}]}
    assert taken(document) == [name]


def test_a_host_with_the_wrong_python_is_blocked_in_the_plan_with_what_to_do() -> None:
    """D9: one line, what, where, what to do. The others go on being planned."""
    told = {"h1": host("h1"), "h2": replace(host("h2"), python="3.10.12")}
    wanted = wish(told)
    assert wanted.delivery is not None
    wanted = replace(wanted, delivery=replace(wanted.delivery, requires_python=SpecifierSet(">=3.11")))
    made = plan(wanted, told, Rollout())
    assert [each.host for each in made.hosts] == ["h1"]
    (blocked,) = made.blocked
    assert blocked.reason == "its python is 3.10.12, and the lock says that it needs >=3.11"
    assert "layout.python" in blocked.remedy


COMPILED = package(
    "fast-1-py3-none-any.whl",
    "fast-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "fast-1-cp311-cp311-manylinux_2_28_x86_64.whl",
    "fast-1-cp311-cp311-manylinux_2_39_x86_64.whl",
    "fast-1-cp311-cp311-musllinux_1_2_x86_64.whl",
    "fast-1-cp39-abi3-manylinux_2_28_aarch64.whl",
    "fast-1-cp312-cp312-manylinux_2_28_x86_64.whl",
    name="fast",
)


@pytest.mark.parametrize(
    ("python", "libc", "hardware", "best"),
    [
        ("3.11.2", ("glibc", "2.36"), "x86_64", "fast-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("3.11.2", ("glibc", "2.20"), "x86_64", "fast-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        ("3.11.2", ("musl", "1.2"), "x86_64", "fast-1-cp311-cp311-musllinux_1_2_x86_64.whl"),
        ("3.12.0", ("glibc", "2.39"), "x86_64", "fast-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("3.14.0", ("glibc", "2.41"), "aarch64", "fast-1-cp39-abi3-manylinux_2_28_aarch64.whl"),
        ("3.10.1", ("glibc", "2.39"), "riscv64", "fast-1-py3-none-any.whl"),
    ],
)
def test_the_most_specific_wheel_that_runs_there_is_taken(
    python: str, libc: tuple[str, str], hardware: str, best: str
) -> None:
    assert taken(COMPILED, host=Machine(python, hardware, libc)) == [best]


def test_of_two_builds_the_later_one_is_taken() -> None:
    builds = ("a-1-2-py3-none-any.whl", "a-1-10-py3-none-any.whl", "a-1-py3-none-any.whl")
    assert taken(package(*builds)) == ["a-1-10-py3-none-any.whl"]


def test_markers_are_judged_by_the_hosts_own_python_to_its_last_digit() -> None:
    old = package("old-1-py3-none-any.whl", marker="python_full_version < '3.11.3'")
    windows = package("win-1-py3-none-any.whl", marker="sys_platform == 'win32'")
    assert taken(old, windows) == ["old-1-py3-none-any.whl"]
    assert taken(old, windows, host=on("3.11.3")) == []


def test_everything_that_the_lock_lacks_for_a_host_is_named_at_once() -> None:
    told = taken(
        package("fast-1-cp311-cp311-manylinux_2_17_armv7l.whl", name="fast"),
        package("fine-1-py3-none-any.whl", name="fine"),
        package("odd.whl", name="no_sdist"),
        host=on("3.9.1", hardware="armv7l"),
    )
    assert told == "the lock has no wheel of fast 1.0, no-sdist 1.0 for Python 3.9, which is this host's"


@pytest.mark.parametrize(
    ("libc", "platform"),
    [
        (["glibc", "2.36"], "manylinux_2_36_x86_64"),
        (["musl", ""], "musllinux_1_2_x86_64"),
        (["musl", "1.1"], "musllinux_1_1_x86_64"),
        (["", ""], "manylinux_2_17_x86_64"),
    ],
)
def test_a_hosts_platform_is_told_by_its_libc(libc: list[str], platform: str) -> None:
    told = facts.parse("h1", {**SimulatedHost("h1").facts(), "libc": libc})
    target = machine(told).target
    assert (target.python, target.platform) == ("3.11", platform)
