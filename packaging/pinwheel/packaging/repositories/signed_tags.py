"""Who signed a tag: git and ssh-keygen compare it with a file of allowed signers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePath

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.packaging.refs import Resolved
from pinwheel.packaging.repositories.git import Mirror, said
from pinwheel.packaging.work import Job

SIGNATURE = "-----BEGIN SSH SIGNATURE-----"
GOOD = re.compile(r'^Good "git" signature for (?P<who>.+) with \S+ key (?P<key>SHA256:\S+)$', re.MULTILINE)
NO_OTHER_KIND = ("gpg.program=false", "gpg.x509.program=false")
SIGN = (
    "sign it: git -c gpg.format=ssh -c user.signingKey=KEY.pub tag -s TAG COMMIT; one that was pushed unsigned is"
    " deleted first: git push --delete origin TAG"
)


class NotSigned(PinwheelError):
    """The tag carries no signature, or none by somebody whom the project allows to sign."""


def with_signer(job: Job, mirror: Mirror) -> Job:
    """The job, with who signed its tag when the project asks for it. Raises `NotSigned`."""
    if job.wanted.tag_signers is None:
        return job
    return replace(job, resolved=verified(mirror, job.resolved, job.wanted.tag_signers))


def verified(mirror: Mirror, resolved: Resolved, signers: PurePath) -> Resolved:
    """The tag, which has been fetched, with who signed it: somebody in the file `signers`, as ssh-keygen's ALLOWED
    SIGNERS describes it, in which a key can be valid for a time; the time that counts is the tag's.

    A branch goes through, since nothing is released from it. Raises `NotSigned`.
    """
    if resolved.kind == "branch":
        return resolved
    where = f"{resolved.tag or resolved.commit} in {mirror.address}"
    if not Path(signers).is_file():
        raise UsageError("there is no file of allowed signers", where=str(signers), remedy="correct tag_signers")
    if resolved.kind == "commit":
        raise NotSigned("a commit id names no signed tag, and the project asks for one", where=where, remedy=SIGN)
    if resolved.tag_object == resolved.commit:
        raise NotSigned("a lightweight tag has no signature, and the project asks for one", where=where, remedy=SIGN)
    mirror.bring_tag_object(resolved)
    _check_subject(mirror, resolved, where)
    if SIGNATURE not in mirror.git("cat-file", "tag", resolved.tag_object).output:
        raise NotSigned("the tag carries no SSH signature, and the project asks for one", where=where, remedy=SIGN)
    settings = (f"gpg.ssh.allowedSignersFile={signers}", *NO_OTHER_KIND)
    options = [word for setting in settings for word in ("-c", setting)]
    done = mirror.git(*options, "verify-tag", resolved.tag_object, check=False)
    good = GOOD.search(done.errors)
    if done.exit_code or not good:
        raise NotSigned(
            f"the tag is not signed by an allowed signer: {said(done.errors)}",
            where=where,
            remedy=f"find out who signed it and what it holds; somebody who may sign gets a line in {signers}",
        )
    return replace(resolved, signer=f"{good['who']} {good['key']}")


def _check_subject(mirror: Mirror, resolved: Resolved, where: str) -> None:
    """Compare what was signed with what it is used for: a signed tag can be hung up under another name, and until now
    the remote alone said to which commit it leads."""
    head = mirror.git("cat-file", "tag", resolved.tag_object).output.partition("\n\n")[0]
    commit = mirror.git("rev-parse", f"{resolved.tag_object}^{{commit}}").output.strip()
    if f"tag {resolved.tag}" not in head.splitlines() or commit != resolved.commit:
        raise NotSigned(
            "what was signed is another tag, or leads to another commit",
            where=f"{where}\n{head}",
            remedy="find out who pushed this tag; make and sign a new one",
        )
