"""A release that begins as the one that is there: what is shared is proven, and what ran before is never written to."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy import wheels
from tests.deploy.bare import BareHost
from tests.deploy.pythons import MINORS, found
from tests.deploy.stocked import RELEASE, Index, body, serving

from pinwheel.deploy.host import clone, means

NEXT = "1.1.0-bbbbbbbb"
SITE = "lib/python{}.{}/site-packages".format(*sys.version_info)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("stock")
    for version in ("1.0.0", "1.1.0"):
        wheels.tiny(folder, version)
    for name in ("alpha", "beta"):
        wheels.part(folder, name, "1")
    with serving(folder) as made:
        yield made


@pytest.fixture
def host(host_with_uv: BareHost) -> BareHost:
    return host_with_uv


def request(index: Index, version: str = "1.0.0", base: str = "", **changes: Any) -> dict[str, Any]:
    listed = [index.wheel(name) for name in (f"acme_tiny-{version}", "alpha", "beta")]
    about = {"release": {"1.0.0": RELEASE, "1.1.0": NEXT}[version], "version": version, "wheels": listed, "base": base}
    return body(index, **{**about, **changes})


def release(host: BareHost, name: str = RELEASE) -> Path:
    return host.root / "apps/shop/releases" / name


def contents(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Of every file what is in it, which it is and when it was last written."""
    return {
        str(each.relative_to(folder)): (
            hashlib.sha256(each.read_bytes()).hexdigest(),
            each.stat().st_ino,
            each.stat().st_mtime_ns,
        )
        for each in folder.rglob("*")
        if each.is_file() and not each.is_symlink()
    }


def shared(host: BareHost, made: str = NEXT) -> set[str]:
    """The files of a release that are those of the first one."""
    inodes = {inode for _, inode, _ in contents(release(host)).values()}
    return {path for path, (_, inode, _) in contents(release(host, made)).items() if inode in inodes}


