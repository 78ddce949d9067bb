"""Bootstrap and prepare, from an index that asks for a credential: a release is complete, or nothing of it is there."""

from __future__ import annotations

import importlib.metadata
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.deploy import wheels
from tests.deploy.bare import BareHost, wait_until
from tests.deploy.stocked import RELEASE, SECRET, Index, body, bootstrapping, serving

from pinwheel.deploy.host import means, runner
from pinwheel.deploy.host.wire import Wire
from pinwheel.deploy.lab_host import MARK, end_marked, marked

OTHER = {"name": "acme-tiny", "filename": "acme_tiny-1.0.0-py3-none-any.whl", "sha256": "0" * 64, "size": 1}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    for name in ("uv", "supervisor"):
        wheels.installed(folder, name)
    wheels.tiny(folder, "1.0.0")
    wheels.broken(folder)
    return folder


@pytest.fixture
def index(stock: Path) -> Iterator[Index]:
    with serving(stock) as made:
        yield made


@pytest.fixture
def host(host_with_uv: BareHost) -> BareHost:
    return host_with_uv


def releases(host: BareHost) -> list[str]:
    return sorted(each.name for each in (host.root / "apps/shop/releases").glob("*"))


def assert_no_secret(host: BareHost) -> None:
    for file in host.root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert SECRET.encode() not in file.read_bytes(), file


def test_a_release_is_made_once(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    result = host.ask("prepare", body(index))
    assert (result["created"], result["how"]) == (True, "uv")
    assert result["bytes"] > 0
    folder = host.root / "apps/shop/releases" / RELEASE
    assert (folder / "COMPLETE").exists()
    assert (folder / "bin/acme-tiny").exists()
    (about,) = host.facts()["releases"]
    assert (about["release"], about["verdict"], about["lock_sha256"]) == (RELEASE, "prepared", "a" * 64)
    assert list((host.root / "tmp").iterdir()) == []
    assert_no_secret(host)
    before, asked = folder.stat().st_mtime_ns, len(index.asked)
    assert host.ask("prepare", body(index, wheels=[], index_url=""))["created"] is False
    assert (folder.stat().st_mtime_ns, len(index.asked)) == (before, asked)


def test_uv_trusts_the_authorities_that_its_host_trusts(host: BareHost, index: Index) -> None:
    """Its own list knows no private authority. Older versions of it have another name for that."""
    uv = host.root / "bin/uv"
    uv.unlink()
    uv.write_text("#!/bin/sh\n[ $1 = --version ] && exec echo uv 0.9.1\nenv | grep ^UV_\nexit 1\n")
    uv.chmod(0o755)
    host.start_supervisor()
    told = host.ask("prepare", body(index))["problem"].splitlines()
    assert {"UV_SYSTEM_CERTS=1", "UV_NATIVE_TLS=1"} <= {*told}


def test_what_an_earlier_attempt_left_is_cleaned(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    for name in (RELEASE, "0.9.0-dddddddd"):
        (host.root / "apps/shop/releases" / name / "bin").mkdir(parents=True)
    host.add_release("0.8.0-eeeeeeee")
    assert host.ask("prepare", body(index))["created"] is True
    assert releases(host) == ["0.8.0-eeeeeeee", RELEASE]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"wheels": [{**OTHER, "version": "1.0.0"}]}, "ash"),
        ({"wheels": [{**OTHER, "version": "9.9"}]}, "9.9"),
        ({"project": "acme-broken"}, "nobody_installs_this"),
    ],
    ids=["tampered", "unknown", "import"],
)
def test_a_release_that_cannot_be_made_leaves_nothing(
    host: BareHost, index: Index, change: dict[str, Any], word: str
) -> None:
    host.start_supervisor()
    error = host.ask("prepare", body(index, **change))
    assert error["code"] == "prepare-failed"
    assert word in error["problem"]
    assert error["remedy"]
    assert releases(host) == []
    assert SECRET not in str(error)
    assert_no_secret(host)


