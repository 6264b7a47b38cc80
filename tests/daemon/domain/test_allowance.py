"""So many a second, and so many at once."""

from __future__ import annotations

from daemon.domain.allowance import Allowance


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    allowance = Allowance(10.0, 20)

    assert [allowance.take(5.0) for _ in range(21)] == [True] * 20 + [False]
    assert [allowance.take(5.15), allowance.take(5.15)] == [True, False]
    assert [allowance.take(1_000.0) for _ in range(21)] == [True] * 20 + [False]
