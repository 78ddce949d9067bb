"""Whether the wheels that a lock brings are what somebody trusted says: asked here, before any host is.

The hashes of the lock are what is proven; that the bytes have them is checked on each host, by its installer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from packaging.utils import canonicalize_name
from packaging.version import Version

from pinwheel import config
from pinwheel.deploy.inventory import settings
from pinwheel.deploy.planning.lock import Pins
from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client import IndexFile
from pinwheel.packaging.proving import verify
from pinwheel.packaging.proving.proof import Judge, Proof, Trusted, Untrusted
from pinwheel.packaging.proving.signatures import AllowedSigners

ASKED_AT_ONCE = 8


class Unproven(PinwheelError):
    """A wheel of our own is not what a trusted statement says, or there is no such statement; nothing was touched."""

    def __init__(self, faults: Sequence[str], projects: Sequence[str], unknown_key: bool) -> None:
        files = "1 wheel" if len(faults) == 1 else f"{len(faults)} wheels"
        trust = "if you trust whoever holds that key, add it to packaging.allowed_signers; else " if unknown_key else ""
        super().__init__(
            f"{files} of the lock cannot be proven; nothing was touched",
            where="\n".join(faults),
            remedy=f"{trust}do not deploy it: `pinwheel packaging.verify {projects[0]}` says more;"
            " require_statements of the environment says what is demanded",
        )


class Shelf(verify.Shelf, Protocol):
    """The part of the index client that is needed here."""

    def projects(self) -> tuple[str, ...]: ...
    def own_files(self, project: str) -> tuple[IndexFile, ...]: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version comes from: the commit, and who has signed that (empty: nobody whom we asked about)."""

    commit: str = ""
    signer: str = ""


def judge(loaded: config.Loaded, name: str) -> Judge | None:
    """Who tells whether a signature counts in the environment `name`; None where nobody has to sign.

    Raises `UsageError`.
    """
    file = loaded.config.packaging.allowed_signers
    if settings.demanded(loaded.config, name) != "signed":
        return None
    if not file:
        raise UsageError(
            "statements must be signed, and nobody is named whose signature counts",
            where=loaded.place(f"environments.{name}.require_statements"),
            remedy="name a file in packaging.allowed_signers, or demand less",
        )
    return AllowedSigners(loaded.path(file))


def require(shelf: Shelf, project: str, pins: Pins, judge: Judge | None) -> Origin:
    """Prove every wheel of the index's own that is pinned; where `project`, which is one of them, comes from.

    With a judge of None it does not matter who signed. Raises `Unproven`.
    """
    ours = {canonicalize_name(each) for each in shelf.projects()} | {canonicalize_name(project)}
    own = [(name, version, digests) for (name, version), digests in pins.items() if name in ours]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        found = list(pool.map(lambda each: _proofs(shelf, each, judge), own))
    bad = [
        (name, version, each)
        for (name, version, _), some in zip(own, found, strict=True)
        for each in some
        if each.faults
    ]
    if bad:
        raise Unproven(
            [f"{each.filename}: {fault}{_key(each)}" for _, _, each in bad for fault in each.faults],
            [f"{name}=={version}" for name, version, _ in bad],
            any(isinstance(each.signer, Untrusted) for _, _, each in bad),
        )
    of_project = next(some for (name, *_), some in zip(own, found, strict=True) if name == canonicalize_name(project))
    return next((_origin(each) for each in of_project if each.statement), Origin())


def _proofs(shelf: Shelf, pinned: tuple[str, Version, frozenset[str]], judge: Judge | None) -> list[Proof]:
    name, version, digests = pinned
    files = [each for each in shelf.own_files(name) if each.sha256 in digests and each.filename.endswith(".whl")]
    if not files:
        missing = "the index has no wheel of its own with a hash that the lock pins"
        return [Proof(f"{name} {version}", "", faults=(missing,))]
    return verify.prove_version(shelf, name, files[0].version, files, judge)


def _origin(proof: Proof) -> Origin:
    commit = proof.statement.provenance.commit if proof.statement else ""
    return Origin(commit, proof.signer.name if isinstance(proof.signer, Trusted) else "")


def _key(proof: Proof) -> str:
    return f" ({proof.key})" if proof.key else ""
