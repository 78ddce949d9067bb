"""Which wheels fit which machines, and which markers hold there."""

from __future__ import annotations

import pytest

from pinwheel.errors import UsageError
from pinwheel.packaging.targets import Target, applies, fits, oldest_first, targets


@pytest.mark.parametrize(
    ("tags", "platform", "fit"),
    [
        ("py3-none-any", "win_amd64", True),
        ("py2-none-any", "win_amd64", False),
        ("cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64", "manylinux_2_28_x86_64", True),
        ("cp312-cp312-manylinux1_x86_64", "manylinux_2_28_x86_64", True),
        ("cp312-cp312-manylinux_2_34_x86_64", "manylinux_2_28_x86_64", False),
        ("cp312-cp312-linux_x86_64", "manylinux_2_28_x86_64", True),
        ("cp312-cp312-manylinux_2_17_aarch64", "manylinux_2_28_x86_64", False),
        ("cp312-cp312-musllinux_1_1_x86_64", "musllinux_1_2_x86_64", True),
        ("cp312-cp312-musllinux_1_1_x86_64", "manylinux_2_28_x86_64", False),
        ("cp312-cp312-macosx_11_0_arm64", "macosx_13_0_arm64", True),
        ("cp312-cp312-macosx_14_0_arm64", "macosx_13_0_arm64", False),
        ("cp312-cp312-win_amd64", "win_amd64", True),
        ("cp39-abi3-manylinux_2_17_x86_64", "manylinux_2_28_x86_64", True),
        ("cp311-cp311-manylinux_2_17_x86_64", "manylinux_2_28_x86_64", False),
        ("cp312-cp312-win32", "", True),
        ("cp311-cp311-win32", "", False),
    ],
)
def test_a_wheel_fits_by_its_python_and_its_platform(tags: str, platform: str, fit: bool) -> None:
    assert fits(f"acme_shop-1.0-{tags}.whl", Target("3.12", platform)) is fit


def test_what_is_no_wheel_fits_nowhere() -> None:
    assert not fits("acme_shop-1.0.tar.gz", Target("3.12"))


def test_markers_hold_on_the_target_and_not_here() -> None:
    windows, linux = Target("3.13", "win_amd64"), Target("3.11", "musllinux_1_2_aarch64")
    assert applies("sys_platform == 'win32' and python_version >= '3.13'", windows)
    assert applies("platform_machine == 'aarch64' and os_name == 'posix' and python_full_version < '3.12'", linux)
    assert not applies("sys_platform == 'win32'", linux)
    assert applies("sys_platform == 'win32'", Target("3.12")), "it may be such a machine"
    assert not applies("extra == 'fast'", linux)
    assert applies("extra == 'fast'", linux, ["fast"])
    assert applies(None, linux)


def test_targets_are_every_python_on_every_platform_the_oldest_first() -> None:
    assert list(map(str, targets(["3.9", "3.10"], ["win32"]))) == ["Python 3.9 on win32", "Python 3.10 on win32"]
    assert list(map(str, targets(["3.12"], []))) == ["Python 3.12"]
    for pythons, platforms in ((["eleven"], []), (["3.12"], ["linux"])):
        with pytest.raises(UsageError):
            targets(pythons, platforms)


def test_the_oldest_python_comes_first_and_each_once() -> None:
    assert oldest_first(["3.12", "3.9", "3.10", "3.12"], "") == ("3.9", "3.10", "3.12")
    for wrong in ("3", "3.12.1", "python3.12", "2.7", "3.13t"):
        with pytest.raises(UsageError, match="no version of Python"):
            oldest_first([wrong], "")