def test_a_wrong_credential_is_told_without_it(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    error = host.ask("prepare", body(index, index_url=index.url.replace(SECRET, "wrong-secret")))
    assert error["code"] == "prepare-failed"
    assert "wrong-secret" not in str(error)
    assert releases(host) == []


def test_no_space_is_told_before_anything_is_fetched(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    error = host.ask("prepare", body(index, wheels=[{**index.wheel("acme_tiny"), "size": 1 << 58}]))
    assert error["code"] == "no-space"
    assert error["problem"].startswith(f"{(1 << 40) + 16} MiB are needed and ")
    assert error["where"] == str(host.root)
    assert index.asked == []


def test_the_end_of_input_stops_and_cleans(host: BareHost, index: Index) -> None:
    host.start_supervisor()
    index.holds.clear()
    work = host.start("prepare", body(index))
    wait_until(lambda: any(path.startswith("/files/") for path in index.asked), "the download")
    work.close_stdin()
    assert work.end()["code"] == "aborted"
    assert releases(host) == []
    host.stop_supervisor()
    assert marked(MARK, host.root) == (), "uv has ended too"


@pytest.mark.slow
def test_a_tool_that_outlives_a_killed_runner_keeps_the_lock(host: BareHost, index: Index) -> None:
    """Else the next prepare would clean up what is still being written."""
    host.start_supervisor()
    index.holds.clear()
    work = host.start("prepare", body(index))
    wait_until(lambda: any(path.startswith("/files/") for path in index.asked), "the download")
    work.kill()
    host.hasten(runner, "LOCK_S", 0.1)
    assert host.ask("prepare", body(index))["code"] == "locked"
    index.holds.set()
    deadline = time.monotonic() + 20
    while host.ask("prepare", body(index)).get("created") is not True:
        assert time.monotonic() < deadline
    assert releases(host) == [RELEASE]


@pytest.mark.slow
def test_bootstrap_makes_a_host_ready_and_a_second_one_changes_nothing(host: BareHost, index: Index) -> None:
    (host.root / "bin/uv").unlink()
    asked = bootstrapping(index)
    wanted = host.ask("survey", asked, supervisor_from="index")
    assert not (host.root / "bin/uv").exists()
    changes = host.ask("bootstrap", asked, supervisor_from="index")["changes"]
    assert changes == [each["what"] for each in wanted["changes"]]
    assert all(each["why"] for each in wanted["changes"])
    uv = asked["uv"]["filename"].split("-")[1]
    version = importlib.metadata.version("supervisor")
    assert changes == [
        f"make {host.root / 'etc'}",
        f"install uv {uv} in {host.root / 'bin'}",
        f"install supervisor {version} in {host.root / 'supervisor'}",
        f"write {host.root / 'etc/supervisord.conf'}",
        "start supervisor",
    ]
    pid = host.supervisor.call("getPID")
    for action in ("survey", "bootstrap"):
        again = host.ask(action, asked, supervisor_from="index")
        assert (again["changes"], again.get("missing", [])) == ([], [])
    assert host.supervisor.call("getPID") == pid
    told = host.ask("facts", {}, supervisor_from="index")
    assert (told["ready"], told["missing"], told["supervisor"]["state"]) == (True, [], "RUNNING")
    assert told["uv"] == uv
    assert_no_secret(host)
    # it outlives the channel: a session of its own, nothing of ours open, found by the host's mark
    assert os.getsid(pid) == pid
    assert {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1, 2)} == {"/dev/null"}
    assert pid in marked(MARK, host.root)


@pytest.mark.slow
def test_after_a_reboot_the_next_action_starts_supervisor(host: BareHost, index: Index) -> None:
    host.ask("bootstrap", bootstrapping(index), supervisor_from="index")
    assert host.ask("activate", host.activation(RELEASE, None), supervisor_from="index")["outcome"] == "activated"
    end_marked(MARK, host.root)
    assert host.supervisor.state() is None
    again = host.ask("activate", host.activation(RELEASE, RELEASE), supervisor_from="index")
    assert again["outcome"] in ("unchanged", "activated")
    assert "good at" in host.answer()


def test_a_tampered_uv_is_refused_and_what_needs_it_is_not_tried(host: BareHost, index: Index) -> None:
    (host.root / "bin/uv").unlink()
    uv = {**index.file("uv"), "sha256": "0" * 64}
    told = host.ask("bootstrap", bootstrapping(index, uv=uv), supervisor_from="index")
    first, *others = told["missing"]
    assert first["what"].startswith("install uv")
    assert "is not what the index promised" in first["problem"]
    assert {each["problem"] for each in others} == {f"not tried without: {first['what']}"}
    assert not (host.root / "bin/uv").exists()


def test_a_hosts_own_supervisor_must_answer(host: BareHost, index: Index) -> None:
    uv = {**index.file("uv"), "filename": f"uv-{uv_here(host)}-py3-none-any.whl"}
    told = host.ask("bootstrap", bootstrapping(index, uv=uv))
    (missing,) = told["missing"]
    assert missing["where"] == str(host.socket)
    assert missing["remedy"]


def uv_here(host: BareHost) -> str | None:
    return means.uv_version(runner.Job(host.request("facts", {}), Wire(-1), threading.Event()))
