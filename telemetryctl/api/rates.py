"""Who sends how much just now."""

from typing import Literal

from telemetryctl.api.model import Answer


class Rate(Answer):
    """One device, metric or key; a key has its id as `name` and its name as `label`."""

    name: str
    points_per_second: float
    points: int
    label: str | None = None


class RateTable(Answer):
    """The busiest first; the total counts all that the key sees, listed or not."""

    by: Literal["device", "metric", "key"]
    window_s: int
    rates: list[Rate]
    total_points_per_second: float
