"""Where a file comes from, as a document: an in-toto v1 Statement with a SLSA v1 provenance predicate. No I/O here.

It is stored beside the file's version in the index as `<filename>.statement.json`, and beside it the signature over
these very bytes, when somebody signed them. The signature's name tells which bytes it is about: it is stored first, so
that a statement which can be seen has its signature, whoever else stores another one at the same time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pinwheel.packaging.inspection.findings import Allowance

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:pinwheel:build:v1"
BUILDER = "urn:pinwheel:builder:local"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A distribution in a build environment. `sha256` is that of the wheel it was installed from; empty when that
    is not known, as in statements from before it was kept."""

    name: str
    version: str
    sha256: str = ""

    def document(self) -> dict[str, Any]:
        """The form in a list of `resolvedDependencies`."""
        uri = f"pkg:pypi/{self.name}@{self.version}"
        return {"uri": uri, "digest": {"sha256": self.sha256}} if self.sha256 else {"uri": uri}

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a statement says. `epoch` is the commit's time in seconds since 1970; `dependencies` are the build
    environment's distributions; `network` is "none" when the backend had none, else "open";
    `allowed` is what the inspection found and the project allows itself; `started` and `finished` are RFC 3339 in UTC.
    `tag_signer` is who signed the tag, when that was asked for and verified."""

    repository: str
    ref: str
    commit: str
    tag: str = ""
    tag_object: str = ""
    tree: str = ""
    subdirectory: str = ""
    epoch: int = 0
    python: str = ""
    builder: str = ""
    normaliser: str = ""
    network: str = "open"
    dependencies: tuple[Dependency, ...] = ()
    allowed: tuple[Allowance, ...] = ()
    started: str = ""
    finished: str = ""
    tag_signer: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A file by name and sha256, and where it comes from."""

    filename: str
    sha256: str
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Claim:
    """What every statement says, whatever kind of making it tells of: about which file, and when that was finished
    (RFC 3339)."""

    filename: str
    sha256: str
    finished: str


@dataclass(frozen=True, slots=True)
class Paper:
    """A statement as it is stored: its bytes, and an SSH signature over them (empty: nobody signed)."""

    body: bytes
    signature: bytes = b""


def attachment_name(filename: str) -> str:
    """What the file's statement is called beside its version, and beside the file in a folder."""
    return f"{filename}.statement.json"


def signature_name(filename: str, body: bytes) -> str:
    """What the signature of the file's statement `body` is called beside its version."""
    return f"{attachment_name(filename)}.{hashlib.sha256(body).hexdigest()[:16]}.sig"


def signature_beside(filename: str) -> str:
    """What the signature of the file's statement is called in a folder."""
    return f"{attachment_name(filename)}.sig"


def write(statement: Statement) -> bytes:
    """The document, ready to be signed and stored."""
    about = statement.provenance
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": statement.filename, "digest": {"sha256": statement.sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": about.repository,
                    "ref": about.ref,
                    "tag": about.tag,
                    "subdirectory": about.subdirectory,
                },
                "internalParameters": {
                    "sourceDateEpoch": about.epoch,
                    "python": about.python,
                    "normaliser": about.normaliser,
                    "network": about.network,
                    "allowed": [
                        {"rule": each.rule, "file": each.file, "reason": each.reason} for each in about.allowed
                    ],
                    "tagSigner": about.tag_signer,
                },
                "resolvedDependencies": [
                    {
                        "uri": f"git+{_uri(about.repository)}@{about.ref}",
                        "digest": {"gitCommit": about.commit, "gitTree": about.tree}
                        | ({"gitTag": about.tag_object} if about.tag_object else {}),
                    },
                    *(each.document() for each in about.dependencies),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"pinwheel": about.builder}},
                "metadata": {"startedOn": about.started, "finishedOn": about.finished},
            },
        },
    }
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def read(body: bytes) -> Statement:
    """Read `write()` back. Raises `ValueError` for anything that is not such a document."""
    try:
        document = json.loads(body.decode())
        subject = document["subject"][0]
        definition = document["predicate"]["buildDefinition"]
        run = document["predicate"]["runDetails"]
        outside, inside = definition["externalParameters"], definition["internalParameters"]
        git, *packages = definition["resolvedDependencies"]
        return Statement(
            subject["name"],
            subject["digest"]["sha256"],
            Provenance(
                repository=outside["repository"],
                ref=outside["ref"],
                commit=git["digest"]["gitCommit"],
                tag=outside["tag"],
                tag_object=git["digest"].get("gitTag", ""),
                tree=git["digest"]["gitTree"],
                subdirectory=outside["subdirectory"],
                epoch=inside["sourceDateEpoch"],
                python=inside["python"],
                builder=run["builder"]["version"]["pinwheel"],
                normaliser=inside["normaliser"],
                network=inside["network"],
                dependencies=tuple(map(dependency, packages)),
                allowed=tuple(Allowance(**each) for each in inside.get("allowed", ())),
                started=run["metadata"]["startedOn"],
                finished=run["metadata"]["finishedOn"],
                tag_signer=inside.get("tagSigner", ""),
            ),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is not a statement of pinwheel's: {error!r}") from error


def of_build(body: bytes) -> Statement | None:
    """What a statement says of a build from git; None when it is about something else."""
    try:
        return read(body)
    except ValueError:
        return None


def claim(body: bytes) -> Claim:
    """Read what an in-toto statement about one file with SLSA provenance claims. Raises `ValueError`."""
    try:
        document = json.loads(body.decode())
        if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError(document["predicateType"])
        (subject,) = document["subject"]
        finished = document["predicate"]["runDetails"]["metadata"]["finishedOn"]
        return Claim(str(subject["name"]), str(subject["digest"]["sha256"]), str(finished))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is not a statement about a file: {error!r}") from error


def dependency(document: dict[str, Any]) -> Dependency:
    """Read `Dependency.document()` back. Raises `KeyError`, or what comes of a document of another shape."""
    name, _, version = document["uri"].removeprefix("pkg:pypi/").partition("@")
    return Dependency(name, version, document.get("digest", {}).get("sha256", ""))


def facts(statement: Statement) -> Sequence[tuple[str, str]]:
    """What a person wants to know, as pairs of label and text."""
    about = statement.provenance
    rows = [
        ("file", statement.filename),
        ("sha256", statement.sha256),
        ("repository", about.repository),
        ("subdirectory", about.subdirectory),
        ("tag", about.tag),
        ("tag signed by", about.tag_signer),
        ("commit", about.commit),
        ("tree", about.tree),
        ("built", about.finished),
        ("python", about.python),
        ("builder", f"pinwheel {about.builder}, normaliser {about.normaliser}"),
        ("network", about.network),
        ("build environment", ", ".join(map(str, about.dependencies))),
        *(("allowed", f"{each.rule} in {each.file}: {each.reason}") for each in about.allowed),
    ]
    return [(label, text) for label, text in rows if text]


def _uri(repository: str) -> str:
    return f"file://{repository}" if repository.startswith("/") else repository
