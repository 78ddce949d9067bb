"""Statements say where a file comes from, in the form that others read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pinwheel.packaging import statement
from pinwheel.packaging.inspection.findings import Allowance
from pinwheel.packaging.statement import Dependency, Provenance, Statement

GREET = Statement(
    "acme_greet-1.0.0-py3-none-any.whl",
    "ab" * 32,
    Provenance(
        repository="/srv/git/acme-greet.git",
        ref="refs/tags/v1.0.0",
        commit="c" * 40,
        tag="v1.0.0",
        tag_object="d" * 40,
        tree="e" * 40,
        subdirectory="python",
        epoch=1_767_323_045,
        python="3.11.2",
        builder="0.1.0",
        normaliser="1",
        dependencies=(Dependency("hatchling", "1.27.0", "f0" * 32), Dependency("by-the-backend", "1")),
        started="2026-01-02T03:04:05+00:00",
        finished="2026-01-02T03:04:06+00:00",
    ),
)


def test_what_was_written_is_read_back() -> None:
    assert statement.read(statement.write(GREET)) == GREET
    plain = Statement("a", "b", Provenance(repository="ssh://host/a.git", ref="c" * 40, commit="c" * 40))
    assert statement.read(statement.write(plain)) == plain


def test_it_is_an_in_toto_statement_with_slsa_provenance() -> None:
    document = json.loads(statement.write(GREET))
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"] == [{"name": GREET.filename, "digest": {"sha256": GREET.sha256}}]
    definition = document["predicate"]["buildDefinition"]
    assert {"buildType", "externalParameters", "resolvedDependencies"} <= definition.keys()
    assert definition["resolvedDependencies"][0]["digest"]["gitCommit"] == "c" * 40
    assert definition["resolvedDependencies"][1:] == [
        {"uri": "pkg:pypi/hatchling@1.27.0", "digest": {"sha256": "f0" * 32}},
        {"uri": "pkg:pypi/by-the-backend@1"},
    ]
    assert document["predicate"]["runDetails"]["builder"]["id"]


def test_what_the_project_allows_itself_is_told() -> None:
    leave = Allowance("secret", "made for the tests", "tests/key.pem")
    allowed = replace(GREET, provenance=replace(GREET.provenance, allowed=(leave,)))
    assert statement.read(statement.write(allowed)) == allowed
    assert dict(statement.facts(allowed))["allowed"] == "secret in tests/key.pem: made for the tests"


def test_of_the_build_environment_a_person_is_told_names_and_versions() -> None:
    assert dict(statement.facts(GREET))["build environment"] == "hatchling 1.27.0, by-the-backend 1"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"subject": []}', b'{"subject": [{"name": "a"}]}'])
def test_anything_else_is_no_statement(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a statement"):
        statement.read(body)
