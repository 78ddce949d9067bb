"""Globs of project names: however they are written, they mean normalised names."""

from __future__ import annotations

import pytest

from pinwheel.errors import UsageError
from pinwheel.index.globs import checked, matching, normalised


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("acme-*", "acme-*"),
        ("Acme_*", "acme-*"),
        ("ACME.*", "acme-*"),
        ("acme-_.x", "acme-x"),
        ("*_Internal", "*-internal"),
        ("acme?", "acme?"),
        ("a[-_.]b", "a[--]b"),
        ("a[!_]b", "a[!-]b"),
        ("a[B-D]_*", "a[b-d]-*"),
        ("a[]_]b", "a[-]]b"),
    ],
)
def test_a_glob_is_normalised_as_names_are(written: str, meant: str) -> None:
    assert normalised(written) == meant


@pytest.mark.parametrize("glob", ["Acme_*", "acme.*", "acme[-_.]*", "acme[._]*", "ACME-*", "acme[!a-z]*"])
def test_however_it_is_written_it_keeps_the_name(glob: str) -> None:
    assert matching("acme-greet", ("other", glob)) == glob
    assert matching("acmegreet", (glob,)) == ""


@pytest.mark.parametrize("glob", ["", " ", "[", "acme-[ab", "acme-*]", "a[]", "a[!]", "acme-*,other-*", "acme/*", "ä*"])
def test_a_glob_that_never_matches_is_wrong_usage(glob: str) -> None:
    with pytest.raises(UsageError, match="no glob"):
        checked(("acme-*", glob), "--private")


@pytest.mark.parametrize("glob", ["*", "acme", "Acme_*", "a?.x", "a[-_.]b", "a[!_]b", "a[]_]b"])
def test_a_glob_that_can_match_is_taken(glob: str) -> None:
    assert checked((glob,), "--private") == (glob,)
