"""Points and the four ingest calls; the daemon's hot path decodes the same shapes by itself."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from telemetryctl.api.model import Answer, DeviceId, Input, Instant, MetricName, Tags

BATCH_POINTS_MAX = 1_000
BULK_POINTS_MAX = 10_000
COLUMNS_POINTS_MAX = 100_000
BATCH_ID_CHARS_MAX = 128

Compression = Literal["gzip", "lz4", "zstd"]
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "object", "array"]})]


class Point(Input):
    """One measurement; the value is a number, text, bool, JSON, geolocation or base64 text."""

    timestamp: Instant
    metric_name: MetricName
    value: Value
    unit: str | None = None
    tags: Tags | None = None
    metadata: dict[str, Any] | None = None


class Batch(Input):
    """Points of one device; a repeated `batch_id` answers what the first did."""

    data_points: list[Point] = Field(min_length=1, max_length=BATCH_POINTS_MAX)
    batch_id: str | None = Field(default=None, min_length=1, max_length=BATCH_ID_CHARS_MAX)
    compression: Compression | None = None


class SeriesColumns(Input):
    """Points of one series as columns of one length; all stamps are in one unit (s, ms or µs)."""

    device_id: DeviceId
    metric_name: MetricName
    timestamps: list[int | float] = Field(min_length=1)
    values: list[Value] = Field(min_length=1)
    unit: str | None = None
    tags: Tags | None = None


class Columns(Input):
    """Series side by side, at most 100,000 points together."""

    series: list[SeriesColumns] = Field(min_length=1)
    batch_id: str | None = Field(default=None, min_length=1, max_length=BATCH_ID_CHARS_MAX)


class PointStored(Answer):
    """The answer to one point; it is committed."""

    success: bool
    message: str
    device_id: str
    metric_name: str


class PointRefused(Answer):
    """One point that was not stored; the index is `[series, point]` for columns."""

    index: int | list[int]
    code: str
    detail: str
    retryable: bool


class BatchStored(Answer):
    """What became of a batch; `success` is true when at least one point was stored."""

    success: bool
    ingested_count: int
    failed_count: int
    total_count: int
    errors: list[PointRefused]
    batch_id: str | None = None
    duplicate: bool | None = None


class BulkStored(Answer):
    """What became of a bulk, in total and for each device."""

    success: bool
    ingested_count: int
    failed_count: int
    total_count: int
    results: dict[str, BatchStored]
