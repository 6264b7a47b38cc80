"""Channels: where messages about alerts go."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from telemetryctl.api.model import Answer, Input, Instant


class ChannelKind(StrEnum):
    """How a message leaves."""

    STREAM = "stream"
    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"
    ALERTMANAGER = "alertmanager"
    APPRISE = "apprise"


_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
ChannelName = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$")
]
Short = Annotated[str, Field(min_length=1, max_length=256, pattern=_PRINTABLE)]
Mailbox = Annotated[str, Field(min_length=3, max_length=320, pattern=_PRINTABLE)]


class _Settings(Input):
    """Settings of all kinds; which of them a kind needs and takes, the server says."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    url: Annotated[str, Field(min_length=1, max_length=2_048, pattern=_PRINTABLE)] | None = Field(
        None, description="of webhook, slack, alertmanager, apprise"
    )
    secret: Annotated[str, Field(max_length=1_024, pattern=_PRINTABLE)] | None = Field(
        None, description="of a webhook: whsec_<base64>; made when absent"
    )
    host: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="of email"
    )
    port: Annotated[int, Field(ge=1, le=65_535, strict=True)] | None = None
    tls: Literal["auto", "starttls", "tls", "none"] | None = None
    from_: Mailbox | None = Field(None, alias="from")
    to: Mailbox | Annotated[list[Mailbox], Field(min_length=1, max_length=50)] | None = None
    username: Short | None = None
    password: Annotated[str, Field(min_length=1, max_length=1_024)] | None = None
    fallback: ChannelName | None = Field(
        None, description="the channel that takes over when this one gives up on a message"
    )


class ChannelCreate(_Settings):
    """A new channel, its settings beside its name and kind."""

    name: ChannelName
    kind: ChannelKind


class ChannelPatch(_Settings):
    """A change of a channel: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`.
    """


class Channel(Answer):
    """A channel as the server keeps it, its settings beside the rest; `secrets` names those that
    it holds and never shows. `secret` comes once, when the server made it.
    """

    model_config = ConfigDict(extra="allow", serialize_by_alias=True)

    channel_id: str
    name: str
    kind: ChannelKind
    secrets: list[str]
    fallback: str | None
    failures: int
    resting_until: Instant | None
    last_sent_at: Instant | None
    last_failed_at: Instant | None
    last_error: str | None
    revision: int
    created_at: Instant
    updated_at: Instant
    created_by: str


class ChannelList(Answer):
    """A page of channels, by name."""

    channels: list[Channel]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None


class ChannelDeleted(Answer):
    """A channel is gone; `rules` still name it."""

    success: bool
    message: str
    rules: list[str]


class ChannelTested(Answer):
    """What came of a test; `success` says whether it arrived."""

    success: bool
    message: str
    channel: str
    notification_id: str
    status: str
    status_code: int | None
    latency_ms: float | None
    detail: str | None
