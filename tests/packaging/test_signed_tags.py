"""Who signed a tag counts, and nothing else does: not its name, not the remote's word, not another signature."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.packaging.forge import Repository, Workshop, git, offered, tiny_files
from tests.packaging.servers import key_pair

from pinwheel.errors import UsageError
from pinwheel.packaging import statement
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.releasing.release import release
from pinwheel.packaging.repositories.git import Mirror
from pinwheel.packaging.repositories.signed_tags import NotSigned, verified
from pinwheel.packaging.work import Failure, Release, Wanted

pytestmark = [
    pytest.mark.slow,  # they are quick: but CI has ssh-keygen for the slow tests alone
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="needs openssh-client"),
]

MakeRepository = Callable[[str], Repository]


@dataclass(frozen=True, slots=True)
class Desk:
    """A repository in which Ada and Eve sign, its mirror, and the file that allows Ada."""

    remote: Repository
    mirror: Mirror
    signers: Path
    keys: Path

    def sign(self, tag: str, who: str = "ada", *options: str) -> None:
        key = f"user.signingKey={self.keys / who}"
        git(self.remote.folder, "-c", "gpg.format=ssh", "-c", key, "tag", "-s", "-m", "release", *options, tag)

    def resolve(self, ref: str) -> Resolved:
        resolved = self.mirror.resolve(offered(self.mirror), ref)
        self.mirror.fetch(resolved)
        return resolved

    def signer(self, ref: str) -> str:
        return verified(self.mirror, self.resolve(ref), self.signers).signer

    def refusal(self, ref: str) -> str:
        with pytest.raises(NotSigned) as caught:
            self.signer(ref)
        assert self.remote.address in caught.value.where
        assert caught.value.remedy
        return caught.value.problem


@pytest.fixture
def desk(make_repository: MakeRepository, tmp_path: Path) -> Desk:
    remote = make_repository("greet")
    remote.commit(tiny_files("acme-greet"))
    ada, _eve = (key_pair(tmp_path / "keys" / who) for who in ("ada", "eve"))
    signers = tmp_path / "signers"
    signers.write_text(f'ada@acme.example namespaces="git" {ada}\n')
    return Desk(remote, Mirror(remote.address, tmp_path / "cache"), signers, tmp_path / "keys")


def test_the_signer_is_named_with_the_key(desk: Desk) -> None:
    desk.sign("v1.0.0")
    assert desk.signer("v1.0.0").startswith("ada@acme.example SHA256:")


def test_a_tag_without_a_signature_is_refused_whatever_its_kind(desk: Desk) -> None:
    git(desk.remote.folder, "tag", "light")
    git(desk.remote.folder, "tag", "-m", "message", "annotated")
    assert "lightweight" in desk.refusal("light")
    assert "no SSH signature" in desk.refusal("annotated")
    assert "a commit id" in desk.refusal(desk.remote.head)
    assert desk.signer("main") == "", "a branch is built, and never released"


def test_somebody_who_may_not_sign_is_refused_with_the_key(desk: Desk) -> None:
    desk.sign("v1.0.0", "eve")
    assert "SHA256:" in desk.refusal("v1.0.0")
    desk.signers.write_text("")
    desk.sign("v1.0.1")
    assert "SHA256:" in desk.refusal("v1.0.1")


def test_a_key_counts_for_the_time_that_the_file_gives_it(desk: Desk) -> None:
    desk.sign("v1.0.0")  # on 2 January 2026
    line = desk.signers.read_text()
    desk.signers.write_text(line.replace("namespaces", 'valid-before="20260101",namespaces'))
    assert "not signed by an allowed signer" in desk.refusal("v1.0.0")
    desk.signers.write_text(line.replace("namespaces", 'valid-before="20260201",namespaces'))
    assert desk.signer("v1.0.0")


def test_a_tag_that_was_changed_after_signing_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.sign("v1.0.0")
    text = git(desk.remote.folder, "cat-file", "tag", "v1.0.0").replace("release", "changed") + "\n"
    (tmp_path / "tag").write_text(text)
    changed = git(desk.remote.folder, "hash-object", "-t", "tag", "-w", str(tmp_path / "tag"))
    git(desk.remote.folder, "update-ref", "refs/tags/v1.0.0", changed)
    assert "not signed by an allowed signer" in desk.refusal("v1.0.0")


def test_a_signed_tag_counts_for_no_other_name_and_no_other_commit(desk: Desk) -> None:
    desk.sign("v1.0.0")
    git(desk.remote.folder, "update-ref", "refs/tags/v2.0.0", "refs/tags/v1.0.0")
    assert "another tag" in desk.refusal("v2.0.0")
    resolved = desk.resolve("v1.0.0")
    other = desk.remote.commit({"evil.py": ""})
    desk.resolve(other)
    with pytest.raises(NotSigned, match="another commit"):
        verified(desk.mirror, replace(resolved, commit=other), desk.signers)


def test_another_kind_of_signature_at_the_end_does_not_count(desk: Desk) -> None:
    message = "-----BEGIN SSH SIGNATURE-----\nx\n-----END SSH SIGNATURE-----\n-----BEGIN PGP SIGNATURE-----\n\nx\n"
    git(desk.remote.folder, "tag", "-m", message + "-----END PGP SIGNATURE-----", "v1.0.0")
    assert "not signed by an allowed signer" in desk.refusal("v1.0.0")


def test_a_tag_that_is_signed_later_is_taken_as_it_is_now(desk: Desk) -> None:
    git(desk.remote.folder, "tag", "-m", "message", "v1.0.0")
    desk.refusal("v1.0.0")
    desk.sign("v1.0.0", "ada", "--force")
    assert desk.signer("v1.0.0")


def test_a_missing_file_of_signers_is_the_users_mistake(desk: Desk) -> None:
    desk.sign("v1.0.0")
    desk.signers.unlink()
    with pytest.raises(UsageError, match="no file of allowed signers"):
        desk.signer("v1.0.0")


def test_a_release_says_who_signed_its_tag_and_an_unsigned_one_publishes_nothing(
    desk: Desk, workshop: Workshop
) -> None:
    wanted = Wanted(desk.remote.address, name="acme-greet", declared=True, tag_signers=desk.signers)
    git(desk.remote.folder, "tag", "-m", "message", "v1.0.0")
    (refused,) = release([wanted], workshop.tools)
    assert isinstance(refused, Failure)
    assert isinstance(refused.error, NotSigned)
    assert workshop.shelf.blobs == {}
    desk.sign("v1.0.0", "ada", "--force")
    (made,) = release([wanted], workshop.tools)
    assert isinstance(made, Release)
    body = workshop.shelf.attachment("acme-greet", "1.0.0", f"{made.files[0].filename}.statement.json")
    assert body is not None
    assert "ada@acme.example SHA256:" in dict(statement.facts(statement.read(body)))["tag signed by"]
