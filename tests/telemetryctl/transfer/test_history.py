"""Windows of history: buckets filled and put side by side."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from telemetryctl.failures import UsageFailure
from telemetryctl.transfer.history import Buckets, fill, side_by_side

TEN = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def a_point(hour: int, value: float, **others: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-11-20T{hour:02d}:00:00Z",
        "device_id": "d",
        "metric_name": "m",
        "value": value,
        "unit": "celsius",
        **others,
    }


def test_buckets_begin_at_multiples_of_the_interval() -> None:
    grid = Buckets(TEN + timedelta(minutes=20), TEN + timedelta(minutes=140), HOUR)

    assert grid.instants() == [TEN, TEN + HOUR, TEN + 2 * HOUR]
    assert Buckets(TEN, TEN + HOUR, HOUR).instants() == [TEN]


@pytest.mark.parametrize(
    ("keeps_previous", "values"), [(False, [None, 1, None, 3]), (True, [None, 1, 1, 3])]
)
def test_empty_buckets_are_filled_with_null_or_the_value_before(
    keeps_previous: bool, values: list[float | None]
) -> None:
    grid = Buckets(TEN, TEN + 4 * HOUR, HOUR)

    filled = fill([a_point(11, 1), a_point(13, 3)], buckets=grid, keeps_previous=keeps_previous)

    assert [point["value"] for point in filled] == values
    assert {point["unit"] for point in filled} == {"celsius"}


def test_a_fill_of_millions_of_rows_is_refused() -> None:
    grid = Buckets(TEN, TEN + timedelta(days=365), timedelta(seconds=1))

    with pytest.raises(UsageFailure, match="31,536,000 rows"):
        fill([a_point(10, 1)], buckets=grid, keeps_previous=False)


def test_aggregations_stand_side_by_side() -> None:
    rows = side_by_side(
        {"avg": [a_point(10, 1), a_point(11, 2)], "p95": [a_point(10, 5), a_point(11, 6)]}
    )

    assert [(row["timestamp"][11:13], row["avg"], row["p95"]) for row in rows] == [
        ("10", 1, 5),
        ("11", 2, 6),
    ]
