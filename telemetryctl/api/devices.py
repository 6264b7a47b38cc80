"""Devices: who sends; they appear by themselves with their first point."""

from typing import Annotated, Any, Literal

from pydantic import Field

from telemetryctl.api.model import Answer, Input, Instant, Tags


class Location(Input):
    """A fixed place in WGS 84 degrees; altitude in metres."""

    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    alt: Annotated[float, Field(allow_inf_nan=False)] | None = None


class DevicePatch(Input):
    """A change of a device: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`. `tags` and `attributes` replace the whole map.
    """

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    type: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    tags: Tags | None = None
    attributes: Annotated[dict[str, Any], Field(max_length=256)] | None = None
    location: Location | None = None
    expected_interval: (
        Annotated[float, Field(gt=0, le=366 * 86_400, description="seconds")] | None
    ) = None


class Device(Answer):
    """A device as the server keeps it; `expected_interval` is in seconds.

    It is active with a point of the last 24 hours.
    """

    device_id: str
    name: str | None = None
    type: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    attributes: dict[str, Any] = Field(default_factory=dict)
    location: Location | None = None
    expected_interval: float | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    last_seen_at: Instant | None = None
    status: Literal["active", "inactive"] | None = None


class DeviceList(Answer):
    """A page of devices, by id."""

    devices: list[Device]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class DeviceDeleted(Answer):
    """A device and its points are gone."""

    success: bool
    message: str


class DeviceMetrics(Answer):
    """The names of the metrics that a device has sent, in order; empty when there are none."""

    device_id: str
    metrics: list[str]
    count: int
