"""What a client asks a stream for, as it said it: in a body, in a frame, or in an address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daemon.domain.cursors import parse_cursor
from daemon.domain.errors import Invalid
from daemon.domain.interest import DEVICES_MAX, Interest, make_interest
from daemon.domain.points import is_name

LIST_MAX = 1_000
TEXT_MAX = 256
CURSOR_MAX = 64
_NAMES = {"devices": "devices", "device_ids": "devices"} | {
    "metrics": "metrics",
    "metric_names": "metrics",
}
_FIELDS = frozenset({*_NAMES, "tags", "groups", "channels", "max_frequency", "resume"})

FindGroups = Callable[[Sequence[str]], tuple[str, ...]]
"""The ids of groups given by id or name. Raises Invalid `unknown_group`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked request; `groups` are ids or names, `resume` is the text of a cursor."""

    channels: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    max_frequency_ms: int | None = None
    resume: str | None = None

    def interest(self, find_groups: FindGroups) -> Interest:
        """What of it the hub looks at. Raises Invalid, and TryLater for a channel to come."""
        return make_interest(
            channels=self.channels,
            devices=self.devices,
            metrics=self.metrics,
            tags=dict(self.tags),
            groups=find_groups(self.groups) if self.groups else (),
            max_frequency_ms=self.max_frequency_ms,
        )

    def without_devices(self, devices: Sequence[str]) -> Wanted | None:
        """The rest; None when nothing is left. A request for all devices keeps all."""
        left = tuple(name for name in self.devices if name not in devices)
        if not self.devices:
            return self
        return replace(self, devices=left) if left else None

    def without_channels(self, channels: Sequence[str]) -> Wanted | None:
        left = tuple(name for name in self.channels or ("telemetry",) if name not in channels)
        return replace(self, channels=left) if left else None

    def as_json(self) -> dict[str, Any]:
        """The same for `read_wanted`."""
        return {
            "channels": list(self.channels),
            "devices": list(self.devices),
            "metrics": list(self.metrics),
            "tags": dict(self.tags),
            "groups": list(self.groups),
            "max_frequency": self.max_frequency_ms,
            "resume": self.resume,
        }


def read_wanted(said: Mapping[str, Any]) -> Wanted:
    """Null and empty mean all. Raises Invalid with the field at fault, and for an unknown one."""
    unknown = next((name for name in said if name not in _FIELDS), None)
    if unknown is not None:
        raise Invalid(f"there is no field {unknown[:64]!r}", code="unknown_field")
    names: dict[str, tuple[str, ...]] = {"devices": (), "metrics": ()}
    for field, kind in _NAMES.items():
        names[kind] += _names(field, said.get(field))
    if len(names["devices"]) > DEVICES_MAX:
        raise Invalid(
            f"{len(names['devices'])} devices are more than {DEVICES_MAX}", code="too_many_devices"
        )
    return Wanted(
        _texts("channels", said.get("channels")),
        names["devices"],
        names["metrics"],
        _tags(said.get("tags")),
        _texts("groups", said.get("groups")),
        _frequency(said.get("max_frequency")),
        _cursor(said.get("resume")),
    )


def _names(field: str, value: Any) -> tuple[str, ...]:
    found = _texts(field, value)
    wrong = next((name for name in found if not is_name(name)), None)
    if wrong is not None:
        raise Invalid(f"{field} holds something that is no name: {wrong[:64]!r}", code="bad_name")
    return found


def _texts(field: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise Invalid(f"{field} is a list of texts", code="bad_list")
    if len(value) > LIST_MAX:
        raise Invalid(f"{field} holds more than {LIST_MAX} texts", code=f"too_many_{field}")
    if any(not one or len(one) > TEXT_MAX or "\0" in one for one in value):
        raise Invalid(f"a text of {field} is empty, too long, or holds NUL", code="bad_name")
    return tuple(dict.fromkeys(value))


def _tags(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict) or not all(
        isinstance(text, str) and len(text) <= TEXT_MAX and "\0" not in text
        for pair in value.items()
        for text in pair
    ):
        raise Invalid("tags are an object of texts", code="bad_tags")
    return tuple(sorted(value.items()))


def _frequency(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("max_frequency is whole milliseconds", code="bad_max_frequency")
    return value


def _cursor(value: Any) -> str | None:
    """Raises Malformed for a text that is no cursor."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > CURSOR_MAX:
        raise Invalid("resume is a cursor", code="bad_cursor")
    parse_cursor(value)
    return value
