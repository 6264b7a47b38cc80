"""The short way of single points: it stores what the long way would, and leaves the rest to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stacks import NOW_US, a_stack

from daemon.store.pool import Database
from daemon.transport.plain import decode_plain

pytestmark = pytest.mark.anyio
PATH = "/devices/pump_1/telemetry"
EVER_US = 2**62


def a_point(**fields: Any) -> dict[str, Any]:
    return {"timestamp": NOW_US // 1000, "metric_name": "flow", "value": 1.5} | fields


@pytest.mark.parametrize(
    "body",
    [
        b'{"timestamp":"2025-12-18T12:00:00","metric_name":"flow","value":1}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":"1"}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":9007199254740993}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":1e999}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":1,"tags":{"a":"b"}}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":1,"metadata":{"a":1}}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow","value":1,"unit":"\\u0000"}',
        b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"flow"}',
        b'{"timestamp":"2025-12-18T12:00:00Z"',
        b"\xff",
    ],
)
async def test_a_body_that_needs_a_look_takes_the_long_way(body: bytes) -> None:
    assert decode_plain(body) is None


async def test_a_second_point_is_stored_with_its_unit_and_read_at_once(database: Database) -> None:
    async with a_stack(database) as stack:
        for value in (1.5, 2.5):
            answer = await stack.post(PATH, a_point(value=value, unit="l/s"))

        series_id = stack.registry.find("pump_1", "flow")
        assert series_id is not None
        head = stack.head.read(np.array([series_id], np.int32), start_us=0, end_us=EVER_US)
        newest = stack.latest.get(series_id)

    assert (answer.status_code, answer.json()) == (
        200,
        {
            "success": True,
            "message": "Data point ingested successfully",
            "device_id": "pump_1",
            "metric_name": "flow",
        },
    )
    assert head.numbers.tolist() == [1.5, 2.5]
    assert newest is not None
    assert (newest.value, newest.context) == (2.5, b'{"unit":"l/s"}')


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ({"timestamp": NOW_US // 1000 + 600_000}, "in_future"),
        ({"timestamp": NOW_US // 1000 - 91 * 86_400_000}, "too_old"),
        ({"value": None}, "unknown_type"),
    ],
)
async def test_a_second_point_is_refused_as_the_first(
    database: Database, field: dict[str, Any], code: str
) -> None:
    async with a_stack(database) as stack:
        first = await stack.post(PATH, a_point())

        answer = await stack.post(PATH, a_point(**field))

        points = stack.head.points
    assert first.status_code == 200
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert points == 1


async def test_a_dry_run_of_a_known_series_stores_nothing(database: Database) -> None:
    async with a_stack(database) as stack:
        await stack.post(PATH, a_point())

        answer = await stack.post(f"{PATH}?dry_run=true", a_point(value=9))

        points = stack.head.points
    assert answer.json()["message"] == "Data point is valid"
    assert points == 1


async def test_short_and_long_way_take_turns_and_the_last_value_stands(database: Database) -> None:
    async with a_stack(database) as stack:
        await stack.post(PATH, a_point())
        mixed = [a_point(value=2.0), a_point(value=3.0, tags={"a": "b"}), a_point(value=4.0)]

        for point in mixed:
            await stack.post(PATH, point)

        series_id = stack.registry.find("pump_1", "flow")
        assert series_id is not None
        newest = stack.latest.get(series_id)
    assert newest is not None
    assert (newest.value, newest.context) == (4.0, None)
