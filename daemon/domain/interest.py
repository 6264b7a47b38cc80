"""What one subscription asks for. Which series that means now is decided in live/feeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.domain.errors import Invalid, TryLater

CHANNELS = ("telemetry", "latest", "events", "alerts")
LATER_CHANNELS = ("overview", "jobs")
"""Names that are known, but have nothing behind them yet."""
DEVICES_MAX = 100
METRICS_MAX = 100
TAGS_MAX = 32
GROUPS_MAX = 100
FREQUENCY_MS_MIN = 100
FREQUENCY_MS_MAX = 10_000


class UnknownChannel(Invalid):
    """There is no such channel."""

    code = "unknown_channel"


class ChannelUnavailable(TryLater):
    """The channel has nothing behind it yet."""

    code = "stream_unavailable"


@dataclass(frozen=True, slots=True)
class Interest:
    """Which points, newest values and events; None and empty mean all. Equal ones share their feed.

    groups            ids of groups, any of which a device has to be in
    max_frequency_ms  at most one flush in that time, with the newest value per device and metric;
        None sends every point
    """

    channels: tuple[str, ...] = ("telemetry",)
    devices: frozenset[str] | None = None
    metrics: frozenset[str] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] | None = None
    max_frequency_ms: int | None = None

    def of(self, channel: str) -> Interest:
        """The same for one channel only."""
        if self.channels == (channel,):
            return self
        return Interest(
            (channel,), self.devices, self.metrics, self.tags, self.groups, self.max_frequency_ms
        )


def make_interest(
    *,
    channels: Iterable[str] | None = None,
    devices: Iterable[str] | None = None,
    metrics: Iterable[str] | None = None,
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> Interest:
    """A checked Interest; `more` are `groups` (ids) and `max_frequency_ms`.

    An empty list means all, as no list does. Raises Invalid, and ChannelUnavailable for a channel
    that will exist.
    """
    wanted = tuple(dict.fromkeys(channels or ("telemetry",)))
    for channel in wanted:
        if channel in LATER_CHANNELS:
            raise ChannelUnavailable(f"the channel {channel} is not there yet")
        if channel not in CHANNELS:
            raise UnknownChannel(f"there is no channel {channel}")
    frequency_ms = more.get("max_frequency_ms")
    if frequency_ms is not None and not FREQUENCY_MS_MIN <= frequency_ms <= FREQUENCY_MS_MAX:
        raise Invalid(
            f"max_frequency is {FREQUENCY_MS_MIN} to {FREQUENCY_MS_MAX} milliseconds",
            code="bad_max_frequency",
        )
    groups = _bounded(more.get("groups"), "groups", GROUPS_MAX)
    return Interest(
        wanted,
        _bounded(devices, "devices", DEVICES_MAX),
        _bounded(metrics, "metrics", METRICS_MAX),
        _checked_tags(tags or {}),
        None if groups is None else tuple(sorted(groups)),
        frequency_ms,
    )


def _bounded(names: Iterable[str] | None, what: str, most: int) -> frozenset[str] | None:
    found = frozenset(names or ())
    if len(found) > most:
        raise Invalid(f"{len(found)} {what} are more than {most}", code=f"too_many_{what}")
    return found or None


def _checked_tags(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if len(tags) > TAGS_MAX:
        raise Invalid(f"{len(tags)} tags are more than {TAGS_MAX}", code="too_many_tags")
    return tuple(sorted(tags.items()))
