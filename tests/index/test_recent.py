"""What is kept is what was used last."""

from __future__ import annotations

from pinwheel.index.recent import Recent


def test_the_one_that_was_not_used_for_longest_goes_first() -> None:
    kept: Recent[str, int] = Recent(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]
    kept.put("a", 4)
    kept.discard("c")
    kept.discard("c")
    assert (kept.get("a"), kept.get("c"), len(kept)) == (4, None, 1)
