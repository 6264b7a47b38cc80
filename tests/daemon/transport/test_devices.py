"""Devices over HTTP (contract 6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from control import API, Control, bearer

from daemon.domain.errors import Busy
from daemon.domain.kinds import Kind

pytestmark = pytest.mark.anyio
DEVICES = f"{API}/devices"
DAY_US = 86_400_000_000


async def some_devices(control: Control) -> None:
    """bus-1 and bus-2 sent something now, tram-1 two days ago."""
    now_us = control.clock.now_us()
    await control.send(
        [
            ("bus-1", "speed", now_us, 1.0),
            ("bus-2", "speed", now_us, 2.0),
            ("tram-1", "speed", now_us - 2 * DAY_US, 3.0),
        ]
    )


async def patch(control: Control, device_id: str, **fields: Any) -> dict[str, Any]:
    answer = await control.client.patch(f"{DEVICES}/{device_id}", json=fields)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def ids(control: Control, query: str) -> list[str]:
    answer = await control.client.get(f"{DEVICES}?{query}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["count"] == len(body["devices"])
    return [device["device_id"] for device in body["devices"]]


async def test_a_device_appears_with_its_first_point(control: Control) -> None:
    await some_devices(control)

    shown = (await control.client.get(f"{DEVICES}/bus-1")).json()

    assert shown["device_id"] == "bus-1"
    assert (shown["type"], shown["tags"], shown["status"]) == (None, {}, "active")
    assert shown["last_seen_at"].endswith("Z")


async def test_an_unknown_device_is_a_404_also_for_a_change(control: Control) -> None:
    shown = await control.client.get(f"{DEVICES}/none")
    changed = await control.client.patch(f"{DEVICES}/none", json={"type": "bus"})
    deleted = await control.client.delete(f"{DEVICES}/none")

    assert [shown.status_code, changed.status_code, deleted.status_code] == [404, 404, 404]
    assert shown.json()["code"] == "unknown_device"


async def test_a_change_keeps_what_it_does_not_name_and_null_clears(control: Control) -> None:
    await some_devices(control)
    await patch(control, "bus-1", type="bus", name="One", tags={"line": "5"}, expected_interval=30)
    changed = await patch(
        control, "bus-1", location={"lat": 60.2, "lon": 24.9}, name=None, tags=None
    )

    assert changed["location"] == {"lat": 60.2, "lon": 24.9}
    assert (changed["type"], changed["name"], changed["tags"]) == ("bus", None, {})
    assert changed["expected_interval"] == 30
    assert (await control.client.get(f"{DEVICES}/bus-1")).json() == changed


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": "other"},
        {"location": {"lat": 91, "lon": 0}},
        {"expected_interval": 0},
        {"tags": {"a": 1}},
        {"tags": {"a": "\0"}},
        {"attributes": {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}},
    ],
)
async def test_a_wrong_field_is_a_422(control: Control, fields: dict[str, Any]) -> None:
    await some_devices(control)

    answer = await control.client.patch(f"{DEVICES}/bus-1", json=fields)

    assert answer.status_code == 422, answer.text


async def test_a_list_filters_and_pages(control: Control) -> None:
    await some_devices(control)
    await patch(control, "bus-1", type="bus", tags={"line": "5", "city": "x"})
    await patch(control, "bus-2", type="bus", tags={"line": "6", "city": "x"})

    assert await ids(control, "") == ["bus-1", "bus-2", "tram-1"]
    assert await ids(control, "type=bus") == ["bus-1", "bus-2"]
    assert await ids(control, "tag.city=x&tag.line=6") == ["bus-2"]
    assert await ids(control, "limit=1&offset=1") == ["bus-2"]
    assert await ids(control, "status=active") == ["bus-1", "bus-2"]
    assert await ids(control, "status=inactive") == ["tram-1"]


async def test_a_page_beyond_the_end_still_says_how_many_there_are(control: Control) -> None:
    await some_devices(control)

    body = (await control.client.get(f"{DEVICES}?offset=100")).json()

    assert (body["count"], body["total"]) == (0, 3)


async def test_a_box_holds_what_lies_in_it_also_across_the_date_line(control: Control) -> None:
    await some_devices(control)
    await patch(control, "bus-1", location={"lat": 0, "lon": 179})
    await patch(control, "bus-2", location={"lat": 0, "lon": -179})

    assert await ids(control, "bbox=170,-1,180,1") == ["bus-1"]
    assert await ids(control, "bbox=170,-1,-170,1") == ["bus-1", "bus-2"]
    assert await ids(control, "bbox=-10,-1,10,1") == []


@pytest.mark.parametrize(
    "query",
    ["bbox=1,2,3", "bbox=a,b,c,d", "bbox=0,nan,1,1", "bbox=0,2,1,1", "bbox=0,0,999,1",
     "status=gone", "tag.a=%00", "&".join(f"tag.{n}=1" for n in range(33))],
)  # fmt: skip
async def test_a_malformed_filter_is_a_400(control: Control, query: str) -> None:
    answer = await control.client.get(f"{DEVICES}?{query}")

    assert answer.status_code == 400, answer.text


async def test_a_malformed_id_is_a_400(control: Control) -> None:
    answer = await control.client.get(f"{DEVICES}/a%20b")

    assert answer.status_code == 400


async def test_deleting_takes_everything_that_the_device_sent(control: Control) -> None:
    await some_devices(control)
    async with control.database.connection("control") as connection:
        series_id = await connection.fetchval(
            "select series_id from telemetry.series where device_id = 'bus-1'"
        )
        await connection.execute(
            "insert into telemetry.rollup (series_id, hour, points, numbers) values ($1, 1, 1, 1)",
            series_id,
        )

    deleted = await control.client.delete(f"{DEVICES}/bus-1")

    assert deleted.json()["success"] is True
    assert await ids(control, "") == ["bus-2", "tram-1"]
    assert control.tail.registry.metrics_of("bus-1") == {}
    async with control.database.connection("control") as connection:
        left = await connection.fetchval("select count(*) from telemetry.rollup")
    assert left == 0


async def test_a_device_that_sends_again_starts_anew(control: Control) -> None:
    await some_devices(control)
    before = control.tail.registry.find("bus-1", "speed")
    await control.client.delete(f"{DEVICES}/bus-1")
    await some_devices(control)

    assert await ids(control, "") == ["bus-1", "bus-2", "tram-1"]
    assert control.tail.registry.find("bus-1", "speed") not in (None, before)


async def test_what_a_key_may_not_see_does_not_exist(control: Control) -> None:
    await some_devices(control)
    narrow = bearer(await control.key("read", "devices:write", devices=["bus-?"]))

    listed = (await control.client.get(DEVICES, headers=narrow)).json()
    answers = [
        await control.client.request(method, f"{DEVICES}/tram-1", headers=narrow, json={})
        for method in ("GET", "PATCH", "DELETE")
    ]
    stats = await control.client.get(f"{DEVICES}/tram-1/stats", headers=narrow)

    assert [d["device_id"] for d in listed["devices"]] == ["bus-1", "bus-2"]
    assert listed["total"] == 2
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert stats.json()["data_points_count"] == 0


async def test_an_id_with_slashes_is_one_segment(control: Control) -> None:
    await control.send([("site/a/stats", "speed", control.clock.now_us(), 1.0)])

    shown = await control.client.get(f"{DEVICES}/site%2Fa%2Fstats")

    assert shown.json()["device_id"] == "site/a/stats"


async def test_a_device_that_sends_while_it_is_deleted_never_breaks(control: Control) -> None:
    outcomes: list[str] = []

    async def register(metric_name: str) -> None:
        for _ in range(20):
            try:
                await control.tail.series.register([("d1", metric_name, Kind.NUMERIC)])
            except Busy:
                outcomes.append("busy")

    async def delete() -> None:
        for _ in range(20):
            answer = await control.client.delete(f"{DEVICES}/d1")
            outcomes.append(str(answer.status_code))

    await asyncio.gather(register("a"), register("b"), delete())

    assert set(outcomes) <= {"busy", "200", "404"}


async def test_a_key_of_some_metrics_deletes_no_device_with_all_of_its_points(
    control: Control,
) -> None:
    now_us = control.clock.now_us()
    await control.send([("bus-1", "speed", now_us, 1.0), ("bus-1", "doors", now_us, 1.0)])
    bound = bearer(await control.key("read", "devices:write", metrics=["speed"]))

    answer = await control.client.delete(f"{DEVICES}/bus-1", headers=bound)
    unknown = await control.client.delete(f"{DEVICES}/bus-2", headers=bound)
    still = await control.client.get(f"{DEVICES}/bus-1/metrics")

    assert (answer.status_code, answer.json()["code"]) == (403, "outside_patterns")
    assert unknown.status_code == 404
    assert still.json()["count"] == 2