def said(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def test_what_two_locks_share_is_linked_and_only_the_difference_is_fetched(host: BareHost, index: Index) -> None:
    first = host.do("prepare", request(index))
    assert (first["how"], first["base"], first["shared"]) == ("uv", None, 0)
    before, asked = contents(release(host)), len(index.asked)
    second = host.do("prepare", request(index, "1.1.0", RELEASE))
    assert (second["created"], second["how"], second["base"], second["shared"]) == (True, "clone", RELEASE, 2)
    assert index.asked[asked:] == ["/simple/acme-tiny/", "/files/acme_tiny-1.1.0-py3-none-any.whl"]
    assert contents(release(host)) == before, "the old release is as it was, to the last byte"
    cached = Path(importlib.util.cache_from_source(f"{SITE}/alpha.py"))
    assert {f"{SITE}/alpha.py", f"{SITE}/beta.py", str(cached)} <= shared(host)
    assert not {path for path in shared(host) if "acme_tiny" in path}


@pytest.mark.slow
def test_scripts_and_their_records_name_the_release_they_are_in(host: BareHost, index: Index) -> None:
    host.do("prepare", request(index))
    host.do("prepare", request(index, "1.1.0", RELEASE))
    for name in (RELEASE, NEXT):
        assert said(release(host, name) / "bin/alpha") == str(release(host, name))
        info = release(host, name) / SITE / "alpha-1.dist-info"
        assert clone.files_of(release(host, name), info), "every file has the hash that RECORD gives it"
    old = os.fsencode(release(host))
    naming = [path for path in release(host, NEXT).rglob("*") if path.is_file() and old in path.read_bytes()]
    assert [path for path in naming if path.name != "release.json" and path.suffix != ".pyc"] == []


@pytest.mark.slow
def test_a_clone_is_a_base_as_good_as_any(host: BareHost, index: Index) -> None:
    host.do("prepare", request(index))
    host.do("prepare", request(index, "1.1.0", RELEASE))
    third = host.do("prepare", request(index, "1.0.0", NEXT, release="1.0.0-cccccccc"))
    assert (third["how"], third["base"], third["shared"]) == ("clone", NEXT, 2)
    assert said(release(host, "1.0.0-cccccccc") / "bin/beta") == str(release(host, "1.0.0-cccccccc"))


def test_a_lock_that_differs_in_nothing_installed_needs_no_index(host: BareHost, index: Index) -> None:
    host.do("prepare", request(index))
    asked = len(index.asked)
    made = host.do("prepare", request(index, base=RELEASE, release="1.0.0-dddddddd", index_url=""))
    assert (made["how"], made["shared"], len(index.asked)) == ("clone", 3, asked)


@pytest.mark.slow
def test_bytecode_is_there_before_anything_starts_and_is_not_made_again(host: BareHost, index: Index) -> None:
    host.do("prepare", request(index))
    host.do("prepare", request(index, "1.1.0", RELEASE))
    before = contents(release(host, NEXT))
    assert said(release(host, NEXT) / "bin/alpha")
    imported = "import acme_tiny, alpha, beta"
    subprocess.run([release(host, NEXT) / "bin/python", "-I", "-c", imported], check=True)
    assert contents(release(host, NEXT)) == before


def edit(file: Path) -> None:
    file.write_text("raise SystemExit")


def compile_other(file: Path) -> None:
    cached = Path(importlib.util.cache_from_source(str(file)))
    cached.write_bytes(cached.read_bytes() + b"\0")


def remove(file: Path) -> None:
    file.unlink()


def link_elsewhere(file: Path) -> None:
    other = file.with_name("elsewhere")
    file.rename(other)
    file.symlink_to(other)


def forge(file: Path) -> None:
    """The file and its RECORD, so that they agree."""
    record = file.with_name("alpha-1.dist-info") / "RECORD"
    row = next(line for line in record.read_text().splitlines() if line.startswith("alpha.py,"))
    file.write_text("raise SystemExit")
    digest = hashlib.sha256(file.read_bytes()).digest()
    promised = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    record.write_text(record.read_text().replace(row, f"alpha.py,sha256={promised},16"))


def make_editable(file: Path) -> None:
    info = file.with_name("alpha-1.dist-info")
    (info / "direct_url.json").write_text('{"url": "file:///home/anna/alpha", "dir_info": {"editable": true}}')
    with (info / "RECORD").open("a") as record:
        record.write("alpha-1.dist-info/direct_url.json,,\n")


@pytest.mark.slow
@pytest.mark.parametrize("harm", [edit, compile_other, remove, link_elsewhere, forge, make_editable])
def test_what_is_not_as_it_was_installed_is_installed_anew(
    host: BareHost, index: Index, harm: Callable[[Path], None]
) -> None:
    host.do("prepare", request(index))
    harm(release(host) / SITE / "alpha.py")
    made = host.do("prepare", request(index, "1.1.0", RELEASE))
    assert (made["how"], made["shared"]) == ("clone", 1)
    assert said(release(host, NEXT) / "bin/alpha") == str(release(host, NEXT))
    assert not {path for path in shared(host) if "alpha" in path}


@pytest.mark.slow
def test_a_file_that_belongs_to_no_distribution_does_not_come_along(host: BareHost, index: Index) -> None:
    host.do("prepare", request(index))
    (release(host) / SITE / "stray.pth").write_text("/home/anna/checkout\n")
    assert host.do("prepare", request(index, "1.1.0", RELEASE))["how"] == "clone"
    assert not (release(host, NEXT) / SITE / "stray.pth").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"abi": "cpython-310-x86_64-linux-gnu 00"},
        {"wheels": None},
        {"wheels": {"alpha": {"version": "1", "sha256": "0" * 64, "seal": ""}}},
    ],
    ids=["other python", "older pinwheel", "other wheel"],
)
def test_a_release_that_cannot_be_shared_is_no_base(host: BareHost, index: Index, change: dict[str, Any]) -> None:
    host.do("prepare", request(index))
    about = release(host) / "release.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    made = host.do("prepare", request(index, "1.1.0", RELEASE))
    assert (made["how"], made["base"], made["shared"]) == ("uv", None, 0)


def test_a_base_that_has_gone_is_no_obstacle(host: BareHost, index: Index) -> None:
    assert host.do("prepare", request(index, "1.1.0", "0.9.0-eeeeeeee"))["how"] == "uv"


