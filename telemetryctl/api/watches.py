"""Watches: a person's alert about one device, which fires once."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from telemetryctl.api.model import Answer, DeviceId, Input, Instant, MetricName
from telemetryctl.api.rules import Name, QuietHours, State

WatchState = Literal["waiting", "fired", "expired"]
ChannelNames = Annotated[list[Name], Field(max_length=32)]


class WatchCreate(Input):
    """A new watch; without `from` or `to` any state fits. It waits a day unless it says how long,
    90 days at most."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    device_id: DeviceId
    metric_name: MetricName
    from_: State | None = Field(None, alias="from")
    to: State | None = None
    quiet_hours: QuietHours | None = None
    expires_at: Instant | None = None
    notification_channels: ChannelNames = Field(default_factory=list)


class WatchPatch(Input):
    """A change of a watch that has not fired: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`.
    """

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    from_: State | None = Field(None, alias="from")
    to: State | None = None
    quiet_hours: QuietHours | None = None
    expires_at: Instant | None = None
    notification_channels: ChannelNames = Field(default_factory=list)


class Watch(Answer):
    """A watch as its owner sees it."""

    model_config = ConfigDict(serialize_by_alias=True)

    watch_id: str
    device_id: str
    metric_name: str
    from_: Any = Field(None, alias="from")
    to: Any = None
    quiet_hours: dict[str, Any] | None
    notification_channels: list[str]
    expires_at: Instant
    fired_at: Instant | None
    fired_event_time: Instant | None
    fired_value: Any = None
    created_at: Instant
    updated_at: Instant
    state: WatchState


class WatchList(Answer):
    """A page of watches, the newest first."""

    watches: list[Watch]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class WatchDeleted(Answer):
    """A watch is gone."""

    success: bool
    message: str
