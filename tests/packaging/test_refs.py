"""What a ref means, and which tag is the newest."""

from __future__ import annotations

import pytest
from packaging.version import Version

from pinwheel.packaging import refs
from pinwheel.packaging.refs import Refs, Tag

A, B, C = "a" * 40, "b" * 40, "c" * 40


@pytest.mark.parametrize(
    ("tag", "project", "version"),
    [
        ("v1.2.0", "", "1.2.0"),
        ("1.2.0", "", "1.2.0"),
        ("v1.2.0", "acme-shop", "1.2.0"),
        ("acme-shop-1.2.0", "acme-shop", "1.2.0"),
        ("acme-shop-v1.2.0", "acme-shop", "1.2.0"),
        ("Acme_Shop-1.2.0rc1", "acme-shop", "1.2.0rc1"),
        ("lib-2-1.0", "lib-2", "1.0"),
        ("acme-shop-1.2.0", "", None),
        ("acme-greet-1.2.0", "acme-shop", None),
        ("release-1.2.0", "acme-shop", None),
        ("v1.2.0+local", "", None),
        ("version", "", None),
        ("v", "", None),
    ],
)
def test_a_tag_names_a_version(tag: str, project: str, version: str | None) -> None:
    assert refs.version_in(tag, project) == (Version(version) if version else None)


def test_the_newest_version_is_newest_by_number_and_not_by_name() -> None:
    assert refs.newest(["v1.9.0", "v1.10.0", "nightly"]) == "v1.10.0"


def test_a_prerelease_is_the_newest_only_when_there_is_no_other() -> None:
    assert refs.newest(["v1.0.0", "v2.0.0rc1"]) == "v1.0.0"
    assert refs.newest(["v2.0.0rc1", "v2.0.0b1"]) == "v2.0.0rc1"


def test_in_a_repository_of_several_projects_only_its_own_tags_count() -> None:
    tags = ["v9.0.0", "acme-shop-1.0.0", "acme-greet-3.0.0"]
    assert refs.newest(tags, "acme-shop") == "acme-shop-1.0.0"
    assert refs.newest(tags, "other") == "v9.0.0"
    assert refs.newest(["nightly"]) is None


LISTING = f"""ref: refs/heads/main\tHEAD
{A}\tHEAD
{A}\trefs/heads/main
{B}\trefs/heads/topic/one
{C}\trefs/tags/v1.0.0
{B}\trefs/tags/v1.0.0^{{}}
{A}\trefs/tags/v1.1.0
"""


def test_a_listing_tells_annotated_tags_from_lightweight_ones() -> None:
    there = refs.parse(LISTING)
    assert there == Refs(
        tags={"v1.0.0": Tag(C, B), "v1.1.0": Tag(A, A)},
        branches={"main": A, "topic/one": B},
        head=A,
        head_branch="main",
    )


@pytest.mark.parametrize(
    ("wanted", "kind", "commit", "ref"),
    [
        ("v1.0.0", "tag", B, "refs/tags/v1.0.0"),
        ("refs/tags/v1.1.0", "tag", A, "refs/tags/v1.1.0"),
        ("topic/one", "branch", B, "refs/heads/topic/one"),
        ("refs/heads/main", "branch", A, "refs/heads/main"),
        ("HEAD", "branch", A, "refs/heads/main"),
        (C.upper(), "commit", C, C),
    ],
)
def test_a_ref_is_a_tag_a_full_commit_or_a_branch(wanted: str, kind: str, commit: str, ref: str) -> None:
    found = refs.find(refs.parse(LISTING), wanted)
    assert found is not None
    assert (found.kind, found.commit, found.ref) == (kind, commit, ref)


@pytest.mark.parametrize("wanted", ["v3.0.0", "aaaaaaa", "refs/heads/v1.0.0", "refs/tags/main", ""])
def test_what_is_not_there_is_not_found(wanted: str) -> None:
    assert refs.find(refs.parse(LISTING), wanted) is None


def test_a_tag_wins_over_a_branch_of_the_same_name() -> None:
    there = Refs({"v1": Tag(A, A)}, {"v1": B})
    found = refs.find(there, "v1")
    assert found is not None
    assert found.commit == A


def test_near_names_are_offered_and_else_the_newest_versions() -> None:
    there = refs.parse(LISTING)
    assert refs.near(there, "1.0.0")[0] == "v1.0.0"
    assert refs.near(there, "zzz") == ("v1.1.0", "v1.0.0")
