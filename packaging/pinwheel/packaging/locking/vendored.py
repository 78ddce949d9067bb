"""Where a third party's file in our index comes from, as a document: an in-toto v1 Statement like those of our own
builds, whose source is a file of another index instead of a commit. No I/O here.

A file is taken as it is, or built here from an sdist; the statement says which, and the sha256 of what it came from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from pinwheel.packaging.statement import BUILDER, PREDICATE_TYPE, STATEMENT_TYPE, Dependency, dependency

VENDOR_TYPE = "urn:pinwheel:vendor:v1"


@dataclass(frozen=True, slots=True)
class BuiltHere:
    """How a wheel was made of an sdist: `epoch` is that of the sdist's newest file, in seconds since 1970;
    `network` is "none" when the backend had none, else "open"; `dependencies` are the build environment's
    distributions."""

    epoch: int
    python: str
    normaliser: str
    network: str
    dependencies: tuple[Dependency, ...]


@dataclass(frozen=True, slots=True)
class Vendored:
    """A file by name and sha256, and the one that it came from: `source` on `index`, with `source_sha256`.

    `built` is None when it is that very file. `builder` is pinwheel's version, `at` RFC 3339 in UTC.
    """

    name: str
    version: str
    filename: str
    sha256: str
    index: str
    source: str
    source_sha256: str
    builder: str
    at: str
    built: BuiltHere | None = None


def write(about: Vendored) -> bytes:
    """The document, ready to be stored."""
    built = about.built
    source = f"pkg:pypi/{canonicalize_name(about.name)}@{quote(about.version)}?file_name={quote(about.source)}"
    inside: dict[str, Any] = {}
    if built:
        inside = {"sourceDateEpoch": built.epoch, "python": built.python, "normaliser": built.normaliser}
        inside["network"] = built.network
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": about.filename, "digest": {"sha256": about.sha256}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": VENDOR_TYPE,
                "externalParameters": {"index": about.index, "built": built is not None},
                "internalParameters": inside,
                "resolvedDependencies": [
                    {"uri": source, "digest": {"sha256": about.source_sha256}},
                    *(each.document() for each in (built.dependencies if built else ())),
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"pinwheel": about.builder}},
                "metadata": {"finishedOn": about.at},
            },
        },
    }
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def read(body: bytes) -> Vendored:
    """Read `write()` back. Raises `ValueError` for anything else, the statements of our own builds too."""
    try:
        document = json.loads(body)
        subject = document["subject"][0]
        definition = document["predicate"]["buildDefinition"]
        run = document["predicate"]["runDetails"]
        if definition["buildType"] != VENDOR_TYPE:
            raise ValueError(definition["buildType"])
        outside, inside = definition["externalParameters"], definition["internalParameters"]
        source, *packages = definition["resolvedDependencies"]
        what, _, filename = source["uri"].partition("?file_name=")
        name, version = _package(what)
        built = None
        if outside["built"]:
            dependencies = tuple(map(dependency, packages))
            epoch, python = inside["sourceDateEpoch"], inside["python"]
            built = BuiltHere(epoch, python, inside["normaliser"], inside["network"], dependencies)
        return Vendored(
            name=name,
            version=version,
            filename=subject["name"],
            sha256=subject["digest"]["sha256"],
            index=outside["index"],
            source=unquote(filename),
            source_sha256=source["digest"]["sha256"],
            builder=run["builder"]["version"]["pinwheel"],
            at=run["metadata"]["finishedOn"],
            built=built,
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is not a statement of vendoring: {error!r}") from error


def of(body: bytes) -> Vendored | None:
    """What a statement of vendoring says; None for one of another kind."""
    try:
        return read(body)
    except ValueError:
        return None


def facts(about: Vendored) -> Sequence[tuple[str, str]]:
    """What a person wants to know, as pairs of label and text."""
    rows = [
        ("file", about.filename),
        ("sha256", about.sha256),
        ("vendored from", about.index),
        ("vendored", about.at),
    ]
    if about.built is None:
        rows.append(("built", "by its publisher; taken as it is"))
    else:
        rows += [
            ("built", f"here, from {about.source} with sha256 {about.source_sha256}, not from git"),
            ("python", about.built.python),
            ("builder", f"pinwheel {about.builder}, normaliser {about.built.normaliser}"),
            ("network", about.built.network),
            ("build environment", ", ".join(map(str, about.built.dependencies))),
        ]
    return rows


def _package(uri: str) -> tuple[str, str]:
    name, _, version = uri.removeprefix("pkg:pypi/").partition("@")
    return name, unquote(version)