def test_facts_tell_what_a_release_has_to_share(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    host.do("prepare", request(index))
    host.add_release("0.8.0-eeeeeeee")
    told = {each["release"]: each["wheels"] for each in host.facts()["releases"]}
    listed = [index.wheel(name)["sha256"][:16] for name in ("acme_tiny-1.0.0", "alpha", "beta")]
    assert told == {"0.8.0-eeeeeeee": [], RELEASE: sorted(listed)}


@pytest.mark.slow
def test_the_oldest_python_that_hosts_may_have_does_it_too(host: BareHost, index: Index) -> None:
    oldest = found(MINORS[0])
    if oldest is None:
        pytest.skip(f"this machine has no Python {MINORS[0]}")
    host.python = str(oldest)
    assert host.ask("prepare", request(index))["how"] == "uv"
    made = host.ask("prepare", request(index, "1.1.0", RELEASE))
    assert (made["how"], made["shared"]) == ("clone", 2)
    assert said(release(host, NEXT) / "bin/alpha") == str(release(host, NEXT))


def test_a_script_whose_first_line_would_be_too_long_is_made_anew(tmp_path: Path) -> None:
    base, folder = tmp_path / "a", tmp_path / ("b" * 120)
    (base / "bin").mkdir(parents=True)
    (base / "bin/tool").write_text(f"#!{base}/bin/python\n")
    assert clone._movable(base, tmp_path / "c", {"bin/tool": ""})
    assert not clone._movable(base, folder, {"bin/tool": ""})


@pytest.mark.slow
@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_installers_replace_shared_files_and_never_write_into_them(
    host: BareHost, index: Index, installer: str
) -> None:
    host.do("prepare", request(index))
    host.do("prepare", request(index, "1.1.0", RELEASE))
    before = contents(release(host))
    target, listed = release(host, NEXT), [f"{index.folder}/{name}-1-py3-none-any.whl" for name in ("alpha", "beta")]
    if installer == "uv":
        uv = str(host.root / "bin/uv")
        argv = [uv, "pip", "install", "--reinstall", "--python", f"{target}/bin/python", "--no-index", *listed]
    else:
        argv = [sys.executable, "-I", "-m", "pip", "--python", f"{target}/bin/python", "install", "--no-index"]
        argv += ["--force-reinstall", "--no-deps", *listed]
    assert {path for path in shared(host) if "alpha" in path}
    subprocess.run(argv, check=True, capture_output=True)
    # and over the files of one that nobody uninstalled
    for each in ("alpha", "beta"):
        (target / SITE / f"{each}-1.dist-info" / "RECORD").unlink()
    subprocess.run(argv, check=False, capture_output=True)
    assert contents(release(host)) == before


@pytest.mark.slow
def test_without_uv_the_distributions_pip_does_it(host: BareHost, index: Index) -> None:
    uv = (host.root / "bin/uv").readlink()
    (host.root / "bin/uv").unlink()
    tampered = [index.wheel("acme_tiny-1.0.0"), {**index.wheel("beta"), "sha256": "0" * 64}]
    error = host.ask("prepare", request(index, wheels=tampered))
    assert error["code"] == "prepare-failed"
    assert "hash" in error["problem"].lower()
    assert not release(host).exists()
    assert host.do("prepare", request(index))["how"] == "pip"
    assert said(release(host) / "bin/alpha") == str(release(host))
    before = contents(release(host))
    (host.root / "bin/uv").symlink_to(uv)
    made = host.do("prepare", request(index, "1.1.0", RELEASE))
    assert (made["how"], made["shared"]) == ("clone", 2)
    assert said(release(host, NEXT) / "bin/alpha") == str(release(host, NEXT))
    assert contents(release(host)) == before


def test_a_uv_of_another_machine_is_none(host: BareHost) -> None:
    """Exec format error; or a libc that is too old, which it says with an exit code."""
    uv = host.root / "bin/uv"
    uv.unlink()
    job = host.job("facts")
    for text in ("\x7fELF of another machine", "#!/bin/sh\nexit 127\n"):
        uv.write_text(text)
        uv.chmod(0o755)
        assert means.uv_version(job) is None


def test_without_uv_and_without_ensurepip_the_remedy_names_debians_package(host: BareHost, index: Index) -> None:
    (host.root / "bin/uv").unlink()
    host.sources["means"] = host.sources["means"].replace('find_spec("ensurepip")', 'find_spec("ensure_nothing")')
    error = host.ask("prepare", request(index))
    assert error["code"] == "not-ready"
    assert "python3-venv" in error["remedy"]
    assert not release(host).exists()
