"""Reading: queries and aggregates over history, the latest values, and changes in commit order."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from telemetryctl.api.model import Answer, DeviceId, Input, Instant, TagKey, TagValue

QUERY_POINTS_MAX = 10_000
LATEST_DEVICES_MAX = 100


class Aggregation(StrEnum):
    """How the points of a bucket become one number."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    MEDIAN = "median"
    P95 = "p95"
    P99 = "p99"
    FIRST = "first"
    LAST = "last"
    RATE = "rate"
    DELTA = "delta"


class TimeRange(StrEnum):
    """The windows of the range route, ending now."""

    HOUR = "1h"
    SIX_HOURS = "6h"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"


Interval = Annotated[int, Field(ge=1, le=366 * 86_400, description="seconds")]
QueryMetric = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^(\*|[A-Za-z0-9_.:/-]+)$")
]
PageCursorText = Annotated[
    str,
    Field(
        description="`next_cursor` of the page before", json_schema_extra={"format": "page-cursor"}
    ),
]
QueryGroup = Annotated[str, Field(max_length=128)]
QueryLimit = Annotated[int, Field(ge=1, le=QUERY_POINTS_MAX)]


class QueryFilters(Input):
    """Points must carry all of these tags."""

    tags: Annotated[dict[TagKey, TagValue], Field(max_length=32)] = Field(default_factory=dict)


class Query(Input):
    """A half-open window `[start_time, end_time)` of some metrics, raw or in buckets."""

    metrics: Annotated[
        list[QueryMetric],
        Field(min_length=1, max_length=100, description="names; `*` is every metric"),
    ]
    start_time: Instant
    end_time: Instant
    devices: Annotated[list[DeviceId], Field(max_length=1_000)] | None = None
    groups: Annotated[list[QueryGroup], Field(max_length=100)] | None = None
    aggregation: Aggregation | None = None
    interval: Interval | None = None
    filters: QueryFilters | None = None
    limit: QueryLimit = QUERY_POINTS_MAX
    cursor: PageCursorText | None = None
    strict: bool = False

    @model_validator(mode="after")
    def _window_is_in_order(self) -> Self:
        if self.start_time >= self.end_time:
            raise ValueError("start_time must be before end_time")
        return self


class QueryPoint(Answer):
    """One point or bucket of an answer; a bucket's timestamp is its start."""

    timestamp: Instant
    device_id: str | None
    metric_name: str
    value: Any
    unit: str | None = None
    tags: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None


class SeriesCount(Answer):
    """How many points of one series an answer holds."""

    device_id: str
    metric_name: str
    count: int


class QueryResult(Answer):
    """Points by time; `truncated` with a `next_cursor` when the window holds more than `limit`."""

    device_id: str | None
    metric_name: str | None
    data_points: list[QueryPoint]
    count: int
    aggregation: str | None
    interval: int | None
    start_time: Instant
    end_time: Instant
    series: list[SeriesCount]
    truncated: bool
    next_cursor: str | None


class AggregatedPoint(Answer):
    """One bucket, pooled over all samples in it."""

    timestamp: Instant
    value: float | None
    count: int


class AggregatedResult(Answer):
    """Buckets of one metric; empty buckets are absent."""

    metric_name: str
    aggregation_type: str
    interval: int
    device_id: str | None
    data_points: list[AggregatedPoint]
    count: int
    start_time: Instant
    end_time: Instant


class LatestPoint(Answer):
    """The newest point of a series by event time, and when its value last changed."""

    device_id: str
    metric_name: str
    value: Any
    unit: str | None
    timestamp: Instant
    tags: dict[str, str]
    metadata: dict[str, Any]
    age_seconds: float
    changed_at: Instant | None
    previous_value: Any


class CorePoint(Answer):
    """The newest point as `view=core` shows it."""

    value: Any
    unit: str | None
    timestamp: Instant
    age_seconds: float


class LatestResult(Answer):
    """The newest points of several devices; `missing` names the devices without any."""

    latest: dict[str, dict[str, LatestPoint | CorePoint]]
    missing: list[str]
    count: int
    cursor: str | None


class Gap(Answer):
    """Positions that the journal no longer holds."""

    model_config = ConfigDict(populate_by_name=True)

    from_: str = Field(alias="from")
    to: str
    reason: str


class Changes(Answer):
    """Points in commit order, and the cursor to go on from."""

    data_points: list[QueryPoint]
    cursor: str
    gap: Gap | None
