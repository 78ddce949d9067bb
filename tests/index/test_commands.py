"""The tasks of the index, run as a user runs them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from tests.index import running
from tests.index.making import Made, sdist, wheel
from tests.index.running import JSON, Server, Upstream, call, make_token, names, run_pinwheel, upload

from pinwheel.archive import Limits
from pinwheel.index.assembly import Stored, now
from pinwheel.index.audit import verify
from pinwheel.index.bulk_import import Imported, import_folder
from pinwheel.index.publisher import Publisher
from pinwheel.index.upstream import Upstreams
from pinwheel.index.why import Started, explain

# tokens


def test_a_token_is_made_listed_used_and_revoked(server: Server) -> None:
    data = ("--data", str(server.folder))
    made = run_pinwheel("index.token-create", "cli", "--scope", "read,upload", "--expires", "90d", *data)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert made.stdout == token + "\n", "the token alone"
    assert server.ask("GET", "/simple/", token).status == 200
    listed = json.loads(run_pinwheel("index.token-list", "--json", *data).stdout)["tokens"]
    (mine,) = [each for each in listed if each["name"] == "cli"]
    assert (mine["state"], mine["scopes"]) == ("valid", ["read", "upload"])
    assert mine["expires_at"] is not None
    assert "cli" in run_pinwheel("index.token-list", *data).stdout
    taken = run_pinwheel("index.token-create", "cli", "--scope", "read", *data)
    assert (taken.returncode, "already" in taken.stderr) == (1, True)
    assert run_pinwheel("index.token-revoke", "cli", *data).returncode == 0
    assert server.ask("GET", "/simple/", token).status == 401, "at once, with the server running"
    again = run_pinwheel("index.token-revoke", "cli", *data)
    assert (again.returncode, "token-list" in again.stderr) == (1, True)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--scope", "fly"),
        ("--scope", "read", "--expires", "soon"),
        ("--scope", "read", "--expires", "0d"),
        ("--scope", "read", "--expires", "99999999999d"),
        ("--scope", "read", "--expires", "9" * 5000 + "d"),
        ("--scope", "read", "--projects", "acme-*,["),
    ],
)
def test_a_token_that_makes_no_sense_is_wrong_usage(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert run_pinwheel("index.token-create", "x", *flags, "--data", str(tmp_path / "data")).returncode == 2


def test_a_token_for_longer_than_there_are_dates_is_listed(index: Stored) -> None:
    make_token(index.folder, "ever", "read", expires_at=1e16)
    (listed,) = json.loads(run_pinwheel("index.token-list", "--json", "--data", str(index.folder)).stdout)["tokens"]
    assert (listed["state"], listed["expires_at"][:4]) == ("valid", "9999")


def test_a_folder_without_an_index_is_said_to_have_none(tmp_path: Path) -> None:
    done = run_pinwheel("index.token-list", "--data", str(tmp_path / "none"))
    assert (done.returncode, "there is no index in this folder" in done.stderr) == (1, True)
    assert not (tmp_path / "none").exists()


# list


def test_the_index_is_listed_through_its_address(server: Server, token: str, tmp_path: Path) -> None:
    made = wheel("cli-listed")
    server.upload(made, token)
    env = {"PINWHEEL_INDEX_URL": server.url, "PINWHEEL_TOKEN": token}
    assert "cli-listed" in run_pinwheel("index.list", cwd=tmp_path, **env).stdout.splitlines()
    assert made.filename in run_pinwheel("index.list", "--name", "cli_listed", cwd=tmp_path, **env).stdout
    document = json.loads(run_pinwheel("index.list", "--name", "cli-listed", "--json", cwd=tmp_path, **env).stdout)
    assert [(each["filename"], each["sha256"]) for each in document["files"]] == [(made.filename, made.sha256)]
    missing = run_pinwheel("index.list", "--name", "nobody", cwd=tmp_path, **env)
    assert (missing.returncode, "no project nobody" in missing.stderr) == (1, True)
    missing = run_pinwheel("index.list", "--name", "nobody", "--json", cwd=tmp_path, **env)
    assert (missing.returncode, '"files"' in missing.stdout) == (1, False)
    away = run_pinwheel("index.list", cwd=tmp_path, PINWHEEL_INDEX_URL="http://127.0.0.1:1/")
    assert (away.returncode, "does not answer" in away.stderr) == (1, True)
    assert run_pinwheel("index.list", cwd=tmp_path).returncode == 2


# why


def test_why_tells_where_files_come_from(
    app: Callable[..., Any], index: Stored, upstream: Upstream, tmp_path: Path
) -> None:
    own, public = wheel("own"), wheel("public")
    upstream.add(public)
    served = app(upstreams=Upstreams((upstream.url,)))
    token = make_token(index.folder, "t", "read", "upload")
    upload(served, own, token)
    for name in ("public", "nothing"):
        call(served, "GET", f"/simple/{name}/", token)

    def why(name: str) -> Any:
        return explain(name, index.records, index.folder / "upstream", Started(("acme-*",)))

    assert (why("Own").private, why("own").files) == (True, ((own.filename, "published here"),))
    assert why("public").files == ((public.filename, upstream.url.replace("/simple/", f"/files/{public.filename}")),)
    assert upstream.url in why("public").reason
    assert "not known to have it" in why("nothing").reason
    assert "acme-*" in why("acme-new").reason
    assert "not" in why("unasked").reason
    done = run_pinwheel("index.why", "public", "--data", str(index.folder), cwd=tmp_path)
    assert public.filename in done.stdout, done.stderr
    assert (
        json.loads(run_pinwheel("index.why", "public", "--json", "--data", str(index.folder), cwd=tmp_path).stdout)
        == why("public").document()
    )


def test_private_names_of_the_configuration_count(index: Stored, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["Acme_*"]\n')
    done = run_pinwheel("index.why", "acme-x", "--data", str(index.folder), cwd=tmp_path)
    assert "Acme_* keeps the name from every upstream" in done.stdout


def test_a_private_name_of_the_configuration_that_keeps_nothing_is_wrong_usage(index: Stored, tmp_path: Path) -> None:
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["acme-*,other-*"]\n')
    for task in (("index.why", "acme-x"), ("index.serve", "--port", "0")):
        done = run_pinwheel(*task, "--data", str(index.folder), cwd=tmp_path)
        assert (done.returncode, "pinwheel.toml: index.private" in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_why_knows_how_the_server_was_started(tmp_path: Path) -> None:
    data, away = tmp_path / "data", "http://ann:secret@127.0.0.1:1/simple/"

    def why(name: str) -> str:
        done = run_pinwheel("index.why", name, "--data", str(data), cwd=tmp_path)
        assert "secret" not in done.stdout
        return done.stdout

    flags = ("--private", "Acme_*", "--upstream", "auto", "--workers", "1")
    with running.running(data, *flags, cwd=tmp_path, PIP_INDEX_URL=away):
        assert "Acme_* keeps the name from every upstream" in why("acme-x")
        assert "http://127.0.0.1:1/simple/ is not known to have it" in why("public")
    (tmp_path / "pinwheel.toml").write_text('[index]\nprivate = ["other-*"]\n')
    assert "127.0.0.1:1" in why("other-x"), "the server that was started does not keep it"
    with running.running(data, "--workers", "1", cwd=tmp_path):
        assert "the server has no upstream" in why("public")
        assert "other-* keeps" in why("other-x")
    assert not [file for file in data.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]


# verify


def test_verify_names_what_is_missing_and_what_is_damaged(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "t", "upload"), app()
    whole, missing, damaged = wheel("whole"), wheel("missing"), wheel("damaged")
    for made in (whole, missing, damaged):
        upload(served, made, token)
    assert run_pinwheel("index.verify", "--data", str(index.folder)).returncode == 0
    index.blobs.discard(missing.sha256)
    index.blobs.path(damaged.sha256).write_bytes(b"x" * len(damaged.content))
    faults = {fault.what: fault.problem for fault in verify(index.records, index.blobs)}
    assert set(faults) == {missing.filename, damaged.filename}
    assert "missing" in faults[missing.filename]
    assert "damaged" in faults[damaged.filename]
    done = run_pinwheel("index.verify", "--json", "--data", str(index.folder))
    assert done.returncode == 1
    assert {fault["what"] for fault in json.loads(done.stdout)["faults"]} == set(faults)


def test_uploading_the_same_bytes_again_puts_right_what_verify_found(app: Callable[..., Any], index: Stored) -> None:
    token, served = make_token(index.folder, "t", "upload"), app()
    missing, cut, damaged, bare = (wheel(name) for name in ("missing", "cut", "damaged", "bare"))
    for made in (missing, cut, damaged, bare):
        upload(served, made, token)
    index.blobs.discard(missing.sha256)
    index.blobs.path(cut.sha256).write_bytes(cut.content[:100])
    index.blobs.path(damaged.sha256).write_bytes(b"x" * len(damaged.content))
    (entry,) = index.records.project("bare")
    index.blobs.discard(str(entry.core_metadata))
    assert len({fault.what for fault in verify(index.records, index.blobs)}) == 4
    for made in (missing, cut, damaged, bare):
        assert upload(served, made, token).headers["pinwheel-outcome"] == "already there"
    assert list(verify(index.records, index.blobs)) == []
    assert list(index.temporary.iterdir()) == []


# importing a pypiserver folder


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder as pypiserver has it: nested, with things in it that are no distributions."""
    folder = tmp_path / "packages"
    (folder / "nested").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for made, where in ((wheel("acme"), ""), (sdist("acme"), "nested"), (wheel("hidden"), ".hidden")):
        (folder / where / made.filename).write_bytes(made.content)
    (folder / "broken-1.0.tar.gz").write_bytes(b"half")
    (folder / "old-1.0.zip").write_bytes(b"zip")
    (folder / "README.txt").write_text("not a distribution")
    return folder


