"""So many a second, and so many at once."""

from __future__ import annotations

from daemon.domain.allowance import Allowance


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    allowance = Allowance(10.0, 20)

    assert [allowance.take(5.0) for _ in range(21)] == [True] * 20 + [False]
    assert [allowance.take(5.15), allowance.take(5.15)] == [True, False]
    assert [allowance.take(1_000.0) for _ in range(21)] == [True] * 20 + [False]


def test_several_are_taken_at_once_and_too_many_from_a_full_bucket_only() -> None:
    allowance = Allowance(10, 100)

    assert allowance.take(0, 60)
    assert not allowance.take(0, 50)
    assert allowance.wait_s(0, 50) == 1
    assert allowance.take(1, 50)
    assert not allowance.take(1, 400)
    assert allowance.wait_s(1, 400) == 10
    assert allowance.take(11, 400)
    assert allowance.wait_s(11) == 30.1
