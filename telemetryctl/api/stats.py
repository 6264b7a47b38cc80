"""Figures about one device (R-099) and about the whole service (R-100); zeros without data."""

from pydantic import Field

from telemetryctl.api.model import Answer, Instant


class TopMetric(Answer):
    """A metric and how many points of it there are."""

    name: str
    points: int


class DeviceStats(Answer):
    """Sizes are bytes, `avg_frequency` is points a minute over the last 24 hours."""

    device_id: str
    total_metrics: int = 0
    active_metrics: int = 0
    data_points_count: int = 0
    last_update: Instant | None = None
    storage_size: int = 0
    avg_frequency: float = 0.0
    last_24h_points: int = 0
    last_24h_alerts: int = 0
    metrics_by_type: dict[str, int] = Field(default_factory=dict)
    top_metrics: list[TopMetric] = Field(default_factory=list)


class HourCount(Answer):
    """The points of one hour, which begins at `hour`."""

    hour: Instant
    count: int


class ServiceStats(Answer):
    """`avg_latency` is milliseconds a request, `error_rate` the share of 5xx answers, 0 to 1."""

    total_devices: int = 0
    active_devices: int = 0
    total_metrics: int = 0
    total_data_points: int = 0
    points_per_second: float = 0.0
    avg_latency: float = 0.0
    error_rate: float = 0.0
    last_24h_points: int = 0
    last_24h_alerts: int = 0
    devices_by_type: dict[str, int] = Field(default_factory=dict)
    metrics_by_type: dict[str, int] = Field(default_factory=dict)
    data_by_hour: list[HourCount] = Field(default_factory=list)
