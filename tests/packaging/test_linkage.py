"""A native wheel asks for no newer glibc than the oldest host has."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, tiny_files

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.building import linkage
from pinwheel.packaging.building.linkage import Linkage, problems
from pinwheel.packaging.inspection.findings import NotFit
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.work import Failure, Wanted

WHEEL = "x-1.0-cp311-cp311-linux_x86_64.whl"


def findings(needs: Linkage, oldest: tuple[int, int]) -> list[tuple[str, str]]:
    return [(each.severity, each.problem) for each in problems(needs, WHEEL, oldest)]


def test_a_glibc_newer_than_the_oldest_hosts_is_an_error() -> None:
    assert findings(Linkage((2, 35), ()), (2, 35)) == []
    assert findings(Linkage((2, 9), ()), (2, 17)) == []
    assert findings(Linkage((2, 36), ()), (2, 35)) == [("error", "needs glibc 2.36, the oldest target has 2.35")]
    assert findings(Linkage(None, ()), (2, 17)) == []


def test_a_library_that_is_nowhere_promised_is_a_warning() -> None:
    assert findings(Linkage(None, ("libssl.so.3",)), (2, 35)) == [
        ("warning", "needs libssl.so.3, which is not in the wheel")
    ]


def test_a_version_of_glibc_is_two_numbers() -> None:
    assert linkage.glibc("2.35", "") == (2, 35)
    for wrong in ("2", "two", "2.35.1", ""):
        with pytest.raises(UsageError, match="no version of glibc"):
            linkage.glibc(wrong, "here")


def packed(folder: Path, *files: str, also: str = "") -> Path:
    """A wheel of the files in `folder`, with a RECORD of them and of `also`."""
    wheel, info = folder / WHEEL, "x-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in files:
            archive.write(folder / name, name)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\n")
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/WHEEL", also) if name))
    return wheel


def test_a_wheel_without_elf_files_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.py").touch()
    assert linkage.read(packed(tmp_path, "x.py")) is None


def test_a_wheel_that_is_not_what_its_record_says_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PinwheelError, match="cannot be read"):
        linkage.read(packed(tmp_path, also="gone.so"))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_what_a_compiled_extension_needs_is_read_from_it(tmp_path: Path) -> None:
    """Its symbols have the versions of this machine's glibc; a library of its own is known by name."""
    (tmp_path / "own.c").write_text("int own(void) { return 1; }\n")
    (tmp_path / "x.c").write_text(
        '#include <stdio.h>\nint own(void);\nint PyInit_x(void) { return printf("%d", own()); }\n'
    )
    name = "x.cpython-311-x86_64-linux-gnu.so"
    for words in (
        ("own.c", "-Wl,-soname,libacmeown.so.1", "-o", "libacmeown.so"),
        ("x.c", "-L.", "-lacmeown", "-o", name),
    ):
        subprocess.run(("cc", "-shared", "-fPIC", *words), cwd=tmp_path, check=True)
    needs = linkage.read(packed(tmp_path, name))
    assert needs
    assert needs.glibc
    assert (2, 0) < needs.glibc < (3, 0)
    assert needs.libraries == ("libacmeown.so.1",)
    assert [each.severity for each in problems(needs, WHEEL, (2, 0))] == ["error", "warning"]


NATIVE = """
import glob, sysconfig
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = f"{NAME}-{VERSION}-cp311-cp311-linux_x86_64.whl", f"{NAME}-{VERSION}.dist-info"
    (*_rest, native) = sorted(glob.glob(sysconfig.get_config_var("DESTSHARED") + "/_c*.so"))
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in [*_wheel(NAME, VERSION, NAME)][:-1]:
            wheel.writestr(path, text)
        wheel.write(native, f"{NAME}/" + os.path.basename(native))
        wheel.writestr(f"{info}/RECORD", "".join(f"{each},,\\n" for each in wheel.namelist()))
    return name
"""
"""A backend without a compiler: it packs an extension of the standard library."""


def test_a_release_for_hosts_that_are_too_old_is_refused(
    workshop: Workshop, make_repository: Callable[[str], Repository]
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", backend=NATIVE), "v1.0.0")
    wanted = [Wanted(remote.address, name="acme-tiny", declared=True)]
    (refused,) = release(wanted, replace(workshop.tools, oldest_glibc=(2, 0)))
    assert isinstance(refused, Failure)
    assert isinstance(refused.error, NotFit)
    assert "the oldest target has 2.0" in refused.error.where
    assert "packaging.oldest_glibc" in refused.error.remedy
    assert not workshop.shelf.uploads
