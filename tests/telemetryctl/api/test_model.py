"""Shared field types of the wire models, and shapes that are easy to get wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from telemetryctl.api.keys import KeyCreate
from telemetryctl.api.metrics import MetricCreate, MetricPatch
from telemetryctl.api.model import format_instant, parse_instant
from telemetryctl.api.queries import Query

TEN = datetime(2025, 12, 18, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    ["2025-12-18T10:00:00Z", "2025-12-18T12:00:00+02:00", 1_766_052_000, 1_766_052_000_000],
)
def test_an_instant_is_iso_text_or_an_epoch_number(value: object) -> None:
    assert parse_instant(value) == TEN


@pytest.mark.parametrize(
    "value",
    ["2025-12-18T10:00:00", "soon", True, None, 1e300, float("nan"), [], "0001-01-01T00:00+23:00"],
)
def test_what_is_no_instant_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_instant(value)


def test_microseconds_are_shown_only_when_there_are_any() -> None:
    assert format_instant(TEN) == "2025-12-18T10:00:00Z"
    assert format_instant(TEN.replace(microsecond=5)) == "2025-12-18T10:00:00.000005Z"


@pytest.mark.parametrize(
    "more",
    [
        {"typo": 1},
        {"description": "a\0b"},
        {"metadata": {"a": ["\ud800"]}},
        {"metadata": {"\0": 1}},
        {"metadata": {"a": float("inf")}},
        {"min_value": 2, "max_value": 1},
        {"min_value": float("nan")},
        {"retention_days": 0},
        {"retention_days": 3_651},
        {"allowed_values": []},
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricCreate.model_validate({"name": "temperature", "data_type": "numeric", **more})


def test_values_nested_too_deep_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}

    with pytest.raises(ValidationError, match="nested"):
        MetricCreate.model_validate({"name": "x", "data_type": "json", "metadata": deep})


def test_a_patch_tells_null_from_absent() -> None:
    patch = MetricPatch.model_validate({"unit": None, "max_value": 5})

    assert patch.model_dump(exclude_unset=True) == {"unit": None, "max_value": 5.0}


@pytest.mark.parametrize(("given", "seconds"), [(90, 90), ("90d", 7_776_000), ("1h30m", 5_400)])
def test_a_lifetime_is_seconds_or_a_duration(given: object, seconds: int) -> None:
    body = {"name": "ops", "scopes": ["read"], "expires_in": given}

    assert KeyCreate.model_validate(body).expires_in == seconds


@pytest.mark.parametrize("given", ["90", "d", "1d x", 0, -5, "0s"])
def test_what_is_no_lifetime_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        KeyCreate.model_validate({"name": "ops", "scopes": ["read"], "expires_in": given})


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    body = {"metrics": ["t"], "start_time": 1_766_052_000, "end_time": 1_766_052_000}

    with pytest.raises(ValidationError, match="before"):
        Query.model_validate(body)
