"""One wheel for all Pythons that it serves, one more for each that it does not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.build_zoo import NAME, PROJECTS
from tests.packaging.forge import Repository, Workshop, tiny_files

from pinwheel.packaging.building.assemble import Workplace, assemble
from pinwheel.packaging.building.commit import build
from pinwheel.packaging.building.pythons import Interpreter, serves
from pinwheel.packaging.releasing.survey import resolve
from pinwheel.packaging.resolver import PythonMissing
from pinwheel.packaging.work import Wanted

MakeRepository = Callable[[str], Repository]

NATIVE = """
def build_wheel(folder, config_settings=None, metadata_directory=None):
    tag = f"cp31{1 + len(os.listdir(folder)) - 1}-cp31{1 + len(os.listdir(folder)) - 1}-linux_x86_64"
    name = f"{NAME}-{VERSION}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in _wheel(NAME, VERSION, NAME):
            wheel.writestr(path, text)
    return name
"""
"""The first wheel beside the sdist is for 3.11, the next for 3.12: the real ones need several Pythons."""


@pytest.mark.parametrize(
    ("tag", "serving"),
    [
        ("py3-none-any", ["3.9", "3.11", "3.12"]),
        ("py2.py3-none-any", ["3.9", "3.11", "3.12"]),
        ("cp311-cp311-linux_x86_64", ["3.11"]),
        ("cp311-abi3-linux_x86_64", ["3.11", "3.12"]),
        ("py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64", ["3.9", "3.11", "3.12"]),
        ("pp311-pypy311_pp73-linux_x86_64", []),
    ],
)
def test_a_tag_says_which_pythons_a_wheel_serves(tag: str, serving: list[str]) -> None:
    assert [version for version in ("3.9", "3.11", "3.12") if serves(f"x-1.0-{tag}.whl", version)] == serving


@pytest.mark.parametrize(("backend", "wheels"), [("", ["py3-none-any"]), (NATIVE, ["cp311-cp311", "cp312-cp312"])])
def test_a_pure_wheel_is_built_once_and_a_native_one_by_each_python(
    backend: str, wheels: list[str], workshop: Workshop, tmp_path: Path
) -> None:
    root = tmp_path / "source"
    for name, text in tiny_files("acme-tiny", backend=backend).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    both = tuple(Interpreter(version, sys.executable) for version in ("3.11", "3.12"))
    place = Workplace(workshop.tools.resolver, tmp_path / "work", tmp_path / "logs", {}, interpreters=both)
    place.folder.mkdir()
    sdist, *made = assemble(root, tmp_path / "dist", place)
    assert sdist.path.name == "acme_tiny-1.0.0.tar.gz"
    assert [each.path.name.removeprefix("acme_tiny-1.0.0-").removesuffix("-linux_x86_64.whl") for each in made] == [
        each + ".whl" * each.endswith("any") for each in wheels
    ]


def test_a_python_that_is_missing_is_named_before_anything_is_built(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    remote = make_repository("tiny")
    remote.commit(tiny_files("acme-tiny", backend="raise RuntimeError('built')\n"), "v1.0.0")
    wanted = Wanted(remote.address, name="acme-tiny", declared=True, pythons=("3.99",))
    (job,), _failures = resolve([wanted], workshop.tools)
    with pytest.raises(PythonMissing, match=r"Python 3\.99 is not on this machine") as caught:
        build(job, workshop.tools, tmp_path)
    assert "python3.99" in caught.value.remedy


@pytest.mark.slow
def test_a_native_project_has_a_wheel_for_each_python_of_the_machine(
    workshop: Workshop, make_repository: MakeRepository, tmp_path: Path
) -> None:
    def there(version: str) -> bool:
        try:
            workshop.tools.resolver.python(version, cwd=tmp_path)
        except PythonMissing:
            return False
        return True

    pythons = tuple(version for version in ("3.11", "3.12", "3.13", "3.14") if there(version))[:2]
    if len(pythons) < 2 or not shutil.which("cc"):
        pytest.skip("needs two Pythons and a C compiler")
    remote = make_repository("zoo")
    remote.commit(PROJECTS["setuptools, a C extension"].files, "v1.4.0")
    wanted = Wanted(remote.address, name=NAME, declared=True, pythons=pythons)
    (job,), _failures = resolve([wanted], workshop.tools)
    sdist, *wheels = build(job, workshop.tools, tmp_path).artifacts
    assert [wheel.path.name.split("-")[2] for wheel in wheels] == [f"cp{each.replace('.', '')}" for each in pythons]
    named = [each.provenance.python if each.provenance else "" for each in (sdist, *wheels)]
    assert [each.rpartition(".")[0] for each in named] == [pythons[0], *pythons]
