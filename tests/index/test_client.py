"""The client of the index against a real one, and when there is none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.index.making import sdist, wheel
from tests.index.running import Server
from tests.ports import deserted_port

from pinwheel import config
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.events import from_document
from pinwheel.index.client import (
    Damaged,
    Fenced,
    IndexClient,
    IndexUnreachable,
    LeaseHeld,
    WrongCredential,
    from_config,
)
from pinwheel.ledger import Ledger, SinkUnreachable


@pytest.fixture
def client(server: Server, token: str) -> IndexClient:
    return IndexClient(server.url, token)


def test_files_are_listed_downloaded_and_verified(
    server: Server, token: str, client: IndexClient, tmp_path: Path
) -> None:
    made, source = wheel("client-files", requires_python=">=3.9"), sdist("client-files")
    for each in (made, source):
        server.upload(each, token)
    files = {file.filename: file for file in client.files("Client_Files")}
    found = files[made.filename]
    assert set(files) == {made.filename, source.filename}
    assert (found.sha256, found.size_bytes, found.version) == (made.sha256, len(made.content), "1.0.0")
    assert (found.requires_python, found.yanked) == (">=3.9", None)
    assert found.upload_time.endswith("Z")
    assert client.download(found, tmp_path / "into").read_bytes() == made.content
    assert b"Name: client-files" in client.metadata(found)
    assert [each.name for each in (tmp_path / "into").iterdir()] == [made.filename]
    assert "client-files" in client.projects()
    assert client.files("nobody-has-this") == ()
    assert client.own_files("Client_Files") == client.files("client-files")
    assert client.own_files("nobody-has-this") == ()


def test_a_client_learns_who_it_is(server: Server, client: IndexClient) -> None:
    assert client.whoami().scopes == ("read", "upload", "deploy")
    who = IndexClient(server.url, server.token("acme-only", "read", projects=("Acme_*",))).whoami()
    assert (who.name, who.kind, who.scopes, who.expires_at) == ("acme-only", "token", ("read",), "")
    assert who.may("read", "acme-shop")
    assert not who.may("read", "shop")
    assert not who.may("upload", "acme-shop")


def test_a_damaged_download_is_refused_and_leaves_nothing(
    server: Server, token: str, client: IndexClient, tmp_path: Path
) -> None:
    made = wheel("client-damaged")
    server.upload(made, token)
    (server.folder / "blobs" / made.sha256[:2] / made.sha256).write_bytes(b"tampered")
    with pytest.raises(Damaged, match="promised"):
        client.download(client.files("client-damaged")[0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_events_go_through_the_ledger_and_come_back(client: IndexClient, tmp_path: Path) -> None:
    subject = f"app-{uuid.uuid4().hex}"
    ledger = Ledger(client, tmp_path)
    event = ledger.append("activated", subject, environment="prod")
    assert ledger.deliver() == 0
    client.record([event])
    (found,) = client.events(subject=subject)
    assert from_document(found) == event
    assert client.events(subject=subject, after=found["serial"]) == []
    assert client.events(subject=subject, environment="test") == []


def test_a_lease_is_taken_renewed_and_given_back(client: IndexClient) -> None:
    name = f"env-{uuid.uuid4().hex}"
    lease = client.acquire_lease(name, "ann", "r1", 30)
    with pytest.raises(LeaseHeld, match="r1 by ann") as caught:
        client.acquire_lease(name, "ben", "r2", 30)
    assert caught.value.holder.rollout == "r1"
    assert caught.value.exit_code == 3
    renewed = client.renew_lease(lease, 60)
    assert renewed.token == lease.token
    assert renewed.expires_in_s == pytest.approx(60, abs=5)
    assert client.lease_holder(name) is not None
    client.release_lease(lease)
    client.release_lease(lease)
    assert client.lease_holder(name) is None
    assert client.acquire_lease(name, "ben", "r2", 30).token > lease.token
    with pytest.raises(Fenced):
        client.renew_lease(lease, 30)
    holder = client.lease_holder(name)
    assert holder is not None
    assert client.end_lease(name, lease.token) is False
    assert client.end_lease(name, holder.token) is True
    assert client.lease_holder(name) is None


def test_attachments_are_stored_and_found(client: IndexClient) -> None:
    name = f"app-{uuid.uuid4().hex}"
    sha256 = client.put_attachment(name, "1.0.0", "pylock.toml", b"lock")
    assert client.attachment(name, "1.0.0", "pylock.toml") == b"lock"
    assert client.attachment(name, "1.0.0", "pylock.toml", sha256) == b"lock"
    assert client.attachment(name, "1.0.0", "other") is None
    assert [(each.name, each.size_bytes) for each in client.attachments(name, "1.0.0")] == [("pylock.toml", 4)]


def test_a_minted_token_works(server: Server, client: IndexClient) -> None:
    reader = IndexClient(server.url, client.mint_token("rollout", ["read"], 60))
    assert isinstance(reader.projects(), tuple)
    with pytest.raises(WrongCredential, match="may not"):
        reader.mint_token("again", ["read"], 60)


def test_health_needs_no_credential(server: Server) -> None:
    assert IndexClient(server.url).health()["status"] == "ok"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_credential_is_said_and_not_repeated(server: Server, token: str) -> None:
    with pytest.raises(WrongCredential) as caught:
        IndexClient(server.url, token).files("x")
    assert "PINWHEEL_TOKEN" in caught.value.remedy
    assert not token or token not in caught.value.where


def test_an_index_that_is_away_is_unreachable_for_the_ledger_too(tmp_path: Path) -> None:
    with deserted_port() as port:
        client = IndexClient(f"http://127.0.0.1:{port}/", "secret-token", timeout_s=2)
        with pytest.raises(IndexUnreachable) as caught:
            client.files("x")
        ledger = Ledger(client, tmp_path)
        ledger.append("activated", "shop")
        assert ledger.deliver() == 1
    assert isinstance(caught.value, SinkUnreachable)
    assert "secret-token" not in f"{caught.value.problem}{caught.value.where}{caught.value.remedy}"
    assert "object at 0x" not in caught.value.problem


def test_a_server_that_is_no_index_is_said_to_be_none(server: Server, token: str) -> None:
    elsewhere = IndexClient(server.url + "packages/", token)
    asked: list[Callable[[], object]] = [
        elsewhere.projects,
        lambda: elsewhere.own_files("nobody-has-this"),
        lambda: elsewhere.attachment("nobody-has-this", "1.0", "pylock.toml"),
        lambda: elsewhere.attachments("nobody-has-this", "1.0"),
        lambda: elsewhere.lease_holder("prod"),
    ]
    for ask in asked:
        with pytest.raises(PinwheelError, match="no pinwheel index"):
            ask()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://host/", "http://", "http://u:p@host/", "http://h/?x=1"])
def test_an_address_that_makes_no_sense_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        IndexClient(url)
    assert caught.value.exit_code == 2
    assert "u:p" not in caught.value.where


def test_addresses_for_installers() -> None:
    client = IndexClient("https://host/index", "to/ken")
    assert client.url == "https://host/index/"
    assert client.simple_url() == "https://host/index/simple/"
    assert client.simple_url("prod") == "https://host/index/c/prod/simple/"
    assert client.credentialed_simple_url() == "https://__token__:to%2Fken@host/index/simple/"
    assert IndexClient("http://host/simple/").url == "http://host/"


def test_the_configured_index_is_used(
    server: Server, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "pinwheel.toml").write_text(f'[index]\nurl = "{server.url}"\ntoken_file = "token"\n')
    for name in [name for name in os.environ if name.startswith("PINWHEEL_")]:
        monkeypatch.delenv(name)
    assert from_config(config.load(tmp_path)).files("nobody-has-this") == ()
    with pytest.raises(UsageError, match="no index is configured"):
        from_config(config.Loaded(config.Config(), None))
