"""Nothing is touched before the statements are good: what a deploy asks of the wheels that a lock brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from packaging.version import Version
from tests.deploy.memory_index import MemoryIndex
from tests.deploy.test_operate import CONFIG, World
from tests.packaging.signing import Key, make_key, needs_ssh_keygen

from pinwheel import config
from pinwheel.deploy.inventory import settings
from pinwheel.deploy.rolling import evidence, operate
from pinwheel.deploy.rolling.evidence import Origin, Unproven
from pinwheel.deploy.showing import status
from pinwheel.errors import UsageError
from pinwheel.index.client import IndexFile
from pinwheel.packaging import statement
from pinwheel.packaging.proving.signatures import AllowedSigners
from pinwheel.packaging.statement import Provenance, Statement, attachment_name, signature_name

pytestmark = needs_ssh_keygen

COMMIT = "c0ffee" + "0" * 34
OURS = Provenance("/srv/shop.git", "refs/tags/v1", COMMIT, finished="2026-03-01T12:00:00+00:00")


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys") / "ann")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys") / "mallory")


def state(index: MemoryIndex, file: IndexFile, key: Key | None) -> None:
    """Lay a statement beside the file, signed with the key."""
    body = statement.write(Statement(file.filename, file.sha256, OURS))
    index.attach(file.version, attachment_name(file.filename), body)
    if key:
        index.attach(file.version, signature_name(file.filename, body), key.signer.sign(body))


def site(folder: Path, monkeypatch: pytest.MonkeyPatch, allowed: Key | None, level: str = "") -> World:
    """A world in which statements by `allowed` count, and shop 1.0.0 and 1.1.0 are published."""
    monkeypatch.setenv("PINWHEEL_TOKEN", "ours")
    text = CONFIG.replace("become = []", f"become = []\nrequire_statements = {level!r}")
    if allowed:
        (folder / "allowed_signers").write_text(f"ann@acme.example {allowed.public}\n")
        text += '[packaging]\nallowed_signers = "allowed_signers"\n'
    (folder / "pinwheel.toml").write_text(text)
    return World(folder, text)


def test_a_signed_version_is_rolled_out_and_every_host_says_from_which_commit_and_who_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Key
) -> None:
    world = site(tmp_path, monkeypatch, ann)
    state(world.index, world.index.own_files("shop")[0], ann)
    operate.rolled_out(world.session(), "shop==1.0.0")
    document = status.document(world.session().facts(), "live")
    told = [host["applications"][0] for host in document["hosts"]]
    assert {(each["commit"], each["signer"]) for each in told} == {(COMMIT, "ann@acme.example")}


@pytest.mark.parametrize("act", [operate.planned, operate.rolled_out])
def test_a_statement_signed_by_an_unknown_key_refuses_before_any_host_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Key, mallory: Key, act: object
) -> None:
    """Promise D11."""
    world = site(tmp_path, monkeypatch, ann)
    state(world.index, world.index.own_files("shop")[0], mallory)
    with pytest.raises(Unproven) as caught:
        act(world.session(), "shop==1.0.0")  # type: ignore[operator]
    assert caught.value.where.startswith("shop-1.0.0-py3-none-any.whl: signed by an unknown key (SHA256:")
    assert "packaging.allowed_signers" in caught.value.remedy
    assert "packaging.verify shop==1.0.0" in caught.value.remedy
    assert world.hosts.asked == []
    assert world.index.released == []


def test_with_allowed_signers_a_version_without_a_statement_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Key
) -> None:
    world = site(tmp_path, monkeypatch, ann)
    with pytest.raises(Unproven, match="1 wheel of the lock cannot be proven") as caught:
        operate.planned(world.session(), "shop==1.0.0")
    assert caught.value.where == "shop-1.0.0-py3-none-any.whl: has no statement"


def test_an_environment_may_demand_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ann: Key) -> None:
    world = site(tmp_path, monkeypatch, ann, "no")
    assert operate.planned(world.session(), "shop==1.0.0").changes
    present_only = site(tmp_path, monkeypatch, ann, "present")
    with pytest.raises(Unproven):
        operate.planned(present_only.session(), "shop==1.0.0")
    state(present_only.index, present_only.index.own_files("shop")[0], None)
    made = operate.planned(present_only.session(), "shop==1.0.0")
    assert (made.wish.commit, made.wish.signer) == (COMMIT, "")


def test_signatures_that_nobody_could_judge_are_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = site(tmp_path, monkeypatch, None, "signed")
    with pytest.raises(UsageError) as caught:
        operate.planned(world.session(), "shop==1.0.0")
    assert caught.value.where.endswith("environments.live.require_statements")


def test_every_wheel_of_the_index_s_own_must_be_proven_and_no_other(tmp_path: Path, ann: Key) -> None:
    index = MemoryIndex("1.0.0")
    shop, lib = index.own_files("shop")[0], index.put("acme-lib", "2.0")
    state(index, shop, ann)
    file = tmp_path / "allowed"
    file.write_text(f"ann@acme.example {ann.public}\n")
    pins = {
        ("shop", Version("1.0.0")): frozenset({shop.sha256}),
        ("acme-lib", Version("2.0")): frozenset({lib.sha256}),
        ("flask", Version("3.0")): frozenset({"f" * 64}),
    }
    with pytest.raises(Unproven) as caught:
        evidence.require(index, "shop", pins, AllowedSigners(file))
    assert caught.value.where == "acme-lib-2.0-py3-none-any.whl: has no statement"
    state(index, lib, ann)
    assert evidence.require(index, "shop", pins, AllowedSigners(file)) == Origin(COMMIT, "ann@acme.example")


def test_a_statement_about_other_bytes_proves_nothing(ann: Key, tmp_path: Path) -> None:
    index = MemoryIndex("1.0.0")
    (shop,) = index.own_files("shop")
    state(index, replace(shop, sha256="e" * 64), ann)
    with pytest.raises(Unproven, match="cannot be proven") as caught:
        evidence.require(index, "shop", {("shop", Version("1.0.0")): frozenset({shop.sha256})}, None)
    assert "its statement is about" in caught.value.where


def test_a_private_name_pinned_to_bytes_that_the_index_does_not_have_is_refused() -> None:
    index = MemoryIndex("1.0.0")
    with pytest.raises(Unproven) as caught:
        evidence.require(index, "shop", {("shop", Version("1.0.0")): frozenset({"d" * 64})}, None)
    assert "no wheel of its own" in caught.value.where


def test_by_default_signatures_are_demanded_exactly_where_signers_are_named(tmp_path: Path, ann: Key) -> None:
    plain = config.Loaded(config.parse(CONFIG, ""), None)
    assert settings.demanded(plain.config, "live") == "no"
    assert evidence.judge(plain, "live") is None
    (tmp_path / "allowed").write_text(f"ann@acme.example {ann.public}\n")
    named = config.parse(CONFIG + f"[packaging]\nallowed_signers = '{tmp_path}/allowed'\n", "")
    assert settings.demanded(named, "live") == "signed"
    assert evidence.judge(config.Loaded(named, None), "live")
