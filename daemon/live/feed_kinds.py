"""The feeds of the channels besides points: newest values, events, and alerts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from daemon.domain.access import Principal
from daemon.domain.events import ALERT_CHANGES, Event, event_json, sees_event
from daemon.domain.interest import Interest
from daemon.domain.json_points import context_of, instant
from daemon.domain.latest import as_value
from daemon.live.feeds import Feed, NewestFeed, Piece
from daemon.live.ring import Entry, Place, Ring
from daemon.live.views import Views

Fields = dict[str, Any]
SNAPSHOT_DEVICES_MAX = 1_000
"""So many are looked at for one message, also when few of them may be seen."""


class LatestFeed(Feed):
    """The newest value of each series: first all, then the fields that changed.

    A line that is not level gets all fields of a series; whoever is level then gets all of them at
    the next change too, since nobody knows any more what all of them have.
    """

    def __init__(self, interest: Interest, principal: Principal, views: Views) -> None:
        super().__init__(interest, principal, views)
        self.is_paced = interest.max_frequency_ms is not None
        self._shown: dict[int, Fields] = {}

    def piece(self, place: Place, *, skip: int, target: int, is_level: bool) -> Piece:
        """Series in order of their ids; inside a flush the place stays where it began."""
        found: dict[str, dict[str, Fields]] = {}
        size, count = 0, 0
        series_ids = self._touched(place, target)
        at = skip
        while at < len(series_ids) and size < self.views.message_bytes_max // 2:
            series_id = series_ids[at]
            at += 1
            fields = self._news_of(series_id, is_level=is_level)
            if fields:
                name = self.views.names[series_id]
                found.setdefault(name.device_id, {})[name.metric_name] = fields
                size += _size_of(fields)
                count += 1
        data = orjson.dumps({"latest": found})
        if at >= len(series_ids):
            return Piece(self.kind, data, count=count, place=(target, 0))
        return Piece(self.kind, data, count=count, place=place, skip=at)

    def _touched(self, place: Place, target: int) -> list[int]:
        found: set[int] = set()
        for item in self.news_after(place):
            block = item.entry.block
            if item.seq <= target and block is not None:
                found.update(np.unique(block.series_ids[np.asarray(item.rows, np.intp)]).tolist())
        return sorted(found)

    def _news_of(self, series_id: int, *, is_level: bool) -> Fields:
        fields = self._fields(series_id)
        if not is_level:
            self._shown.pop(series_id, None)
            return fields
        known = self._shown.get(series_id)
        self._shown[series_id] = fields
        if known is None:
            return fields
        changed = {name: value for name, value in fields.items() if known.get(name, _NO) != value}
        return changed and {"timestamp": fields["timestamp"], **changed}

    def snapshot_of(self, devices: list[str], *, start: int) -> tuple[bytes, int, int]:
        """JSON of the newest values from the device number `start` on, how many series these are,
        and the number of the device that comes next."""
        self._shown.clear()
        found: dict[str, dict[str, Fields]] = {}
        size, count, at = 0, 0, start
        end = min(len(devices), start + SNAPSHOT_DEVICES_MAX)
        while at < end and size < self.views.message_bytes_max // 2:
            device_id = devices[at]
            at += 1
            for metric_name, series_id in self.views.registry.metrics_of(device_id).items():
                fields = self._fields(series_id) if self.wants(series_id) else {}
                if fields:
                    found.setdefault(device_id, {})[metric_name] = fields
                    size += _size_of(fields)
                    count += 1
        return orjson.dumps({"latest": found}), count, at

    def devices(self) -> list[str]:
        """Devices that a snapshot looks at."""
        named = self.interest.devices
        return sorted(named) if named is not None else list(self.views.registry.devices)

    def _fields(self, series_id: int) -> Fields:
        """What is shown of a series; empty without any point."""
        point = self.views.latest.get(series_id)
        if point is None:
            return {}
        kind = self.views.registry.kind_of(series_id)
        context = context_of(point.context)
        return {
            "value": as_value(point.value, kind),
            "unit": context.get("unit"),
            "timestamp": instant(point.time_us),
            "tags": context.get("tags") or {},
            "metadata": context.get("metadata") or {},
            "changed_at": instant(point.changed_at_us),
            "previous_value": as_value(point.previous_value, kind),
        }


class EventFeed(Feed):
    """Events, one a message, in their order."""

    kind = "event"

    def _back(self, ring: Ring, seq: int) -> Iterator[Entry]:
        return ring.after(seq, upto=self.floor)

    def wants_event(self, event: Event) -> bool:
        """Whether it is about what is asked for, and may be seen."""
        interest = self.interest
        return (
            (interest.devices is None or event.device_id in interest.devices)
            and (interest.metrics is None or event.metric_name in interest.metrics)
            and (interest.groups is None or self._is_about_group(event))
            and sees_event(self.principal, event)
        )

    def _is_about_group(self, event: Event) -> bool:
        return event.device_id is not None and self._in_groups(event.device_id)

    def piece(self, place: Place, *, skip: int, target: int, is_level: bool) -> Piece:
        del skip, is_level
        items = [item for item in self.news_after(place) if item.seq <= target]
        if not items or items[0].entry.event is None:
            return Piece(self.kind, b"", count=0, place=(target, 0))
        end = (target, 0) if len(items) == 1 else (items[0].seq, 0)
        return Piece(self.kind, self.data_of(items[0].entry.event), count=1, place=end)

    def data_of(self, event: Event) -> bytes:
        """What is said of an event, as JSON."""
        return event_json(event)


class AlertFeed(EventFeed):
    """Alerts as they come, are acknowledged and go: each time the alert as it is then."""

    kind = "alert"

    def wants_event(self, event: Event) -> bool:
        return event.type in ALERT_CHANGES and super().wants_event(event)

    def data_of(self, event: Event) -> bytes:
        return event.data.encode()


def make_feed(interest: Interest, principal: Principal, views: Views) -> Feed:
    """The feed of an interest in one channel."""
    channel = interest.channels[0]
    if channel == "events":
        return EventFeed(interest, principal, views)
    if channel == "alerts":
        return AlertFeed(interest, principal, views)
    if channel == "latest":
        return LatestFeed(interest, principal, views)
    paced = interest.max_frequency_ms is not None
    return (NewestFeed if paced else Feed)(interest, principal, views)


def _size_of(fields: Fields) -> int:
    """About how long the fields are as JSON."""
    value = fields.get("value")
    large = len(str(value)) if isinstance(value, str | dict | list) else 0
    return 250 + large + 40 * len(fields.get("tags", ())) + 60 * len(fields.get("metadata", ()))


_NO = object()
