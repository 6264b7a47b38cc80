"""A window of history out of the pages of `POST /query`, with holes filled when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from telemetryctl.failures import UsageFailure
from telemetryctl.files.stamps import EPOCH
from telemetryctl.times import format_rfc3339

if TYPE_CHECKING:
    from telemetryctl.client.http import Client

PAGE_POINTS_MAX = 10_000  # contract section 5
FILLED_POINTS_MAX = 1_000_000
Point = dict[str, Any]
SeriesKey = tuple[str, str]


@dataclass(slots=True)
class Reader:
    """Reads pages until there are `limit` points (None: all of them). `answer` is the first one."""

    client: Client
    body: Mapping[str, Any]
    limit: int | None
    answer: dict[str, Any] | None = None
    is_truncated: bool = False

    def points(self) -> Iterator[Point]:
        """The points, a page in memory at a time."""
        cursor, left = None, self.limit
        while True:
            size = PAGE_POINTS_MAX if left is None else min(left, PAGE_POINTS_MAX)
            body = {**self.body, "limit": size}
            page = self.client.query({**body, "cursor": cursor} if cursor else body)
            if self.answer is None:
                self.answer = {k: v for k, v in page.items() if k != "data_points"}
            points = page["data_points"]
            yield from points
            left = None if left is None else left - len(points)
            cursor = page.get("next_cursor")
            self.is_truncated = bool(cursor)
            if not cursor or (left is not None and left <= 0):
                return

    def document(self, points: list[Point]) -> dict[str, Any]:
        """The answer as the API would give it in one piece."""
        counts: dict[SeriesKey, int] = {}
        for point in points:
            key = key_of(point)
            counts[key] = counts.get(key, 0) + 1
        series = [{"device_id": d, "metric_name": m, "count": n} for (d, m), n in counts.items()]
        last = {"count": len(points), "series": series, "truncated": self.is_truncated}
        if not self.is_truncated:
            last["next_cursor"] = None
        return {**(self.answer or {}), "data_points": points, **last}


def key_of(point: Point) -> SeriesKey:
    return (str(point.get("device_id") or ""), str(point.get("metric_name") or ""))


def by_series(points: Sequence[Point]) -> dict[SeriesKey, list[Point]]:
    """Points of each series in the order of time."""
    found: dict[SeriesKey, list[Point]] = {}
    for point in points:
        found.setdefault(key_of(point), []).append(point)
    return found


def side_by_side(answers: Mapping[str, Sequence[Point]]) -> list[Point]:
    """Buckets of several aggregations as one row each, with a field per aggregation."""
    rows: dict[tuple[str, str, str], Point] = {}
    for aggregation, points in answers.items():
        for point in points:
            key = (point["timestamp"], *key_of(point))
            if key not in rows:
                rows[key] = {k: v for k, v in point.items() if k != "value"}
            rows[key][aggregation] = point["value"]
    return [rows[key] for key in sorted(rows)]


@dataclass(frozen=True, slots=True)
class Buckets:
    """The grid that buckets lie on: multiples of the interval since 1970."""

    start: datetime
    end: datetime
    interval: timedelta

    def instants(self) -> list[datetime]:
        """The beginning of each bucket that touches the window."""
        first = EPOCH + (self.start - EPOCH) // self.interval * self.interval
        count = -((first - self.end) // self.interval)
        return [first + i * self.interval for i in range(count)]


def fill(points: Sequence[Point], *, buckets: Buckets, keeps_previous: bool) -> list[Point]:
    """Add a point for each empty bucket of each series: null, or the value before it.

    Raises UsageFailure when that would be more than FILLED_POINTS_MAX.
    """
    series = by_series(points)
    instants = buckets.instants()
    if len(instants) * len(series) > FILLED_POINTS_MAX:
        raise UsageFailure(
            f"--fill would make {len(instants) * len(series):,} rows", hint="a longer --every"
        )
    filled = []
    for (device_id, metric_name), known in series.items():
        at = {datetime.fromisoformat(point["timestamp"]).astimezone(UTC): point for point in known}
        last = None
        for instant in instants:
            empty = {
                "timestamp": format_rfc3339(instant),
                "device_id": device_id,
                "metric_name": metric_name,
                "value": last["value"] if keeps_previous and last else None,
                "unit": known[0].get("unit"),
            }
            last = at.get(instant, last)
            filled.append(at.get(instant, empty))
    return sorted(filled, key=lambda point: (point["timestamp"], *key_of(point)))
