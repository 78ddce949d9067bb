"""Whether a file is what its statement says, and whether somebody who is trusted says so. No I/O here.

The time that counts for a signer is when the index took the file, its statement and its signature, whichever was last:
the signer cannot forge that. Without an index it is the time that the statement names, and a stolen key can lie there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pinwheel.errors import PinwheelError
from pinwheel.packaging import statement
from pinwheel.packaging.statement import Claim, Paper, Statement

NAMESPACE = "pinwheel-statement"
"""What a signature is for, in OpenSSH's words: one that was made for something else, say a commit, does not count."""

ARMOUR = (b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----")
MAGIC = b"SSHSIG"


@dataclass(frozen=True, slots=True)
class Trusted:
    """`name` (as the file of allowed signers calls it) has signed, with the key of this fingerprint."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Untrusted:
    """The signature does not count, and why; `key` is the fingerprint, empty when the signature cannot be read."""

    problem: str
    key: str = ""


class Judge(Protocol):
    """Who tells whether a signature counts; `pinwheel.packaging.proving.signatures.AllowedSigners` is the real one."""

    def judge(self, paper: Paper, at: datetime) -> Trusted | Untrusted: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a file: its name, the sha256 of its bytes, the statement that came with it, and the times
    (RFC 3339) at which an index took these, none without an index."""

    filename: str
    sha256: str
    paper: Paper | None
    taken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of the evidence. `faults` is empty for a file that is what its statement says; `signer` is None when
    nobody signed, or when nobody was asked who may. `at` is the time that counted, said by whom. `statement` is None
    when there is none of a build from git: something else may still have been claimed."""

    filename: str
    sha256: str
    paper: Paper | None = None
    claim: Claim | None = None
    statement: Statement | None = None
    signer: Trusted | Untrusted | None = None
    at: str = ""
    at_says: Literal["index", "statement"] = "statement"
    faults: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The fingerprint of the key that signed, whoever that is; empty when nobody did."""
        try:
            return fingerprint(self.paper.signature) if self.paper and self.paper.signature else ""
        except ValueError:
            return ""

    @property
    def signed_by(self) -> str:
        """Who signed, for a person."""
        if isinstance(self.signer, Trusted):
            return f"{self.signer.name} ({self.key})"
        if isinstance(self.signer, Untrusted):
            return f"nobody who counts: {self.signer.problem}" + (f" ({self.key})" if self.key else "")
        return f"the key {self.key}; whose it is was not asked" if self.key else "nobody"

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        about = self.statement.provenance if self.statement else None
        return {
            "filename": self.filename,
            "sha256": self.sha256,
            "repository": about.repository if about else "",
            "tag": about.tag if about else "",
            "commit": about.commit if about else "",
            "signer": self.signer.name if isinstance(self.signer, Trusted) else "",
            "key": self.key,
            "time": self.at,
            "time_says": self.at_says,
            "faults": list(self.faults),
        }


class NotProven(PinwheelError):
    """A file is not what a trusted statement says, or there is no such statement."""

    def __init__(self, proofs: Sequence[Proof]) -> None:
        self.proofs = tuple(each for each in proofs if each.faults)
        super().__init__(
            f"{len(self.proofs)} of {len(proofs)} files cannot be proven",
            where="\n".join(f"{each.filename}: {fault}" for each in self.proofs for fault in each.faults),
            remedy="do not install them; `pinwheel packaging.explain` says where they claim to come from",
        )


def prove(evidence: Evidence, judge: Judge | None) -> Proof:
    """Compare the bytes with the statement, and the statement's signature with whom `judge` trusts; with a judge of
    None it does not matter who signed."""
    paper = evidence.paper
    if paper is None:
        return Proof(evidence.filename, evidence.sha256, faults=("has no statement",))
    try:
        claim = statement.claim(paper.body)
        at = max(_moment(each) for each in evidence.taken or (claim.finished,))
    except ValueError as error:
        return Proof(evidence.filename, evidence.sha256, paper, faults=(str(error),))
    faults = list(_differences(evidence, claim))
    signer: Trusted | Untrusted | None = None
    if judge is not None and not paper.signature:
        faults.append("nobody has signed its statement")
    elif judge is not None:
        signer = judge.judge(paper, at)
        faults += [signer.problem] if isinstance(signer, Untrusted) else []
    return Proof(
        evidence.filename,
        evidence.sha256,
        paper,
        claim,
        statement.of_build(paper.body),
        signer,
        at=at.isoformat(timespec="seconds"),
        at_says="index" if evidence.taken else "statement",
        faults=tuple(faults),
    )


def require(proofs: Sequence[Proof]) -> None:
    """Raise `NotProven` unless every one of `proofs` is without fault."""
    if any(each.faults for each in proofs):
        raise NotProven(proofs)


def key_of(signature: bytes) -> tuple[str, str]:
    """The public key inside an armoured SSH signature, as its type and base64 (so files of allowed signers have it).

    Raises `ValueError`. The format is OpenSSH's PROTOCOL.sshsig.
    """
    lines = signature.strip().splitlines()
    if len(lines) < 3 or (lines[0].strip(), lines[-1].strip()) != ARMOUR:
        raise ValueError("this is not an SSH signature")
    try:
        raw = base64.b64decode(b"".join(lines[1:-1]), validate=True)
        if not raw.startswith(MAGIC):
            raise ValueError("this is not an SSH signature")
        key, _rest = _string(raw[len(MAGIC) + 4 :])
        kind, _rest = _string(key)
        return kind.decode("ascii"), base64.b64encode(key).decode()
    except (binascii.Error, struct.error, UnicodeDecodeError) as error:
        raise ValueError("this is not an SSH signature") from error


def fingerprint(signature: bytes) -> str:
    """The fingerprint of the key that made the signature, as OpenSSH prints it. Raises `ValueError`."""
    _kind, key = key_of(signature)
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _differences(evidence: Evidence, said: Claim) -> Iterable[str]:
    if said.filename != evidence.filename:
        yield f"its statement is about another file, {said.filename}"
    if said.sha256 != evidence.sha256:
        yield f"has sha256 {evidence.sha256}, its statement is about {said.sha256}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"its time cannot be read: {text!r}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _string(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    if len(data) < 4 + length:
        raise ValueError("this is not an SSH signature")
    return data[4 : 4 + length], data[4 + length :]