def test_a_pypiserver_folder_is_taken_over_and_a_second_time_nothing_changes(index: Stored, packages: Path) -> None:
    def taken() -> list[Imported]:
        publisher = Publisher(index.records, index.blobs, now)
        return list(import_folder(packages, index.temporary, index.records, publisher, Limits()))

    first = {imported.filename: imported.became for imported in taken()}
    assert first == {
        wheel("acme").filename: "published",
        sdist("acme").filename: "published",
        "broken-1.0.tar.gz": "refused",
        "old-1.0.zip": "refused",
    }
    assert [imported.became for imported in taken()].count("known") == 2
    assert [entry.filename for entry in index.records.project("acme")] == sorted(
        [wheel("acme").filename, sdist("acme").filename]
    )
    assert list(verify(index.records, index.blobs)) == []


def test_what_is_done_to_the_folder_later_does_not_touch_what_was_taken_over(index: Stored, packages: Path) -> None:
    publisher = Publisher(index.records, index.blobs, now)
    list(import_folder(packages, index.temporary, index.records, publisher, Limits()))
    old = packages / wheel("acme").filename
    assert old.stat().st_nlink == 1
    with old.open("r+b") as file:
        file.write(b"overwritten in place")
    assert list(verify(index.records, index.blobs)) == []
    assert list(index.temporary.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_a_folder_on_another_file_system_is_taken_over_too(index: Stored) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / wheel("acme").filename).write_bytes(wheel("acme").content)
        publisher = Publisher(index.records, index.blobs, now)
        (imported,) = import_folder(Path(folder), index.temporary, index.records, publisher, Limits())
    assert imported.became == "published"


def test_other_bytes_in_the_folder_do_not_replace_what_is_published(index: Stored, tmp_path: Path) -> None:
    def put(made: Made) -> list[Imported]:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        (folder / made.filename).write_bytes(made.content)
        publisher = Publisher(index.records, index.blobs, now)
        return list(import_folder(folder, index.temporary, index.records, publisher, Limits()))

    assert put(wheel("acme"))[0].became == "published"
    refused = put(wheel("acme", code="other = True"))[0]
    assert (refused.became, wheel("acme").sha256 in refused.reason) == ("refused", True)


def test_a_server_starts_on_a_pypiserver_folder_and_its_password_file(packages: Path, tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"ann:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}\n")
    flags = ("--packages", str(packages), "--htpasswd", str(passwords), "--workers", "1")
    with running.running(tmp_path / "data", *flags) as server:
        headers = running.authorization("pw", "ann") | JSON
        assert len(names(server.ask("GET", "/simple/acme/", headers=headers))) == 2
        assert any("2 published, 0 known, 2 refused" in line for line in server.log)
        assert any(line.startswith("refused old-1.0.zip: ") for line in server.log)
    assert len(list(packages.rglob("*.whl"))) == 2, "the folder is left as it was"
