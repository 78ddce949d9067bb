"""A file is proven by its bytes, its statement, and a signer who was allowed at the time; nothing else will do. The
signatures are OpenSSH's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.forked import command
from tests.packaging.forge import Shelf
from tests.packaging.signing import Key, make_key, needs_ssh_keygen

from pinwheel.errors import UsageError
from pinwheel.packaging import statement
from pinwheel.packaging.proving import proof
from pinwheel.packaging.proving.proof import NotProven, Proof, Trusted
from pinwheel.packaging.proving.signatures import AllowedSigners, CannotSign, Signer, signer
from pinwheel.packaging.proving.verify import prove_bytes, prove_file, prove_version
from pinwheel.packaging.publishing import papers
from pinwheel.packaging.publishing.publish import Artifact, publish, sha256_of
from pinwheel.packaging.statement import Paper, Provenance, Statement

pytestmark = needs_ssh_keygen

ROOT = Path(__file__).resolve().parent.parent.parent
WHEEL = "acme-1.0-py3-none-any.whl"
BEFORE, AFTER = "2026-03-01T12:00:00+00:00", "2026-09-01T12:00:00+00:00"
OURS = Provenance("/srv/acme.git", "refs/tags/v1.0", "a" * 40, tag="v1.0", finished=BEFORE)


@pytest.fixture(scope="module")
def ann(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys") / "ann")


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("keys") / "bob")


def allow(folder: Path, *lines: str) -> AllowedSigners:
    file = folder / "allowed_signers"
    file.write_text("".join(f"{line}\n" for line in lines))
    return AllowedSigners(file)


def made(folder: Path, key: Key | None, *, finished: str = BEFORE) -> Artifact:
    """A built file with its statement beside it, as packaging.build leaves them."""
    wheel = folder / WHEEL
    wheel.write_bytes(b"the wheel")
    sha256 = sha256_of(wheel)
    body = statement.write(Statement(WHEEL, sha256, replace(OURS, finished=finished)))
    paper = Paper(body, key.signer.sign(body) if key else b"")
    for name, content in papers.documents(WHEEL, paper).items():
        (folder / name).write_bytes(content)
    return Artifact(wheel, "acme", "1.0", sha256, paper)


def fault(proven: Proof) -> str:
    (only,) = proven.faults
    return only


def test_a_file_is_good_when_somebody_who_may_has_signed(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    proven = prove_file(wheel, allow(tmp_path, f"ann@acme.example {ann.public}"))
    assert proven.faults == ()
    assert isinstance(proven.signer, Trusted)
    assert proven.signer.name == "ann@acme.example"
    listed = subprocess.run(("ssh-keygen", "-l", "-f", ann.path), capture_output=True, text=True, check=True).stdout
    assert proven.key == proven.signer.key == listed.split()[1]
    assert proven.statement is not None
    assert proven.statement.provenance.commit == "a" * 40
    assert (proven.at, proven.at_says) == (BEFORE, "statement")
    proof.require([proven])


def test_ssh_keygen_alone_verifies_the_stored_bytes_by_the_command_of_the_docs(tmp_path: Path, ann: Key) -> None:
    made(tmp_path, ann)
    allow(tmp_path, f"ann@acme.example {ann.public}")
    page = (ROOT / "docs" / "packaging.md").read_text()
    (command,) = re.findall(r"^\$ (ssh-keygen -Y verify .*)$", page, re.MULTILINE)
    command = command.replace("ci@acme.example", "ann@acme.example").replace("../", "")
    command = re.sub(r"acme_greet-\S+?\.whl", WHEEL, command)
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 0, done.stderr
    assert 'Good "pinwheel-statement" signature for ann@acme.example' in done.stdout


def test_other_bytes_are_refused(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    wheel.write_bytes(b"another wheel")
    proven = prove_file(wheel, allow(tmp_path, f"ann {ann.public}"))
    assert "its statement is about" in fault(proven)
    with pytest.raises(NotProven, match="1 of 1 files") as caught:
        proof.require([proven])
    assert caught.value.where == f"{WHEEL}: {fault(proven)}"


def test_the_statement_of_another_file_does_not_count(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    other = tmp_path / "other-1.0-py3-none-any.whl"
    shutil.copy(wheel, other)
    for name in (statement.attachment_name, statement.signature_beside):
        shutil.copy(tmp_path / name(WHEEL), tmp_path / name(other.name))
    assert "another file" in fault(prove_file(other, allow(tmp_path, f"ann {ann.public}")))


def test_a_statement_that_was_changed_is_refused(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    beside = tmp_path / statement.attachment_name(WHEEL)
    judge = allow(tmp_path, f"ann {ann.public}")
    whole = beside.read_bytes()
    beside.write_bytes(whole.replace(b"a" * 40, b"b" * 40))
    assert fault(prove_file(wheel, judge)) == "its statement is not what was signed"
    for nonsense in (b"{}", whole.decode().encode("utf-16"), whole[:-20]):
        beside.write_bytes(nonsense)
        assert "not a statement" in fault(prove_file(wheel, judge))


def test_a_statement_of_another_making_counts_for_its_file(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    beside = tmp_path / statement.attachment_name(WHEEL)
    document = json.loads(beside.read_bytes())
    document["predicate"]["buildDefinition"] = {"buildType": "urn:acme:vendored", "externalParameters": {}}
    beside.write_text(json.dumps(document))
    (tmp_path / statement.signature_beside(WHEEL)).write_bytes(ann.signer.sign(beside.read_bytes()))
    proven = prove_file(wheel, allow(tmp_path, f"ann {ann.public}"))
    assert (proven.faults, proven.statement) == ((), None)
    assert proven.claim is not None
    wheel.write_bytes(b"another wheel")
    assert "its statement is about" in fault(prove_file(wheel, allow(tmp_path, f"ann {ann.public}")))
    document["subject"] *= 2
    beside.write_text(json.dumps(document))
    assert "not a statement about a file" in fault(prove_file(wheel, None))


def test_a_signature_that_is_none_is_refused(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    beside = tmp_path / statement.signature_beside(WHEEL)
    whole = beside.read_bytes().splitlines()
    for nonsense in (b"x", b"\n".join([whole[0], b"AAAA", whole[-1]]), b"\n".join([whole[0], b"!", whole[-1]])):
        beside.write_bytes(nonsense)
        proven = prove_file(wheel, allow(tmp_path, f"ann {ann.public}"))
        assert "cannot be read" in fault(proven)
        assert proven.key == ""


def test_an_unknown_signer_is_refused(tmp_path: Path, ann: Key, bob: Key) -> None:
    wheel = made(tmp_path, bob).path
    proven = prove_file(wheel, allow(tmp_path, f"ann {ann.public}"))
    assert fault(proven) == "signed by an unknown key"
    assert proven.key.startswith("SHA256:")
    assert "nobody who counts" in proven.signed_by


def test_without_a_statement_or_a_signature_nothing_is_proven(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, None).path
    judge = allow(tmp_path, f"ann {ann.public}")
    assert fault(prove_file(wheel, judge)) == "nobody has signed its statement"
    assert prove_file(wheel, None).faults == (), "nobody asked who signed"
    assert prove_file(wheel, None).signed_by == "nobody"
    (tmp_path / statement.attachment_name(WHEEL)).unlink()
    for each in (judge, None):
        assert fault(prove_file(wheel, each)) == "has no statement"


def test_a_signature_for_something_else_does_not_count(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    proven = prove_file(wheel, allow(tmp_path, f'ann namespaces="git" {ann.public}'))
    assert fault(proven) == "ann may not sign statements (namespaces=)"
    body = tmp_path / statement.attachment_name(WHEEL)
    argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(ann.path), "-n", "git", str(body))
    (tmp_path / statement.signature_beside(WHEEL)).unlink()
    subprocess.run(argv, check=True, capture_output=True)
    assert fault(prove_file(wheel, allow(tmp_path, f"ann {ann.public}"))) == "its statement is not what was signed"


@pytest.mark.parametrize(
    ("option", "good"),
    [
        ('valid-before="20260401"', True),
        ('valid-before="20260301120001"', True),
        ('valid-before="20260301115959"', False),
        ('valid-before="20260101"', False),
        ('valid-after="20260101"', True),
        ('valid-after="20260401"', False),
    ],
)
def test_a_key_counts_within_its_time_which_is_in_utc(
    option: str, good: bool, tmp_path: Path, ann: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    wheel = made(tmp_path, ann).path
    proven = prove_file(wheel, allow(tmp_path, f"ann {option} {ann.public}"))
    refused = ("signed by a key that was not allowed at 2026-03-01 12:00:00 UTC",)
    assert proven.faults == (() if good else refused)


def test_a_rotated_key_leaves_what_it_signed_before_and_signs_nothing_after(tmp_path: Path, ann: Key, bob: Key) -> None:
    judge = allow(tmp_path, f'ann valid-before="20260601" {ann.public}', f'ann valid-after="20260601" {bob.public}')
    for key, finished, good in ((ann, BEFORE, True), (bob, AFTER, True), (ann, AFTER, False), (bob, BEFORE, False)):
        assert bool(prove_file(made(tmp_path, key, finished=finished).path, judge).faults) != good


def test_the_command_says_what_it_found_and_exits_by_it(tmp_path: Path, ann: Key) -> None:
    wheel = made(tmp_path, ann).path
    allow(tmp_path, f"ann {ann.public}")
    words = ("packaging.verify", wheel.name, "--allowed-signers", "allowed_signers")
    good = command(*words, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[:2] == [f"{WHEEL}: good", f"  from commit {'a' * 40}, tag v1.0"]
    told = command("packaging.explain", wheel.name, "--json", cwd=tmp_path)
    (about,) = json.loads(told.stdout)["files"]
    assert (about["commit"], about["signer"], about["key"][:7]) == ("a" * 40, "", "SHA256:")
    assert "who signed is not judged" in told.stderr
    wheel.write_bytes(b"another wheel")
    bad = command(*words, "--json", cwd=tmp_path)
    document = json.loads(bad.stdout)
    assert (bad.returncode, document["verified"]) == (1, False)
    assert document["files"][0]["faults"][0] in bad.stderr
    gone = command("packaging.verify", "gone.whl", cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (2, "")


# the index


def released(shelf: Shelf, folder: Path, key: Key, *, finished: str = BEFORE) -> None:
    publish(shelf, shelf.upload, [made(folder, key, finished=finished)])


def proven(shelf: Shelf, judge: AllowedSigners) -> Proof:
    (only,) = prove_version(shelf, "acme", "1.0", shelf.own_files("acme"), judge)
    return only


def test_a_version_is_proven_by_the_index(tmp_path: Path, ann: Key) -> None:
    shelf = Shelf(now=BEFORE)
    released(shelf, tmp_path, ann)
    found = proven(shelf, allow(tmp_path, f"ann {ann.public}"))
    assert (found.faults, found.at, found.at_says) == ((), BEFORE, "index")
    (file,) = shelf.own_files("acme")
    assert prove_bytes(shelf, file, found) == found


def test_a_revoked_key_counts_for_what_the_index_took_before(tmp_path: Path, ann: Key) -> None:
    """Whatever time a statement names, which a thief can choose."""
    old, new = Shelf(now=BEFORE), Shelf(now=AFTER)
    judge = allow(tmp_path, f'ann valid-before="20260601" {ann.public}')
    for shelf, finished in ((old, AFTER), (new, BEFORE)):
        released(shelf, tmp_path, ann, finished=finished)
    assert proven(old, judge).faults == ()
    assert fault(proven(new, judge)) == "signed by a key that was not allowed at 2026-09-01 12:00:00 UTC"


def test_a_thief_cannot_tell_another_story_of_an_old_file(tmp_path: Path, ann: Key) -> None:
    shelf = Shelf(now=BEFORE)
    released(shelf, tmp_path, ann)
    judge = allow(tmp_path, f'ann valid-before="20260601" {ann.public}')
    assert proven(shelf, judge).faults == ()
    story = statement.write(Statement(WHEEL, sha256_of(tmp_path / WHEEL), replace(OURS, commit="b" * 40)))
    shelf.now = AFTER
    shelf.put_attachment("acme", "1.0", statement.signature_name(WHEEL, story), ann.signer.sign(story))
    shelf.put_attachment("acme", "1.0", statement.attachment_name(WHEEL), story)
    assert fault(proven(shelf, judge)).startswith("signed by a key that was not allowed at 2026-09-01")


def test_a_statement_can_be_signed_again_with_a_newer_key(tmp_path: Path, ann: Key, bob: Key) -> None:
    shelf = Shelf(now=BEFORE)
    released(shelf, tmp_path, ann)
    body = (tmp_path / statement.attachment_name(WHEEL)).read_bytes()
    shelf.now = AFTER
    shelf.put_attachment("acme", "1.0", statement.signature_name(WHEEL, body), bob.signer.sign(body))
    assert proven(shelf, allow(tmp_path, f'bob valid-after="20260601" {bob.public}')).faults == ()


def test_bytes_that_the_index_does_not_list_are_found_when_they_are_fetched(tmp_path: Path, ann: Key) -> None:
    from pinwheel.index.client import Damaged, IndexFile

    class Rotten(Shelf):
        def download(self, file: IndexFile, into: Path) -> Path:
            raise Damaged("arrived with another sha256")

    shelf = Rotten(now=BEFORE)
    made_here = made(tmp_path, ann)
    shelf.upload(made_here.path)
    assert made_here.paper is not None
    papers.store(shelf, "acme", "1.0", WHEEL, made_here.paper)
    found = proven(shelf, allow(tmp_path, f"ann {ann.public}"))
    (file,) = shelf.own_files("acme")
    assert fault(prove_bytes(shelf, file, found)) == "arrived with another sha256"


# signing


def test_a_key_that_cannot_sign_is_one_clear_error(tmp_path: Path) -> None:
    locked = make_key(tmp_path / "locked", "a passphrase")
    for path in (locked.path, tmp_path / "none"):
        with pytest.raises(CannotSign) as caught:
            Signer(path, {"PATH": os.environ["PATH"]}).check()
        assert caught.value.where == str(path)
        assert "ssh-agent" in caught.value.remedy


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """The socket of an ssh-agent."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    socket = str(tmp_path / "agent")
    running = subprocess.Popen(("ssh-agent", "-D", "-a", socket), stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.readline()  # once it listens
    yield socket
    running.terminate()
    running.communicate()


def test_a_public_key_stands_for_the_private_one_in_the_agent(tmp_path: Path, agent: str) -> None:
    key = make_key(tmp_path / "held")
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(("ssh-add", "-q", str(key.path)), env=env, check=True, capture_output=True)
    key.path.unlink()
    body = statement.write(Statement(WHEEL, "0" * 64, OURS))
    signature = Signer(key.path.with_suffix(".pub"), env).sign(body)
    judged = allow(tmp_path, f"held {key.public}").judge(Paper(body, signature), proof._moment(BEFORE))
    assert isinstance(judged, Trusted)


def test_nobody_signs_without_a_key_or_without_ssh_keygen(tmp_path: Path) -> None:
    assert signer("") is None
    assert signer(str(tmp_path / "key"), {"PATH": str(tmp_path)}) is None
    assert signer(str(tmp_path / "key")) is not None


def test_allowed_signers_that_cannot_be_read_are_no_empty_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="allowed signers"):
        AllowedSigners(tmp_path / "gone")
