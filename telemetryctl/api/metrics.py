"""Metric definitions: what a metric means, which values it allows and how long it is kept."""

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from telemetryctl.api.model import Answer, Input, Instant, MetricName

RETENTION_DAYS_MAX = 3_650


class DataType(StrEnum):
    """What a value is."""

    NUMERIC = "numeric"
    STRING = "string"
    BOOLEAN = "boolean"
    JSON = "json"
    GEOLOCATION = "geolocation"
    BINARY = "binary"


class MetricType(StrEnum):
    """How a number behaves over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


Description = Annotated[str, Field(max_length=1_024)]
Unit = Annotated[str, Field(max_length=64)]
Bound = Annotated[float, Field(allow_inf_nan=False)]
AllowedValue = str | int | bool | Bound
AllowedValues = Annotated[list[AllowedValue], Field(min_length=1, max_length=1_000)]
RetentionDays = Annotated[int, Field(ge=1, le=RETENTION_DAYS_MAX)]
AggregationInterval = Annotated[int, Field(ge=1, le=366 * 86_400, description="seconds")]
MetricTags = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)
]


class MetricCreate(Input):
    """A new definition; only the name and the data type are required."""

    name: MetricName
    data_type: DataType
    metric_type: MetricType = MetricType.GAUGE
    description: Description | None = None
    unit: Unit | None = None
    min_value: Bound | None = None
    max_value: Bound | None = None
    allowed_values: AllowedValues | None = None
    retention_days: RetentionDays = 90
    aggregation_interval: AggregationInterval | None = None
    tags: MetricTags = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        _refuse_crossed_bounds(self.min_value, self.max_value)
        return self


class MetricPatch(Input):
    """A change of a definition: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`. Null for `data_type`, `metric_type`,
    `retention_days`, `tags` or `metadata` is refused, since these always have a value.
    """

    data_type: DataType = DataType.NUMERIC
    metric_type: MetricType = MetricType.GAUGE
    description: Description | None = None
    unit: Unit | None = None
    min_value: Bound | None = None
    max_value: Bound | None = None
    allowed_values: AllowedValues | None = None
    retention_days: RetentionDays = 90
    aggregation_interval: AggregationInterval | None = None
    tags: MetricTags = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        _refuse_crossed_bounds(self.min_value, self.max_value)
        return self


def _refuse_crossed_bounds(min_value: float | None, max_value: float | None) -> None:
    if min_value is not None and max_value is not None and min_value > max_value:
        raise ValueError("min_value is greater than max_value")


class Metric(Answer):
    """A definition as the server keeps it."""

    metric_id: str
    name: str
    description: str | None
    data_type: DataType
    metric_type: MetricType
    unit: str | None
    min_value: float | None
    max_value: float | None
    allowed_values: list[AllowedValue] | None
    retention_days: int
    aggregation_interval: int | None
    tags: list[str]
    metadata: dict[str, Any]
    created_at: Instant
    updated_at: Instant
    created_by: str | None


class MetricList(Answer):
    """A page of definitions, by name."""

    metrics: list[Metric]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class MetricDeleted(Answer):
    """A definition is gone; its points and their retention stay."""

    success: bool
    message: str
