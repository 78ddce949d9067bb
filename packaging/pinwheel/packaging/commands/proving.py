"""`pinwheel packaging.explain` and `packaging.verify`: where files come from, and whether that is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Context, task

from pinwheel.packaging.commands.options import JSON, client_of, judge_of, paths_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinwheel.config import Loaded
    from pinwheel.packaging.proving.proof import Judge, Proof

WHAT = {"what": "a version in the index, as in acme-shop==1.2.0, or the PATH of a file with its statement beside it"}
SIGNERS = {"allowed-signers": "FILE of those who may sign, as ssh-keygen reads it (default: packaging.allowed_signers)"}


@task(help=WHAT | JSON)
def explain(_context: Context, what: str, json: bool = False) -> None:
    """Say where a version's files come from: repository, tag, commit, build environment, signer.

    So their statements tell. Of a version in the index also: which channels show it, and which projects need it.

    Example:
      pinwheel packaging.explain acme-shop==1.2.0
    """
    import json as to_json

    from pinwheel import config, console
    from pinwheel.packaging.proving import explain as explaining

    loaded = config.load()
    judge = judge_of(loaded)
    about: dict[str, Any] = {}
    if _is_file(what):
        proofs = [_of_file(what, judge)]
    else:
        project, version, proofs = _of_version(loaded, what, judge)
        client = client_of(loaded)
        shown, needed_by = (
            explaining.channels(client, project, version),
            explaining.dependents(client, project, version),
        )
        about = {"name": project, "version": version, "channels": shown}
        about["needed_by"] = [each.document() for each in needed_by]
    if json:
        about["files"] = [each.document() for each in proofs]
        about["statements"] = [to_json.loads(each.paper.body) for each in proofs if each.paper and each.claim]
        about["without"] = [each.filename for each in proofs if not each.claim]
        console.document(about)
        return
    for each in proofs:
        if each.claim is None:
            console.data(f"{each.filename}: has no statement; it was not built by packaging.release")
            continue
        for label, text in _facts(each):
            console.data(f"{label}: {text}")
        console.data(f"signed by: {each.signed_by}\n")
    if about:
        console.data(f"channels: {', '.join(shown)}")
        for other in needed_by:
            unfit = "" if other.fits else f", not {version}"
            console.data(f"needed by: {other.name} {other.version} ({other.requirement}{unfit})")


@task(help=WHAT | SIGNERS | JSON)
def verify(_context: Context, what: str, allowed_signers: str = "", json: bool = False) -> None:
    """Check that files are what their statements say, and that somebody who may has signed these.

    A file is checked with the statement and the signature beside it, offline. Of a version in the index every file is
    fetched and hashed. Exits 1 for other bytes, a statement that is missing or was changed, an unknown signer, and a
    key that was not allowed at the time.

    Example:
      pinwheel packaging.verify dist/acme_greet-1.0.0-py3-none-any.whl
      pinwheel packaging.verify acme-shop==1.2.0 --allowed-signers allowed_signers
    """
    from pinwheel import config, console
    from pinwheel.packaging.proving.proof import require

    loaded = config.load()
    judge = judge_of(loaded, allowed_signers)
    if _is_file(what):
        proofs = [_of_file(what, judge)]
    else:
        _project, _version, proofs = _of_version(loaded, what, judge, read_bytes=True)
    if json:
        verified = not any(each.faults for each in proofs)
        console.document({"verified": verified, "files": [each.document() for each in proofs]})
    else:
        for each in proofs:
            console.data(f"{each.filename}: {'; '.join(each.faults) or 'good'}")
            if each.statement:
                about = each.statement.provenance
                console.data(f"  from commit {about.commit}, {f'tag {about.tag}' if about.tag else 'no tag'}")
            if each.claim:
                console.data(f"  signed by {each.signed_by}")
                console.data(f"  at {each.at}, as the {each.at_says} says")
    require(proofs)


def _facts(proof: Proof) -> Sequence[tuple[str, str]]:
    """What a file's statement says, whoever wrote it."""
    from pinwheel.packaging import statement
    from pinwheel.packaging.locking import vendored

    if proof.statement:
        return statement.facts(proof.statement)
    if proof.paper and (taken := vendored.of(proof.paper.body)):
        return vendored.facts(taken)
    return [("file", proof.filename), ("sha256", proof.sha256), ("made", proof.claim.finished if proof.claim else "")]


def _is_file(what: str) -> bool:
    return what.endswith((".whl", ".tar.gz"))


def _of_file(what: str, judge: Judge | None) -> Proof:
    from pinwheel.packaging.proving.verify import prove_file

    (path,) = paths_of([what])
    return prove_file(path, judge)


def _of_version(
    loaded: Loaded, what: str, judge: Judge | None, *, read_bytes: bool = False
) -> tuple[str, str, list[Proof]]:
    """The project's name, its version as the index spells it, and what can be proven of each file. Raises
    `PinwheelError` when the index has no such version."""
    from pinwheel.packaging.locking import lock as locking
    from pinwheel.packaging.proving.verify import prove_bytes, prove_version
    from pinwheel.packaging.publishing.publish import standing

    client = client_of(loaded)
    project, version = locking.parse_pin(what)
    locking.check_released(client, project, version)
    files = standing(client, project, str(version))
    proofs = prove_version(client, project, str(version), list(files.values()), judge)
    if read_bytes:
        proofs = [prove_bytes(client, files[each.filename], each) for each in proofs]
    return project, next(iter(files.values())).version, proofs
