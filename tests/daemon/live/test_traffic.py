"""Counters of what goes through."""

from __future__ import annotations

import pytest

from daemon.clock import ManualClock
from daemon.live.traffic import COUNTED_AT_ONCE, Traffic

SECOND = int(ManualClock(1_000_000_000).monotonic_s())


def test_points_a_second_are_the_mean_of_the_last_minute() -> None:
    clock = ManualClock(1_000_000_000)
    traffic = Traffic(clock)
    clock.advance_s(120)
    traffic.count_points(600)

    assert traffic.points_per_second == 10
    clock.advance_s(61)
    assert traffic.points_per_second == 0
    assert traffic.points_total == 600


def test_a_young_process_divides_by_its_age() -> None:
    clock = ManualClock(1_000_000_000)
    traffic = Traffic(clock)
    clock.advance_s(10)
    traffic.count_points(50)

    assert traffic.points_per_second == 5


def test_failures_are_the_share_of_5xx() -> None:
    traffic = Traffic(ManualClock(1_000_000_000))
    for status in (200, 404, 500, 503):
        traffic.count_request((("/read", "GET"), status, SECOND, None, 0), 0.25)

    assert traffic.error_rate == 0.5
    assert traffic.latency_ms_avg == pytest.approx(250)


def test_without_requests_all_is_zero() -> None:
    traffic = Traffic(ManualClock(1_000_000_000))

    assert (traffic.error_rate, traffic.latency_ms_avg, traffic.points_per_second) == (0, 0, 0)


@pytest.mark.parametrize("requests", [1, COUNTED_AT_ONCE - 1, COUNTED_AT_ONCE, 1_000])
def test_routes_know_of_every_request_when_they_are_asked(requests: int) -> None:
    traffic = Traffic(ManualClock(1_000_000_000))
    write, read = ("/write", "POST"), ("/read", "GET")
    for _ in range(requests):
        traffic.count_request((write, 200, SECOND, None, 0), 0.5)
        traffic.count_request((read, 404, SECOND, None, 0), 2.0)

    for _ in range(2):
        assert traffic.routes.requests == {(*write, 200): requests, (*read, 404): requests}
        sums = {call: took.sum for call, took in traffic.routes.durations.items()}
        assert sums == {write: requests * 0.5, read: requests * 2.0}
