"""What a host says of itself beyond what runs: by whom, since when, how it ended last, and what it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.deploy.bare import BareHost

from pinwheel.deploy.host.look import memory_bytes

ONE, TWO = "1.0.0-aaaaaaaa", "1.1.0-bbbbbbbb"


def write(host: BareHost, *records: dict[str, Any]) -> None:
    journal = host.root / "apps/shop/journal.jsonl"
    journal.write_text("".join(json.dumps({"rollout": "r1", "at": "2026"} | each) + "\n" for each in records))


def test_a_restart_changes_neither_since_when_nor_by_whom_it_is_deployed(host: BareHost) -> None:
    write(
        host,
        {"event": "commit", "release": ONE, "previous": None, "by": "ann@desk", "at": "2025"},
        {"event": "begin", "release": ONE, "previous": ONE, "by": "ben@desk", "conf": "PASSWORD=secret"},
        {"event": "commit", "release": ONE, "previous": ONE, "by": "ben@desk"},
    )
    facts = host.facts()
    assert facts["deployed"] == {"at": "2025", "by": "ann@desk", "rollout": "r1", "previous": None}
    assert (facts["last"]["event"], facts["last"]["by"]) == ("commit", "ben@desk")


def test_what_was_cut_off_is_told_without_what_may_be_secret(host: BareHost) -> None:
    write(host, {"event": "begin", "release": TWO, "previous": None, "by": "ann@desk", "conf": "PASSWORD=secret"})
    facts = host.facts()
    assert (facts["last"]["event"], facts["last"]["release"]) == ("begin", TWO)
    assert "secret" not in json.dumps(facts["last"])


def test_the_journal_of_an_older_runner_knows_nobody(host: BareHost) -> None:
    write(
        host,
        {"event": "commit", "release": ONE, "previous": None},
        {"event": "reverted", "release": TWO, "previous": ONE, "reason": "no"},
    )
    facts = host.facts()
    assert facts["deployed"]["by"] is None
    assert (facts["last"]["event"], facts["last"]["by"], facts["last"]["reason"]) == ("reverted", None, "no")


@pytest.mark.parametrize("text", [b"[program:theirs\n", b"\xff\xfe\x00[program"], ids=["no section", "not text"])
def test_somebody_elses_broken_file_is_named(host: BareHost, text: bytes) -> None:
    assert host.do("facts", {})["foreign"] == ""
    theirs = host.conf_dir / "theirs.conf"
    theirs.write_bytes(text)
    assert str(theirs) in host.do("facts", {})["foreign"]
    theirs.rename(host.conf_file)
    assert host.do("facts", {})["foreign"] == "", "that is ours, and will be replaced"


def test_a_process_takes_what_its_children_take_too() -> None:
    code = "import sys, time; held = bytearray(64 << 20); print(flush=True); time.sleep(600)"
    before = memory_bytes([os.getpid()])[os.getpid()]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        both = memory_bytes([os.getpid()])[os.getpid()]
        alone = memory_bytes([child.pid])[child.pid]
        child.kill()
    assert alone > 64 << 20
    assert both > before + (32 << 20)
    assert memory_bytes([2**22 + 1]) == {2**22 + 1: 0}
