"""`index.prune` removes what the rules give up and nobody needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.index.making import new_file, wheel
from tests.index.running import make_token, run_pinwheel, upload

from pinwheel.index.entries import Act
from pinwheel.index.server.assembly import Stored, now
from pinwheel.index.store.attachments import StoredAttachment
from pinwheel.index.store.curating import Curator
from pinwheel.index.store.storing import recording
from pinwheel.index.upkeep.pruning import Ground, plan, prune
from pinwheel.index.upkeep.retention import DAY_S, Rules
from pinwheel.index.upkeep.verifying import verify

ACT = Act("2024-02-03T04:05:06.000000Z", "ann")
NEWEST = Rules(releases=1)


@pytest.fixture
def ground(index: Stored) -> Ground:
    """Five releases of `acme` and two of `library`, all of 2024; it is 2033."""
    for made in (*(wheel("acme", f"1.{n}") for n in range(5)), wheel("library", "1.0"), wheel("library", "2.0")):
        with recording(index.records, index.blobs, made.sha256):
            index.blobs.put(made.content, made.sha256)
            index.records.publish(new_file(made))
    return Ground(index.records, index.releases, index.events, index.attachments, index.blobs, lambda: 2e9)


@pytest.fixture
def curator(index: Stored) -> Curator:
    return Curator(index.releases, index.records, index.blobs, now, lambda _project: None)


def event(number: int, kind: str, version: str, **about: str) -> dict[str, Any]:
    detail = {"release": about.pop("release", "")}
    named = {"environment": "prod", "host": "web1", "subject": "acme", "actor": "ann"} | about
    at = "2024-02-03T04:05:06.000000Z"
    return {"id": f"{number:032x}", "at": at, "kind": kind, "version": version, "detail": detail} | named


def lock(index: Stored, version: str, *pins: str) -> str:
    """Attach a lock of these files to a version of acme. Returns its sha256."""
    document = "".join(f'[[packages]]\nhashes = {{sha256 = "{each}"}}\n' for each in pins).encode()
    sha256 = hashlib.sha256(document).hexdigest()
    with recording(index.records, index.blobs, sha256):
        index.blobs.put(document, sha256)
        index.attachments.add("acme", version, StoredAttachment("pylock.toml", sha256, len(document), ACT.at), "ann")
    return sha256


def versions(index: Stored, project: str = "acme") -> list[str]:
    return [each.version for each in index.releases.of(project)]


def test_what_nobody_needs_goes_with_its_bytes(index: Stored, ground: Ground, curator: Curator) -> None:
    gone = [f"{each.project} {each.version}" for each in prune(ground, curator, NEWEST)]
    assert gone == ["acme 1.0", "acme 1.1", "acme 1.2", "acme 1.3", "library 1.0"]
    assert (versions(index), versions(index, "library")) == (["1.4"], ["2.0"])
    assert set(index.blobs.every()) == index.records.blobs()
    assert list(verify(index.records, index.blobs)) == []
    removals = [each for each in index.events.after(0, 100)[0] if each["kind"] == "removed"]
    assert (removals[0]["actor"], removals[0]["version"]) == ("prune", "1.0")


def test_the_name_of_what_went_stays_taken(
    index: Stored, ground: Ground, curator: Curator, app: Callable[..., Any]
) -> None:
    list(prune(ground, curator, NEWEST))
    token = make_token(index.folder, "t", "upload")
    assert upload(app(), wheel("acme", "1.0"), token).status == 409
    assert index.records.is_private("acme")


def test_what_is_promoted_or_deployed_or_pinned_stays(index: Stored, ground: Ground, curator: Curator) -> None:
    index.releases.promote("acme", "1.0", "prod", ACT)
    release = f"1.2-{lock(index, '1.2', wheel('library', '1.0').sha256)[:8]}"
    index.events.add([event(1, "activated", "1.1"), event(2, "activated", "1.2", release=release)], "ci")
    made = plan(ground, NEWEST)
    assert [(each.project, each.version) for each in made.remove] == [("acme", "1.3")]
    assert {f"{each.project} {each.version}": why for each, why in made.spared} == {
        "acme 1.0": "promoted to prod",
        "acme 1.1": "deployed to prod",
        "acme 1.2": "deployed to prod",
        "library 1.0": "pinned by the lock of acme 1.2, which is deployed to prod",
    }
    assert [each.version for each in prune(ground, curator, NEWEST)] == ["1.3"]


def test_what_is_promoted_after_the_plan_was_made_stays(index: Stored, ground: Ground, curator: Curator) -> None:
    pruning = prune(ground, curator, NEWEST)
    assert next(pruning).version == "1.0"
    index.releases.promote("acme", "1.2", "prod", ACT)
    assert [each.version for each in pruning if each.project == "acme"] == ["1.1", "1.3"]


def test_what_is_deployed_after_the_plan_was_made_stays(index: Stored, ground: Ground, curator: Curator) -> None:
    pruning = prune(ground, curator, NEWEST)
    assert next(pruning).version == "1.0"
    index.events.add([event(1, "rollout-started", "1.2")], "ci")
    assert [each.version for each in pruning if each.project == "acme"] == ["1.1", "1.3"]


def test_what_is_deployed_right_before_its_removal_stays(index: Stored, ground: Ground) -> None:
    """Between the last look and the transaction nothing may come in unseen: here while the curator reads its clock."""

    def while_a_rollout_begins() -> str:
        index.events.add([event(1, "rollout-started", "1.0")], "ci")
        return now()

    curator = Curator(index.releases, index.records, index.blobs, while_a_rollout_begins, lambda _project: None)
    gone = [each.version for each in prune(ground, curator, NEWEST) if each.project == "acme"]
    assert (gone, versions(index)) == (["1.1", "1.2", "1.3"], ["1.0", "1.4"])


def test_what_a_lock_that_came_after_the_plan_pins_stays(index: Stored, ground: Ground, curator: Curator) -> None:
    index.releases.promote("acme", "1.4", "prod", ACT)
    pruning = prune(ground, curator, NEWEST)
    assert next(pruning).version == "1.0"
    lock(index, "1.4", wheel("acme", "1.2").sha256, wheel("library", "1.0").sha256)
    assert [f"{each.project} {each.version}" for each in pruning] == ["acme 1.1", "acme 1.3"]


def test_age_counts_from_the_newest_file(index: Stored, ground: Ground) -> None:
    young = Ground(
        index.records, index.releases, index.events, index.attachments, index.blobs, lambda: 1_704_164_645 + 10 * DAY_S
    )
    assert plan(young, Rules(releases=1, days=11)).remove == ()
    assert len(plan(young, Rules(releases=1, days=9)).remove) == 5


def test_the_command_says_what_would_go_and_then_does_it(index: Stored, ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text("[index.retention]\nkeep_releases = 4\n")
    index.releases.promote("acme", "1.0", "prod", ACT)
    data = ("--data", str(index.folder), "--json")
    done = run_pinwheel("index.prune", "--dry-run", *data, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["removed"]) == (0, [])
    (tmp_path / "pinwheel.toml").write_text("[index.retention]\nkeep_releases = 3\n")
    expected = [{"name": "acme", "version": "1.1"}]
    done = run_pinwheel("index.prune", "--dry-run", *data, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["removed"]) == (4, expected)
    assert len(versions(index)) == 5
    done = run_pinwheel("index.prune", *data, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["removed"]) == (0, expected)
    assert json.loads(done.stdout)["spared"] == [{"name": "acme", "version": "1.0", "reason": "promoted to prod"}]
    assert len(versions(index)) == 4


def test_without_rules_it_is_wrong_usage(index: Stored, tmp_path: Path) -> None:
    done = run_pinwheel("index.prune", "--data", str(index.folder), cwd=tmp_path)
    assert (done.returncode, "index.retention" in done.stderr) == (2, True)
