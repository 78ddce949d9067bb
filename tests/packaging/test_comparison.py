"""Two archives are the same bytes, or every difference is named: which member, and what of it."""

from __future__ import annotations

from tests.packaging.test_normalise import sdist_of, wheel_of

from pinwheel.packaging.building.comparison import Difference, compare

WHEEL = "x-1-py3-none-any.whl"
SDIST = "x-1.tar.gz"
A, B = ("a.py", b"a = 1\n"), ("b.py", b"b\n")


def said(file: str, first: bytes, second: bytes) -> list[tuple[str, str, str]]:
    return [(each.member, each.aspect, each.detail) for each in compare(file, first, second)]


def test_the_same_bytes_differ_in_nothing() -> None:
    assert compare(WHEEL, wheel_of([A]), wheel_of([A])) == ()


def test_a_member_of_one_side_only_is_named() -> None:
    assert said(WHEEL, wheel_of([A, B]), wheel_of([A])) == [("b.py", "presence", "is only in the first build")]
    assert said(WHEEL, wheel_of([A]), wheel_of([A, B])) == [("b.py", "presence", "is only in the second build")]


def test_order_mode_and_time_are_told_apart() -> None:
    assert said(WHEEL, wheel_of([A, B]), wheel_of([B, A])) == [("", "order", "the members stand in another order")]
    assert said(WHEEL, wheel_of([A]), wheel_of([A], mode=0o600)) == [("a.py", "mode", "100644 and 100600")]
    assert said(WHEEL, wheel_of([A]), wheel_of([A], year=2020)) == [
        ("a.py", "time", "2024-01-01 00:00:00 and 2020-01-01 00:00:00")
    ]
    assert said(SDIST, sdist_of([A]), sdist_of([A], mode=0o600, mtime=7)) == [
        ("a.py", "mode", "644 and 600"),
        ("a.py", "time", "1 and 7"),
    ]


def test_small_texts_are_shown_as_a_unified_diff() -> None:
    ((_member, aspect, detail),) = said(WHEEL, wheel_of([A]), wheel_of([("a.py", b"a = 2\n")]))
    assert aspect == "content"
    assert detail == "\n--- first/a.py\n+++ second/a.py\n@@ -1 +1 @@\n-a = 1\n+a = 2"


def test_other_bytes_are_shown_by_where_they_part() -> None:
    for one, other in ((b"\0\1\2", b"\0\1\3"), (b"a\n", b"a\r\n"), (b"\xff", b"\xff\xfe")):
        ((_member, aspect, detail),) = said(WHEEL, wheel_of([("x", one)]), wheel_of([("x", other)]))
        assert (aspect, "part at byte" in detail) == ("content", True)


def test_a_long_diff_is_cut() -> None:
    long = [("a.py", "".join(f"{n} {side}\n" for n in range(500)).encode()) for side in "ab"]
    ((_member, _aspect, detail),) = said(WHEEL, wheel_of(long[:1]), wheel_of(long[1:]))
    assert detail.endswith("lines more")
    assert len(detail.splitlines()) < 50


def test_other_packing_alone_is_a_difference_too() -> None:
    assert said(SDIST, sdist_of([A], owner="ada"), sdist_of([A], owner="bob")) == [
        ("", "packing", "all members are alike, but packed into other bytes")
    ]


def test_a_difference_reads_as_a_line() -> None:
    assert str(Difference(WHEEL, "a.py", "mode", "644 and 600")) == f"{WHEEL}: a.py: mode: 644 and 600"
    assert str(Difference(WHEEL, "", "order", "another")) == f"{WHEEL}: order: another"
