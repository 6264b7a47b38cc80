"""What the catalogue says of a series and a metric, as table and memory view both hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daemon.domain.kinds import Kind


@dataclass(frozen=True, slots=True)
class Definition:
    """What ingest and statistics know of a definition; bounds are inclusive, None is unbounded."""

    kind: Kind
    min_value: float | None = None
    max_value: float | None = None
    allowed_values: frozenset[Any] | None = None
    unit: str | None = None
    metric_type: str = "gauge"


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One row of the series table."""

    series_id: int
    device_id: str
    metric_name: str
    kind: Kind
