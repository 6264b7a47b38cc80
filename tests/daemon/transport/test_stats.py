"""Figures about a device and the service (R-099, R-100)."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio
HOUR_US = 3_600_000_000


async def device_stats(control: Control, device_id: str) -> dict[str, Any]:
    answer = await control.client.get(f"{API}/devices/{device_id}/stats")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def service_stats(control: Control) -> dict[str, Any]:
    answer = await control.client.get(f"{API}/stats")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def compact_by_hand(control: Control, device_id: str, *, hour: int, points: int) -> None:
    """Move a device's only series into a chunk and a rollup, and the compactor past the journal."""
    start_us = hour * HOUR_US
    async with control.database.transaction("control") as connection:
        series_id = await connection.fetchval(
            "select series_id from telemetry.series where device_id = $1", device_id
        )
        await connection.execute(
            "insert into telemetry.chunk (series_id, start_us, end_us, points, tick_us, numbers)"
            " values ($1, $2, $3, $4, 1, $5)",
            series_id, start_us, start_us + points - 1, points, [1.0] * points,
        )  # fmt: skip
        await connection.execute(
            "insert into telemetry.rollup (series_id, hour, points, numbers)"
            " values ($1, $2, $3, $3)",
            series_id, hour, points,
        )  # fmt: skip
        await connection.execute(
            "update telemetry.consumer set position = (select max(seq) from telemetry.journal)"
            " where name = 'compactor'"
        )
    await control.tail.trim()


async def test_a_device_without_data_has_zeros(control: Control) -> None:
    stats = await device_stats(control, "nobody")

    assert stats == {
        "device_id": "nobody",
        "total_metrics": 0,
        "active_metrics": 0,
        "data_points_count": 0,
        "last_update": None,
        "storage_size": 0,
        "avg_frequency": 0.0,
        "last_24h_points": 0,
        "last_24h_alerts": 0,
        "metrics_by_type": {"gauge": 0, "counter": 0, "histogram": 0},
        "top_metrics": [],
    }


async def test_points_count_before_and_after_they_are_compacted(control: Control) -> None:
    now_us = control.clock.now_us()
    hour = now_us // HOUR_US
    await control.send([("d1", "speed", hour * HOUR_US + i, 1.0) for i in range(4)])
    before = await device_stats(control, "d1")
    service_before = await service_stats(control)
    await compact_by_hand(control, "d1", hour=hour, points=4)
    control.clock.advance_s(30)
    after = await device_stats(control, "d1")
    service_after = await service_stats(control)
    await control.send([("d1", "speed", now_us + 5, 1.0)])
    later = await device_stats(control, "d1")

    assert [before["data_points_count"], after["data_points_count"]] == [4, 4]
    assert [before["last_24h_points"], after["last_24h_points"]] == [4, 4]
    assert before["storage_size"] == 0
    assert after["storage_size"] > 0
    assert later["data_points_count"] == 5
    assert service_before["total_data_points"] == 4
    assert service_after["total_data_points"] == 4
    assert service_after["data_by_hour"] == service_before["data_by_hour"]


async def test_a_corrected_point_counts_once(control: Control) -> None:
    now_us = control.clock.now_us()
    await control.send([("d1", "speed", now_us, 1.0)])
    await control.send([("d1", "speed", now_us, 2.0)])

    assert (await device_stats(control, "d1"))["data_points_count"] == 1
    assert (await service_stats(control))["total_data_points"] == 1


async def test_a_device_says_what_it_sends(control: Control) -> None:
    now_us = control.clock.now_us()
    old_us = now_us - 30 * HOUR_US
    await control.send(
        [("d1", "speed", now_us - i, 1.0) for i in range(3)] + [("d1", "fuel", old_us, 1.0)]
    )

    stats = await device_stats(control, "d1")

    assert (stats["total_metrics"], stats["active_metrics"]) == (2, 1)
    assert stats["data_points_count"] == 4
    assert stats["last_24h_points"] == 3
    assert stats["avg_frequency"] == pytest.approx(3 / 1440, abs=1e-5)
    assert stats["metrics_by_type"] == {"gauge": 2, "counter": 0, "histogram": 0}
    assert stats["top_metrics"] == [
        {"name": "speed", "points": 3},
        {"name": "fuel", "points": 1},
    ]
    assert stats["last_update"].endswith("Z")


async def test_the_service_without_data_has_zeros(control: Control) -> None:
    stats = await service_stats(control)

    assert stats["total_devices"] == 0
    assert stats["total_data_points"] == 0
    assert stats["points_per_second"] == 0
    assert stats["data_by_hour"] == []
    assert stats["devices_by_type"] == {}


async def test_the_service_counts_devices_metrics_and_hours(control: Control) -> None:
    now_us = control.clock.now_us()
    await control.send(
        [
            ("bus-1", "speed", now_us, 1.0),
            ("bus-2", "speed", now_us - HOUR_US, 1.0),
            ("tram-1", "fuel", now_us - 50 * HOUR_US, 1.0),
        ]
    )
    await control.client.patch(f"{API}/devices/bus-1", json={"type": "bus"})
    await control.client.post(f"{API}/metrics", json={"name": "door", "data_type": "boolean"})

    stats = await service_stats(control)

    assert (stats["total_devices"], stats["active_devices"]) == (3, 2)
    assert stats["devices_by_type"] == {"bus": 1, "unknown": 2}
    assert stats["total_metrics"] == 3
    assert stats["metrics_by_type"] == {"gauge": 3, "counter": 0, "histogram": 0}
    assert stats["total_data_points"] == 3
    assert stats["last_24h_points"] == 2
    assert [hour["count"] for hour in stats["data_by_hour"]] == [1, 1]
    assert stats["error_rate"] == 0
    assert stats["last_24h_alerts"] == 0


async def test_a_deleted_device_is_not_counted(control: Control) -> None:
    await control.send([("d1", "speed", control.clock.now_us(), 1.0)])
    await control.client.delete(f"{API}/devices/d1")
    control.clock.advance_s(30)

    assert (await service_stats(control))["total_data_points"] == 0


async def test_a_key_of_some_devices_gets_no_figures_of_all(control: Control) -> None:
    narrow = bearer(await control.key("read", devices=["bus-*"]))

    answer = await control.client.get(f"{API}/stats", headers=narrow)

    assert answer.status_code == 403


async def test_a_device_was_last_heard_of_by_what_the_key_sees(control: Control) -> None:
    now_us = control.clock.now_us()
    old_us = now_us - 7 * 86_400_000_000
    await control.send([("d", "speed", old_us, 1.0), ("d", "hidden", now_us, 1.0)])
    key = bearer(await control.key("read", metrics=("speed",)))

    device = (await control.client.get(f"{API}/devices/d", headers=key)).json()
    stats = (await control.client.get(f"{API}/devices/d/stats", headers=key)).json()
    active = await control.client.get(f"{API}/devices?status=active", headers=key)
    everything = (await control.client.get(f"{API}/devices/d")).json()

    assert device["last_seen_at"] == stats["last_update"] != everything["last_seen_at"]
    assert (device["status"], everything["status"]) == ("inactive", "active")
    assert active.json()["total"] == 0
