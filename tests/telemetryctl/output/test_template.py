"""Templates: a format string over the fields of a point, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from telemetryctl.failures import UsageFailure
from telemetryctl.output.template import parse_template

POINT: dict[str, Any] = {
    "timestamp": "2026-11-21T10:00:00Z",
    "device_id": "bus_7",
    "metric_name": "speed",
    "value": 31.456,
    "unit": None,
    "tags": {"route": "20", "site.name": "north"},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{device_id} {value}", "bus_7 31.456"),
        ("{value:8.1f}|", "    31.5|"),
        ("{device_id:>8}|{metric_name:<6}|", "   bus_7|speed |"),
        ("{tags.route} {tags.site.name} {tags.nothing}!", "20 north !"),
        ("{tags}", '{"route":"20","site.name":"north"}'),
        ("{unit}{metadata}", ""),
        ("{unit!r} {device_id!r}", "None 'bus_7'"),
        (r"{device_id}\t{value:.0f}\n", "bus_7\t31\n"),
        (r"\\ \x {{}}", "\\ \\x {}"),
        ("{device_id:.1f}", "bus_7"),
        ("{value:{unit}}", "31.456"),
    ],
)
def test_a_template_is_filled(template: str, text: str) -> None:
    assert parse_template(template)(POINT) == text


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), ({"lat": 1, "lon": 2}, '{"lat":1,"lon":2}'), ("on", "on")]
)
def test_a_format_for_numbers_leaves_other_values_as_they_are(value: Any, text: str) -> None:
    assert parse_template("{value:.1f}")(POINT | {"value": value}) == text


@pytest.mark.parametrize(
    "template",
    [
        "{device_id.__class__}",
        "{device_id.upper}",
        "{tags[route]}",
        "{tags.__class__}",
        "{0}",
        "{}",
        "{nobody}",
        "{value:{nobody}}",
        "{value",
        "value}",
        "{value!x}",
    ],
)
def test_what_is_no_field_is_refused_before_anything_is_asked(template: str) -> None:
    with pytest.raises(UsageFailure, match="template"):
        parse_template(template)
