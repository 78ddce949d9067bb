"""What several workers grant together is no more than one would."""

from __future__ import annotations

import pytest

from pinwheel.index.credentials.rates import Rate


def granted(workers: int, seconds: int, burst: int = 10, pace_s: float = 6.0) -> int:
    """How often somebody who never tires may in that time, whichever worker says yes."""
    rates = [Rate(burst, pace_s, workers) for _ in range(workers)]
    count = 0
    for now in range(seconds):
        for rate in rates:
            while not rate.wait_s("thief", float(now)):
                rate.count("thief", float(now))
                count += 1
    return count


@pytest.mark.parametrize("workers", [1, 2, 3, 10])
def test_workers_share_a_limit_out_among_them(workers: int) -> None:
    alone = granted(1, 1)
    assert alone == 10
    assert granted(workers, 1) <= alone
    assert granted(workers, 600) <= granted(1, 600)


def test_each_worker_grants_one_at_least() -> None:
    assert granted(16, 1) == 16
    assert granted(16, 600) <= 16 + 600 // 6
