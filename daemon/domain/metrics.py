"""Metric definitions and what makes one consistent.

Checking points against them is domain/admission's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from daemon.domain.errors import Conflict, Invalid

_VALUE_TYPES: dict[str, tuple[type, ...]] = {
    "numeric": (int, float),
    "string": (str,),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A definition; its fields are those of the contract. Bounds are inclusive, None means none."""

    metric_id: str
    name: str
    description: str | None
    data_type: str
    metric_type: str
    unit: str | None
    min_value: float | None
    max_value: float | None
    allowed_values: list[Any] | None
    retention_days: int
    aggregation_interval: int | None
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    created_by: str


def changed(metric: Metric, changes: Mapping[str, Any], *, has_data: bool) -> Metric:
    """The definition with these fields changed.

    Raises Conflict for its type once there is data, Invalid.
    """
    if has_data and changes.get("data_type", metric.data_type) != metric.data_type:
        raise Conflict(
            f"{metric.name} has data of type {metric.data_type}; the type can't change any more",
            code="has_data",
        )
    new = replace(metric, **changes)
    check(new)
    return new


def check(metric: Metric) -> None:
    """Raises Invalid when the fields contradict each other."""
    errors = [
        {"pointer": pointer, "code": "contradiction", "detail": detail}
        for pointer, detail in _contradictions(metric)
    ]
    if errors:
        raise Invalid(f"The definition contradicts itself: {errors[0]['detail']}.", errors=errors)


def _contradictions(metric: Metric) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    low, high = metric.min_value, metric.max_value
    if low is not None and high is not None and low > high:
        found.append(("/min_value", "min_value is greater than max_value"))
    if metric.data_type != "numeric":
        for name, bound in (("min_value", low), ("max_value", high)):
            if bound is not None:
                found.append((f"/{name}", f"only numeric metrics have a {name}"))
    if metric.allowed_values is not None:
        found += _wrong_values(metric.data_type, metric.allowed_values)
    return found


def _wrong_values(data_type: str, values: list[Any]) -> list[tuple[str, str]]:
    types = _VALUE_TYPES.get(data_type)
    if types is None:
        return [("/allowed_values", f"{data_type} metrics have no allowed_values")]
    return [
        (f"/allowed_values/{index}", f"the value is not {data_type}")
        for index, value in enumerate(values)
        if not isinstance(value, types) or (isinstance(value, bool) and data_type != "boolean")
    ]
