"""The inventory that a command prints: real commands, and every way in which one does not tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pinwheel.config import Environment, Host
from pinwheel.deploy.inventory import source
from pinwheel.deploy.inventory.source import InventoryFailed, filled
from pinwheel.errors import UsageError

DOCUMENT = {
    "hosts": {"web1": {"address": "10.0.0.1", "port": 2222}, "web2": {}},
    "groups": {"web": {"hosts": ["web*"], "variables": {"port": "80"}}},
    "variables": {"region": "eu"},
}


def told(folder: Path, script: str, notes: list[str] | None = None, **more: Any) -> Environment:
    """The environment of somebody whose `./hosts` is this shell script."""
    command = folder / "hosts"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    environment = Environment(inventory=("./hosts", "--all"), **more)
    said = notes.append if notes is not None else lambda text: None
    return filled("live", environment, folder, said, {"PATH": "/usr/bin:/bin", "PINWHEEL_TOKEN": "secret"})


def prints(document: object) -> str:
    return f"cat <<'END'\n{json.dumps(document)}\nEND"


def test_hosts_groups_and_variables_come_from_the_command(tmp_path: Path) -> None:
    found = told(tmp_path, prints(DOCUMENT), variables={"region": "us", "tier": "gold"}, user="deploy")
    assert found.hosts == {"web1": Host(address="10.0.0.1", port=2222), "web2": Host()}
    assert found.groups["web"].variables == {"port": "80"}
    assert found.variables == {"region": "eu", "tier": "gold"}
    assert found.user == "deploy"


def test_the_command_learns_its_environment_and_not_our_credential(tmp_path: Path) -> None:
    told(tmp_path, f'echo "$1 $PINWHEEL_ENVIRONMENT $PWD [$PINWHEEL_TOKEN]" > seen\n{prints(DOCUMENT)}')
    assert (tmp_path / "seen").read_text() == f"--all live {tmp_path} []\n"


def test_what_it_writes_on_stderr_is_shown(tmp_path: Path) -> None:
    notes: list[str] = []
    told(tmp_path, f"echo 'the cloud is slow today' >&2\n{prints(DOCUMENT)}", notes)
    assert notes == ["the cloud is slow today"]


def test_an_environment_without_a_command_is_as_it_was(tmp_path: Path) -> None:
    environment = Environment(hosts={"h1": Host()})
    assert filled("live", environment, tmp_path, lambda text: None) is environment


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"hosts": {"h1": {"adress": "x"}}}, "hosts.h1.adress: unknown key; did you mean hosts.h1.address?"),
        ({"host": {}}, "host: unknown key; did you mean hosts?"),
        ({"hosts": {"h1": {"port": "22"}}}, "hosts.h1.port: expected `int`, got `str`"),
        ({"hosts": {"h1": {}}, "groups": {"web": {}}}, "groups.web.hosts: is missing"),
        ([], "must be a table"),
    ],
)
def test_a_fault_in_what_it_printed_is_named_with_its_path(tmp_path: Path, document: object, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        told(tmp_path, prints(document))
    assert caught.value.where == f"environments.live.inventory: ./hosts --all: {fault}"


@pytest.mark.parametrize("script", ["echo no", ":", prints({"hosts": {}}), "exit 3"])
def test_a_command_that_does_not_tell_is_named(tmp_path: Path, script: str) -> None:
    with pytest.raises((InventoryFailed, UsageError)) as caught:
        told(tmp_path, script)
    assert caught.value.where.startswith("environments.live.inventory: ./hosts --all")
    assert caught.value.remedy


def test_a_command_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PATIENCE_S", 0.2)
    with pytest.raises(InventoryFailed, match="no inventory within"):
        told(tmp_path, "sleep 60")


@pytest.mark.parametrize("argv", [("./absent",), ("./data",)])
def test_a_command_that_cannot_be_started_is_named(tmp_path: Path, argv: tuple[str, ...]) -> None:
    (tmp_path / "data").write_text("{}")
    with pytest.raises(InventoryFailed, match="cannot be started"):
        filled("live", Environment(inventory=argv), tmp_path, lambda text: None)


def test_a_command_beside_tables_of_hosts_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either"):
        told(tmp_path, prints(DOCUMENT), hosts={"h1": Host()})
