"""Subscriptions made over HTTP, and tickets that open a stream from a browser."""

from typing import Annotated

from pydantic import Field

from telemetryctl.api.model import Answer, DeviceId, Input, MetricName, Tags

ChannelName = Annotated[str, Field(min_length=1, max_length=64)]
GroupName = Annotated[str, Field(min_length=1, max_length=128)]
CursorText = Annotated[
    str,
    Field(
        max_length=64,
        description="a cursor to go on from",
        json_schema_extra={"pattern": "^[0-9a-z]{1,16}-[0-9]{1,18}([.][0-9]{1,9})?$"},
    ),
]
FrequencyMs = Annotated[
    int,
    Field(ge=100, le=10_000, description="at most one message in so many milliseconds"),
]


class Subscribe(Input):
    """What a stream is to send; null and empty mean all."""

    device_ids: Annotated[list[DeviceId], Field(max_length=100)] | None = None
    metric_names: Annotated[list[MetricName], Field(max_length=100)] | None = None
    tags: Tags | None = None
    groups: Annotated[list[GroupName], Field(max_length=100)] | None = None
    channels: Annotated[list[ChannelName], Field(max_length=16)] | None = None
    max_frequency: FrequencyMs | None = None
    resume: CursorText | None = None


class Subscribed(Answer):
    """A subscription, which waits some time for its socket."""

    subscription_id: str
    message: str
    websocket_url: str


class SubscriptionCancelled(Answer):
    """A subscription is no more, and its socket is closed."""

    success: bool
    message: str


class TicketCreate(Input):
    """What the ticket is to open; without either any stream."""

    subscription_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    channel: ChannelName | None = None


class TicketCreated(Answer):
    """A ticket for one use as `?ticket=`."""

    ticket: str
    expires_in: int
