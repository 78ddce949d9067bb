"""Which wheels of a lock a host takes: as its installer would choose, known before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.deploy.simulated import SimulatedHost

from pinwheel.deploy.planning import facts, wheels
from pinwheel.deploy.planning.wheels import Machine, NoWheel

HERE = Machine("3.11.2", "manylinux_2_36_x86_64")


def package(name: str, *filenames: str, marker: str = "") -> dict[str, Any]:
    listed = [{"url": f"https://index.example/files/{each}", "hashes": {"sha256": each}} for each in filenames]
    return {"name": name, "version": "1", "marker": marker, "wheels": listed}


def chosen(*documents: dict[str, Any], host: Machine = HERE) -> list[str]:
    return [each.filename for each in wheels.chosen(wheels.packages(documents), host)]


COMPILED = package(
    "fast",
    "fast-1-py3-none-any.whl",
    "fast-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "fast-1-cp311-cp311-manylinux_2_28_x86_64.whl",
    "fast-1-cp311-cp311-manylinux_2_39_x86_64.whl",
    "fast-1-cp311-cp311-musllinux_1_2_x86_64.whl",
    "fast-1-cp39-abi3-manylinux_2_28_aarch64.whl",
    "fast-1-cp312-cp312-manylinux_2_28_x86_64.whl",
)


@pytest.mark.parametrize(
    ("python", "platform", "taken"),
    [
        ("3.11.2", "manylinux_2_36_x86_64", "fast-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("3.11.2", "manylinux_2_20_x86_64", "fast-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        ("3.11.2", "musllinux_1_2_x86_64", "fast-1-cp311-cp311-musllinux_1_2_x86_64.whl"),
        ("3.12.0", "manylinux_2_39_x86_64", "fast-1-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("3.14.0", "manylinux_2_41_aarch64", "fast-1-cp39-abi3-manylinux_2_28_aarch64.whl"),
        ("3.10.1", "manylinux_2_39_riscv64", "fast-1-py3-none-any.whl"),
    ],
)
def test_the_most_specific_wheel_that_runs_there_is_taken(python: str, platform: str, taken: str) -> None:
    assert chosen(COMPILED, host=Machine(python, platform)) == [taken]


def test_of_two_builds_the_later_one_is_taken() -> None:
    builds = ("a-1-2-py3-none-any.whl", "a-1-10-py3-none-any.whl", "a-1-py3-none-any.whl")
    assert chosen(package("a", *builds)) == ["a-1-10-py3-none-any.whl"]


def test_markers_are_judged_by_the_hosts_own_python_to_its_last_digit() -> None:
    old = package("old", "old-1-py3-none-any.whl", marker="python_full_version < '3.11.3'")
    windows = package("win", "win-1-py3-none-any.whl", marker="sys_platform == 'win32'")
    assert chosen(old, windows) == ["old-1-py3-none-any.whl"]
    assert chosen(old, windows, host=Machine("3.11.3", HERE.platform)) == []


def test_everything_that_the_lock_lacks_for_a_host_is_named_at_once() -> None:
    with pytest.raises(NoWheel, match=r"fast, no-sdist for Python 3.9.1 on manylinux_2_36_armv7l"):
        chosen(
            package("fast", "fast-1-cp311-cp311-manylinux_2_17_armv7l.whl"),
            package("no_sdist", "odd.whl"),
            host=Machine("3.9.1", "manylinux_2_36_armv7l"),
        )


@pytest.mark.parametrize(
    ("libc", "platform"),
    [
        (["glibc", "2.36"], "manylinux_2_36_x86_64"),
        (["musl", ""], "musllinux_1_2_x86_64"),
        (["", ""], "manylinux_2_17_x86_64"),
    ],
)
def test_a_hosts_platform_is_told_by_its_libc(libc: list[str], platform: str) -> None:
    told = facts.parse("h1", {**SimulatedHost("h1").facts(), "libc": libc})
    assert wheels.machine(told) == Machine("3.11.2", platform)
