"""Devices: who sends. Their fields are those of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

OWN_DEVICE = "telemetryd"
"""As which the daemon writes its own health."""


@dataclass(frozen=True, slots=True)
class Device:
    """`expected_interval` is seconds.

    `location` is {"lat", "lon", "alt"?} in WGS 84 degrees and metres.
    """

    device_id: str
    name: str | None
    type: str | None
    tags: dict[str, str]
    attributes: dict[str, Any]
    location: dict[str, float] | None
    expected_interval: float | None
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime | None = None
    status: str = "inactive"


class Box(NamedTuple):
    """Degrees; `west` greater than `east` crosses the antimeridian (RFC 7946, section 5.2)."""

    west: float
    south: float
    east: float
    north: float
