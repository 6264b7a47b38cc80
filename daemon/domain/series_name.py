"""What a series is called where people see it; ids are the database's own."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.domain.kinds import Kind


@dataclass(frozen=True, slots=True)
class SeriesName:
    """`kind` says how numbers read; `unit` stands where a point has no unit of its own."""

    device_id: str
    metric_name: str
    kind: Kind
    unit: str | None = None
