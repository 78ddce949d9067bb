"""Promises D2, D7 and D9 on real hosts: full disks, other people's files, and hosts that cannot be worked on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.lab.conftest import StartLab
from tests.lab.real_world import CONF, ENVIRONMENT, FOLDER, JOURNAL, SLOW_TO_TRY, Watch, World, trap, world

pytestmark = [pytest.mark.root, pytest.mark.slow]

FILL_DISK = ("sh", "-c", "dd if=/dev/zero of=/var/tmp/.fill bs=64K 2>/dev/null; true")
"""As `RootHost.fill_disk`, for a trap; dd ends with an error, as it is to."""

FILL_JOURNAL = f"""python3 -c "
journal = open('{JOURNAL}', 'ab')
journal.write(b' ' * ((-journal.tell() - 1) % 4096) + bytes([10]))
"; """
"""To the end of its block: a small record would still find space there. Blank lines are no records."""
SUPERVISOR_LOG = "/var/log/supervisor/supervisord.log"
TOKEN = "__import__('json').loads(pathlib.Path('/srv/pinwheel/state/fence.json').read_text())['real']"
"""The highest fencing token that a host has seen, as an expression."""


@pytest.fixture(scope="module")
def small(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two hosts with disks that can be filled."""
    lab = start_shared_lab("small-1", "small-2", disk_mb=256)
    with world(lab, tmp_path_factory.mktemp("small")) as made:
        made.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        made.rollout("1.0.0")
        yield made


@pytest.fixture(scope="module")
def desk(start_shared_lab: StartLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    lab = start_shared_lab("web-1", "web-2", "web-3", "web-4", "web-5", "web-6")
    with world(lab, tmp_path_factory.mktemp("desk")) as made:
        made.pinwheel("deploy.bootstrap", "--env", ENVIRONMENT)
        made.rollout("1.0.0")
        yield made


# --- D2


def test_a_host_without_space_for_a_release_is_named_with_the_bytes_before_anything_happens(small: World) -> None:
    """D2 (a): the preflight."""
    host = small.lab.hosts["small-2"]
    small.rollout("1.0.0")
    before = small.status()
    host.fill_disk()
    try:
        said = small.rollout("1.1.0", exit_code=1)
        assert "MiB are needed" in said
        assert "0 MiB are free" in said
        assert small.status() == before
    finally:
        host.free_disk()
    assert small.served() == ["1.0.0"] * 2


def test_a_disk_that_fills_up_during_prepare_leaves_nothing_and_nobody_activates(small: World) -> None:
    """D2 (a): on ENOSPC."""
    host = small.lab.hosts["small-2"]
    small.rollout("1.0.0")
    before, kept = small.status(), host.exec("ls", "-A", f"{FOLDER}/releases").output
    small.index.publish("2.0.1", SLOW_TO_TRY)
    begun = f"list(pathlib.Path('{FOLDER}/releases').glob('2.0.1-*'))"
    # and kept full: what uv gives back at its end would do for the rest
    keep_full = f"while ls -d {FOLDER}/releases/2.0.1-*; do cat /dev/zero >>/var/tmp/.fill; done >/dev/null 2>&1; true"
    try:
        with Watch(small.lab) as watch, trap(host, begun, "sh", "-c", keep_full):
            said = small.rollout("2.0.1", exit_code=1)
    finally:
        host.free_disk()
    assert "No space left on device" in said
    assert watch.failed() == {}
    assert small.status() == before
    assert host.exec("ls", "-A", f"{FOLDER}/releases").output == kept
    small.rollout("2.0.1")
    assert small.served() == ["2.0.1"] * 2


@pytest.mark.parametrize("moment", ["before it begins", "before it is committed"])
def test_a_disk_that_is_full_at_an_activation_leaves_the_conf_and_the_program_as_they_were(
    small: World, moment: str
) -> None:
    """D2 (b): the journal cannot be written."""
    small.configure()
    small.rollout("1.1.0")
    small.rollout("1.0.0")
    before, confs = small.status(), small.confs()
    reloads = {name: each.exec("cat", SUPERVISOR_LOG).output for name, each in small.lab.hosts.items()}
    if moment == "before it begins":
        # the release is there, so prepare only learns the new token; the canary's activation takes longer than to fill
        host, condition = small.lab.hosts["small-2"], f"{TOKEN} > {small.tokens()['small-2']}"
        filled = FILL_DISK
    else:
        host, condition = small.lab.hosts["small-1"], f"'1.1.0-' in pathlib.Path('{CONF}').read_text()"
        filled = ("sh", "-c", FILL_JOURNAL + FILL_DISK[-1])
        small.configure(min_healthy_s=3.0)
    try:
        with trap(host, condition, *filled):
            said = small.rollout("1.1.0", exit_code=1)
        assert f"{host.name}: failed" in said
        assert "No space left on device" in said
        assert small.confs()[host.name] == confs[host.name]
        assert small.answers()[host.name] == "1.0.0"
        after = small.status()[host.name]
        assert (after["version"], after["healthy"]) == ("1.0.0", True)
        if moment == "before it begins":
            assert after == before[host.name], "the program was touched"
            assert host.exec("cat", SUPERVISOR_LOG).output == reloads[host.name], "supervisor was reloaded"
    finally:
        host.free_disk()
    small.configure()
    assert "it failed its gate here before" not in small.plan("1.1.0")
    small.rollout("1.1.0")
    assert small.served() == ["1.1.0"] * 2


def test_a_disk_that_fills_up_while_it_is_committed_makes_no_failure_of_it(small: World) -> None:
    small.configure()
    small.rollout("1.0.0")
    host = small.lab.hosts["small-2"]
    small.index.publish("2.0.2")
    small.configure(min_healthy_s=3.0)
    try:
        # the commit, a short line, finds space in the journal's last block; nothing that follows from it does
        with trap(host, f"'2.0.2-' in pathlib.Path('{CONF}').read_text()", *FILL_DISK):
            small.rollout("2.0.2", exit_code=None)
        assert {name: each["version"] for name, each in small.status().items()} == small.answers()
    finally:
        host.free_disk()
        small.configure()
    small.rollout("2.0.2")
    assert not any(each["drift"] for each in small.status().values())


# --- D7


@pytest.mark.parametrize(
    "broken", ["[program:theirs\n", "[program:theirs]\ncommand=%(nobody)s\n"], ids=["no section", "no value"]
)
def test_somebody_elses_broken_file_is_named_before_anything_stops_on_any_host(desk: World, broken: str) -> None:
    """D7: also on the last host to have its turn, and also what supervisor alone can see."""
    host = desk.lab.hosts["web-6"]
    desk.rollout("1.0.0")
    before, confs = desk.status(), desk.confs()
    theirs = "/etc/supervisor/conf.d/theirs.conf"
    host.exec("tee", theirs, stdin=broken)
    try:
        with Watch(desk.lab) as watch:
            said = desk.rollout("1.1.0", exit_code=1)
        assert theirs in said
        assert watch.failed() == {}
        assert desk.status() == before
        assert desk.confs() == confs
        if "nobody" not in broken:
            assert theirs in desk.plan("1.1.0", exit_code=1)
    finally:
        host.exec("rm", theirs)


# --- D9


def test_hosts_that_cannot_be_worked_on_say_in_one_line_what_where_and_what_to_do(desk: World) -> None:
    """D9: four faults on four hosts at once, and hosts that are well."""
    hosts = desk.lab.hosts
    desk.rollout("1.0.0")
    before = desk.status()
    known = desk.lab.known_hosts.read_text()
    keys = dict(line.split(" ", 1) for line in known.splitlines())
    keys[hosts["web-1"].address] = hosts["web-6"].host_key  # changed
    del keys[hosts["web-2"].address]  # unknown
    desk.lab.known_hosts.write_text("".join(f"{address} {key}\n" for address, key in keys.items()))
    hosts["web-3"].exec("sed", "-i", "s/NOPASSWD:ALL/ALL/", "/etc/sudoers.d/deploy")
    hosts["web-4"].exec("mv", "/usr/bin/python3", "/usr/bin/python3.away")
    try:
        said = desk.plan("1.1.0", exit_code=1)
        lines = {name: line for line in said.splitlines() for name in hosts if line.strip().startswith(name)}
        assert len(lines) == len(hosts), said
        for name, what, what_to_do in (
            ("web-1", "host key has changed", "replace its line in "),
            ("web-2", "its host key is not known", "deploy.bootstrap --env ENV --scan-host-keys"),
            ("web-3", "does not work without a password", "NOPASSWD in sudoers"),
            ("web-4", "there is no python3", "install python3 on the host"),
        ):
            assert what in lines[name]
            assert what_to_do in lines[name]
        desk.rollout("1.1.0", exit_code=1)
    finally:
        desk.lab.known_hosts.write_text(known)
        hosts["web-3"].exec("sed", "-i", "s/NOPASSWD: *ALL/ALL/; s/) ALL/) NOPASSWD:ALL/", "/etc/sudoers.d/deploy")
        hosts["web-4"].exec("mv", "/usr/bin/python3.away", "/usr/bin/python3")
    assert desk.status() == before


def test_a_release_that_wants_another_python_is_refused_and_nothing_is_touched(desk: World) -> None:
    """D9: the wrong Python for the lock."""
    desk.rollout("1.0.0")
    before = desk.status()
    desk.index.publish("9.0.1", requires_python=">=3.99")
    said = desk.rollout("9.0.1", exit_code=1)
    assert "3.99" in said
    assert desk.status() == before
    for host in desk.lab.hosts.values():
        assert "9.0.1" not in host.exec("ls", f"{FOLDER}/releases").output
