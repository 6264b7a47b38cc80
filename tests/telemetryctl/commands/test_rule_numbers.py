"""Values to try and limits to fail by, as somebody types them."""

from __future__ import annotations

from typing import Any

import pytest

from telemetryctl.commands.rule_numbers import NUMBERS, parse_limit, parse_settings
from telemetryctl.failures import UsageFailure

SUMMARY = dict.fromkeys(NUMBERS, 0) | {"alerts": 12, "alerts_per_day": 5.5, "flaps": 0}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("threshold_value=85..88", [85, 86, 87, 88]),
        ("threshold_value=0.1..0.3:0.1", [0.1, 0.2, 0.3]),
        ("threshold_value=-1..1:0.5", [-1, -0.5, 0, 0.5, 1]),
        ("threshold_value=85..86:5", [85]),
        ("threshold_value=1e2..102", [100, 101, 102]),
        ("trigger_count=1,2, 5", [1, 2, 5]),
        ("evaluation_window=30,5m,1h", [30, 300, 3600]),
        ("cooldown_minutes=0,15m,1h", [0, 15, 60]),
        ("expected_interval=auto,1m", ["auto", 60]),
        ("to=open,closed,true", ["open", "closed", True]),
        ("auto_resolve=true,false", [True, False]),
    ],
)
def test_a_setting_names_its_values(text: str, values: list[Any]) -> None:
    [read] = parse_settings([text]).values()

    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


@pytest.mark.parametrize(
    "texts",
    [
        ["threshold_value"], ["=1"], ["a="], ["a=1", "a=2"], ["a=2..1"], ["a=1..2:0"],
        ["a=1..x"], ["a=1..Infinity"], ["a=1..NaN"], ["a=0..1000:1"], ["evaluation_window=soon"],
    ],
)  # fmt: skip
def test_what_names_no_values_is_refused(texts: list[str]) -> None:
    with pytest.raises(UsageFailure):
        parse_settings(texts)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("alerts_per_day > 5", True),
        ("alerts_per_day>=5.5", True),
        ("alerts_per_day < 5.5", False),
        ("alerts == 12", True),
        ("alerts = 12", True),
        ("alerts != 12", False),
        ("alerts > 10 and flaps > 0", False),
        ("alerts > 10 and flaps <= 0", True),
    ],
)
def test_a_limit_is_about_the_numbers_of_a_summary(text: str, holds: bool) -> None:
    assert parse_limit(text).holds(SUMMARY) is holds


@pytest.mark.parametrize(
    "text",
    [
        "", "alerts", "alerts >", "alerts > x", "alerts > nan_", "5 < alerts", "alerts > 1 or 1",
        "alerts > 1 and", "per_device > 1", "alerts > __import__('os')", "alerts ** 2 > 1",
    ],
)  # fmt: skip
def test_what_is_no_comparison_of_such_numbers_is_refused(text: str) -> None:
    with pytest.raises(UsageFailure):
        parse_limit(text)
