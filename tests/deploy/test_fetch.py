"""What comes from the index: a checked lock, and wheels that fit the host."""

from __future__ import annotations

import json

import pytest
from tests.deploy import wheels

from pinwheel.deploy.planning.fit import Machine
from pinwheel.deploy.rolling import fetch
from pinwheel.deploy.rolling.fetch import NotInTheIndex
from pinwheel.index.client import Attachment, IndexFile

SHA = "a" * 64
FILES = {
    "uv-{}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "uv-{}-py3-none-manylinux_2_28_aarch64.whl",
    "uv-{}-py3-none-musllinux_1_1_x86_64.whl",
    "uv-{}-py3-none-macosx_11_0_arm64.whl",
    "uv-{}-py3-none-win_amd64.whl",
    "uv-{}.tar.gz",
}


def file(filename: str, version: str, **more: str) -> IndexFile:
    return IndexFile(filename, f"http://index.example/files/{filename}", SHA, 1, version, **more)


UV = [file(form.format(version), version) for version in ("0.9.1", "0.10.0", "0.11.0rc1") for form in sorted(FILES)]


@pytest.mark.parametrize(
    ("machine", "libc", "tag"),
    [
        ("x86_64", ("glibc", "2.36"), "manylinux_2_17_x86_64"),
        ("x86_64", ("glibc", "2.17"), "manylinux_2_17_x86_64"),
        ("aarch64", ("glibc", "2.36"), "manylinux_2_28_aarch64"),
        ("x86_64", ("musl", "1.2"), "musllinux_1_1_x86_64"),
        ("x86_64", ("musl", ""), "musllinux_1_1_x86_64"),
        ("x86_64", ("", ""), "manylinux_2_17_x86_64"),
    ],
)
def test_the_newest_stable_uv_that_runs_on_the_host_is_taken(machine: str, libc: tuple[str, str], tag: str) -> None:
    chosen = fetch.uv_wheel(UV, Machine("3.11.2", machine, libc))
    assert chosen.version == "0.10.0"
    assert tag in chosen.filename


@pytest.mark.parametrize(
    ("machine", "libc"),
    [
        ("aarch64", ("glibc", "2.17")),
        ("riscv64", ("glibc", "2.36")),
        ("aarch64", ("musl", "1.2")),
        ("aarch64", ("", "")),
    ],
)
def test_a_host_for_which_there_is_no_uv_is_told_so(machine: str, libc: tuple[str, str]) -> None:
    with pytest.raises(NotInTheIndex, match=machine):
        fetch.uv_wheel(UV, Machine("3.11.2", machine, libc))


def test_a_yanked_uv_is_not_taken() -> None:
    yanked = file("uv-1.0-py3-none-manylinux_2_17_x86_64.whl", "1.0", yanked="broken")
    assert fetch.uv_wheel([*UV, yanked], Machine("3.11.2", "x86_64", ("glibc", "2.36"))).version == "0.10.0"


def test_the_newest_supervisor_is_taken() -> None:
    files = [file(f"supervisor-{version}-py2.py3-none-any.whl", version) for version in ("4.2.5", "4.3.0")]
    assert fetch.supervisor_wheel(files).version == "4.3.0"
    with pytest.raises(NotInTheIndex):
        fetch.supervisor_wheel([])


class Shelf:
    """An index in memory."""

    def __init__(self, *versions: str, **attached: bytes) -> None:
        self.attached = {name.replace("_", "."): body for name, body in attached.items()}
        self.versions = versions

    def own_files(self, project: str) -> tuple[IndexFile, ...]:
        return tuple(file(f"shop-{version}-py3-none-any.whl", version) for version in self.versions)

    def attachment(self, project: str, version: str, name: str) -> bytes | None:
        return self.attached.get(name) if version in self.versions else None

    def attachments(self, project: str, version: str) -> list[Attachment]:
        return [Attachment(name, "", len(body), "") for name, body in self.attached.items()]


def test_a_version_with_its_lock_and_its_commit() -> None:
    statement = {"predicate": {"buildDefinition": {"resolvedDependencies": [{"digest": {"gitCommit": "c0ffee"}}]}}}
    pylock = wheels.pylock("shop", "1.0.0", SHA)
    shelf = Shelf("1.0.0", pylock_toml=pylock, requirements_txt=f"shop==1.0.0 --hash=sha256:{SHA}".encode())
    assert fetch.locked(shelf, "shop", "1.0.0").commit == ""
    shelf.attached["shop-1.0.0-py3-none-any.whl.statement.json"] = json.dumps(statement).encode()
    found = fetch.locked(shelf, "shop", "1.0.0")
    assert found.lock.release.startswith("1.0.0-")
    assert found.commit == "c0ffee"


@pytest.mark.parametrize("spelled", ["1", "1.0", "1.0.0", "1.0.0.0"])
def test_a_version_is_found_however_it_is_spelled_and_goes_on_as_the_index_spells_it(spelled: str) -> None:
    pylock = wheels.pylock("shop", "1.0.0", SHA)
    shelf = Shelf("0.9", "1.0.0", pylock_toml=pylock, requirements_txt=f"shop==1.0.0 --hash=sha256:{SHA}".encode())
    found = fetch.locked(shelf, "shop", spelled)
    assert found.version == "1.0.0"
    assert found.lock.release.startswith("1.0.0-")


def test_a_version_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(NotInTheIndex, match="no shop") as caught:
        fetch.locked(Shelf("1.9", "1.10"), "shop", "1.2")
    assert "1.9, 1.10" in caught.value.remedy
    with pytest.raises(NotInTheIndex) as caught:
        fetch.locked(Shelf(), "shop", "1.2")
    assert "packaging.release" in caught.value.remedy


def test_a_version_without_a_lock_says_how_to_make_one() -> None:
    with pytest.raises(NotInTheIndex, match="no lock") as caught:
        fetch.locked(Shelf("1.0.0"), "shop", "1.0.0")
    assert "packaging.lock shop==1.0.0" in caught.value.remedy
