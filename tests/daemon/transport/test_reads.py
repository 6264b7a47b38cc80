"""The reading routes: shapes, times, refusals, caching, and what a key may see."""

from __future__ import annotations

import csv
import io
from datetime import UTC
from typing import Any

import httpx
import pytest
from control import API, Control, bearer

from daemon.clock import as_datetime

pytestmark = pytest.mark.anyio
S = 1_000_000
MINUTE_US = 60 * S


def iso(time_us: int) -> str:
    return as_datetime(time_us).isoformat().replace("+00:00", "Z")


@pytest.fixture
async def start_us(control: Control) -> int:
    """Half an hour of points of two buses, one a minute, began here."""
    start_us = control.clock.now_us() // MINUTE_US * MINUTE_US - 30 * MINUTE_US
    await control.send(
        [
            (bus, "speed", start_us + at * MINUTE_US, at + 0.5 * (bus == "bus-2"))
            for at in range(30)
            for bus in ("bus-1", "bus-2")
        ]
    )
    return start_us


def one_bucket_s(start_us: int) -> int:
    """An interval of which one bucket holds the whole half hour, whatever time it is."""
    end_us = start_us + 30 * MINUTE_US
    return next(
        days * 86_400
        for days in range(300, 366)
        if start_us // (days * 86_400 * S) == end_us // (days * 86_400 * S)
    )


def window(start_us: int, **changes: Any) -> dict[str, Any]:
    return {
        "metrics": ["speed"],
        "start_time": iso(start_us),
        "end_time": iso(start_us + 30 * MINUTE_US),
    } | changes


async def test_a_query_of_one_series_names_it_on_top(control: Control, start_us: int) -> None:
    answer = await control.client.post(
        f"{API}/query", json=window(start_us, devices=["bus-1"], limit=2)
    )

    body = answer.json()
    cursor = body.pop("next_cursor")
    assert answer.status_code == 200
    assert body == {
        "device_id": "bus-1",
        "metric_name": "speed",
        "data_points": [
            {
                "timestamp": iso(start_us + at * MINUTE_US),
                "device_id": "bus-1",
                "metric_name": "speed",
                "value": at,
                "unit": None,
            }
            for at in range(2)
        ],
        "count": 2,
        "aggregation": None,
        "interval": None,
        "start_time": iso(start_us),
        "end_time": iso(start_us + 30 * MINUTE_US),
        "series": [{"device_id": "bus-1", "metric_name": "speed", "count": 2}],
        "truncated": True,
    }
    assert isinstance(cursor, str)


async def test_a_query_of_several_series_names_none_on_top(control: Control, start_us: int) -> None:
    answer = await control.client.post(
        f"{API}/query", json=window(start_us, aggregation="avg", interval=one_bucket_s(start_us))
    )

    body = answer.json()
    assert (body["device_id"], body["metric_name"]) == (None, "speed")
    assert [(p["device_id"], p["value"]) for p in body["data_points"]] == [
        ("bus-1", 14.5),
        ("bus-2", 15),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"start_time": "2025-12-18T10:00:00"}, 422, "invalid"),
        ({"end_time": "2001-01-01T00:00:00Z"}, 422, "invalid"),
        ({"metrics": []}, 422, "invalid"),
        ({"limit": 10_001}, 422, "invalid"),
        ({"aggregation": "mode"}, 422, "invalid"),
        ({"surprise": 1}, 422, "invalid"),
        ({"groups": ["grp_1"]}, 422, "unknown_group"),
        ({"cursor": "none of ours"}, 422, "bad_cursor"),
        ({"limit": 3, "strict": True}, 422, "truncated"),
    ],
)
async def test_an_impossible_query_is_refused(
    control: Control, start_us: int, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = await control.client.post(f"{API}/query", json=window(start_us, **changes))

    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_range_ends_now(control: Control, start_us: int) -> None:
    path = f"{API}/devices/bus-1/metrics/speed/range"
    day = (await control.client.get(path)).json()
    hour = (
        await control.client.get(
            path, params={"time_range": "1h", "aggregation": "count", "interval": 86_400}
        )
    ).json()
    wrong = await control.client.get(path, params={"time_range": "2h"})

    assert day["count"] == 30
    assert sum(p["value"] for p in hour["data_points"]) == 30
    assert hour["aggregation"] == "count"
    assert wrong.status_code == 400


@pytest.mark.parametrize("form", ["iso", "seconds", "milliseconds", "plus"])
async def test_times_are_taken_in_every_form(control: Control, start_us: int, form: str) -> None:
    def text(time_us: int) -> str:
        at = as_datetime(time_us)
        return {
            "iso": iso(time_us),
            "seconds": str(time_us // S),
            "milliseconds": str(time_us // 1000),
            # Not percent-encoded below, so that the plus arrives as a blank.
            "plus": at.astimezone(UTC).isoformat(),
        }[form]

    answer = await control.client.get(
        f"{API}/aggregated?metric_name=speed&aggregation_type=sum&interval=600"
        f"&start_time={text(start_us)}&end_time={text(start_us + 2 * MINUTE_US)}"
    )

    assert answer.status_code == 200, answer.text
    assert sum(p["value"] for p in answer.json()["data_points"]) == 0 + 0.5 + 1 + 1.5


async def test_aggregated_pools_all_devices(control: Control, start_us: int) -> None:
    interval_s = one_bucket_s(start_us)
    params: dict[str, str | int] = {
        "metric_name": "speed",
        "aggregation_type": "max",
        "interval": interval_s,
        "start_time": iso(start_us),
        "end_time": iso(start_us + 30 * MINUTE_US),
    }
    body = (await control.client.get(f"{API}/aggregated", params=params)).json()
    one = (
        await control.client.get(f"{API}/aggregated", params=params | {"device_id": "bus-1"})
    ).json()

    points = body.pop("data_points")
    assert [(p["value"], p["count"]) for p in points] == [(29.5, 60)]
    assert body == {
        "metric_name": "speed",
        "aggregation_type": "max",
        "interval": interval_s,
        "device_id": None,
        "count": 1,
        "start_time": iso(start_us),
        "end_time": iso(start_us + 30 * MINUTE_US),
    }
    assert [(p["value"], p["count"]) for p in one["data_points"]] == [(29, 30)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"start_time": "2025-12-18T10:00:00"}, 400),
        ({"start_time": "soon"}, 400),
        ({"timezone": "Mars/Olympus"}, 400),
        ({"timezone": "../../etc/passwd"}, 400),
        ({"timezone": "Europe"}, 400),
        ({"interval": "0"}, 400),
        ({"aggregation_type": "mode"}, 400),
        ({"metric_name": "a b"}, 400),
        ({"start_time": "2101-01-01T00:00:00Z"}, 422),
        ({"start_time": "1e400"}, 400),
    ],
)
async def test_impossible_parameters_are_refused(
    control: Control, start_us: int, changes: dict[str, str], status: int
) -> None:
    params = {
        "metric_name": "speed",
        "aggregation_type": "max",
        "interval": "60",
        "start_time": iso(start_us),
        "end_time": iso(start_us + MINUTE_US),
    } | changes

    answer = await control.client.get(f"{API}/aggregated", params=params)

    assert answer.status_code == status, answer.text


async def test_the_newest_point_is_cached_until_it_changes(control: Control, start_us: int) -> None:
    path = f"{API}/devices/bus-1/metrics/speed/latest"
    first = await control.client.get(path)
    again = await control.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    newest_us = start_us + 29 * MINUTE_US
    await control.send([("bus-1", "speed", newest_us, 7.0)])
    corrected = await control.client.get(path, headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "private, max-age=60"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert corrected.status_code == 200
    body = corrected.json()
    assert body.pop("age_seconds") >= 60
    assert body == {
        "device_id": "bus-1",
        "metric_name": "speed",
        "value": 7,
        "unit": None,
        "timestamp": iso(newest_us),
        "tags": {},
        "metadata": {},
        "changed_at": iso(newest_us),
        "previous_value": 28,
    }


async def test_the_short_way_to_the_newest_point_answers_the_same(
    control: Control, start_us: int
) -> None:
    path = f"{API}/devices/bus-1/metrics/speed/latest"
    short = await control.client.get(path, headers={"X-Request-ID": "one"})
    long = await control.client.get(f"{path}?lookback=24h", headers={"X-Request-ID": "one"})

    assert short.json() == long.json()
    assert dict(short.headers) == dict(long.headers)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("bus-1/metrics/speed/latest", {"Authorization": "Bearer nobody"}, 401),
        ("bus-1/metrics/nothing/latest", {}, 404),
        ("bus%2D1/metrics/speed/latest", {}, 200),
        ("bus-1/metrics/latest", {}, 404),
        ("bus-1/metrics/a/b/latest", {}, 404),
        ("bus-1/x/metrics/speed/latest", {}, 404),
        ("bus-1/metrics/speed/latest?lookback=-1", {}, 400),
    ],
)
async def test_what_the_short_way_does_not_know_goes_the_long_one(
    control: Control, start_us: int, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await control.client.get(f"{API}/devices/{path}", headers=headers)

    assert answer.status_code == status, answer.text
    assert "x-request-id" in answer.headers


async def test_the_short_way_is_closed_to_keys_that_may_not_read(
    control: Control, start_us: int
) -> None:
    writer = bearer(await control.key("ingest"))
    path = f"{API}/devices/bus-1/metrics/speed/latest"

    first = await control.client.get(path, headers=writer)
    again = await control.client.get(path, headers=writer)

    assert (first.status_code, again.status_code) == (403, 403)


async def test_the_newest_point_may_be_too_old(control: Control, start_us: int) -> None:
    path = f"{API}/devices/bus-1/metrics/speed/latest"
    control.clock.advance_s(25 * 3600)

    default = await control.client.get(path)
    wider = await control.client.get(path, params={"lookback": "2d"})
    however = await control.client.get(path, params={"lookback": "0"})
    wrong = await control.client.get(path, params={"lookback": "yesterday"})

    assert default.status_code == 404
    assert "stale" not in wider.json()
    assert however.json()["stale"] is True
    assert wrong.status_code == 400


async def test_the_newest_points_of_many_devices(control: Control, start_us: int) -> None:
    answer = await control.client.get(
        f"{API}/latest", params={"device_ids": "bus-1,bus-9", "metric_names": "speed"}
    )
    core = await control.client.get(f"{API}/latest", params={"view": "core"})
    many = await control.client.get(
        f"{API}/latest", params={"device_ids": ",".join(f"bus-{i}" for i in range(101))}
    )
    grouped = await control.client.get(f"{API}/latest", params={"group": "east"})

    body = answer.json()
    assert list(body["latest"]) == ["bus-1"]
    assert body["latest"]["bus-1"]["speed"]["value"] == 29
    assert (body["missing"], body["count"]) == (["bus-9"], 1)
    changes = await control.client.get(f"{API}/changes", params={"after": body["cursor"]})
    assert changes.json()["data_points"] == []
    assert set(core.json()["latest"]["bus-2"]["speed"]) == {
        "value",
        "unit",
        "timestamp",
        "age_seconds",
    }
    assert many.status_code == 422
    assert grouped.status_code == 422


async def test_a_device_lists_its_metrics(control: Control, start_us: int) -> None:
    known = await control.client.get(f"{API}/devices/bus-1/metrics")
    unknown = await control.client.get(f"{API}/devices/nobody/metrics")

    assert known.json() == {"device_id": "bus-1", "metrics": ["speed"], "count": 1}
    assert unknown.json() == {"device_id": "nobody", "metrics": [], "count": 0}


async def test_changes_go_on_where_they_ended(control: Control, start_us: int) -> None:
    first = (await control.client.get(f"{API}/changes", params={"limit": 50})).json()
    rest = (await control.client.get(f"{API}/changes", params={"after": first["cursor"]})).json()
    bad = await control.client.get(f"{API}/changes", params={"after": "1 or 1=1"})
    long = await control.client.get(f"{API}/changes", params={"wait": "61"})

    assert (len(first["data_points"]), len(rest["data_points"])) == (50, 10)
    assert set(rest) == {"data_points", "cursor", "gap"}
    assert rest["gap"] is None
    assert set(rest["data_points"][0]) == {
        "timestamp",
        "device_id",
        "metric_name",
        "value",
        "unit",
    }
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_cursor")
    assert long.status_code == 400


async def test_an_export_has_every_point_once_by_device_and_time(
    control: Control, start_us: int
) -> None:
    answer = await control.client.get(
        f"{API}/export/csv",
        params={
            "device_ids": "bus-2,bus-1",
            "metric_names": "speed",
            "start_time": iso(start_us),
            "end_time": iso(start_us + 30 * MINUTE_US),
        },
    )

    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="telemetry.csv"'
    assert rows[0] == ["timestamp", "device_id", "metric_name", "value", "unit", "tags"]
    assert rows[1] == [iso(start_us), "bus-1", "speed", "0", "", ""]
    assert [row[1] for row in rows[1:]] == ["bus-1"] * 30 + ["bus-2"] * 30
    assert [float(row[3]) for row in rows[31:]] == [at + 0.5 for at in range(30)]


async def test_an_incremental_export_goes_on_where_it_ended(
    control: Control, start_us: int
) -> None:
    first = await control.client.get(f"{API}/export/csv", params={"after": ""})
    cursor = first.headers["x-next-cursor"]
    nothing = await control.client.get(f"{API}/export/csv", params={"after": cursor})
    await control.send([("bus-1", "speed", start_us, 99.0)])
    more = await control.client.get(f"{API}/export/csv", params={"after": cursor})

    assert first.text.count("\r\n") == 61
    assert nothing.status_code == 404
    assert nothing.headers["x-next-cursor"] == cursor == nothing.json()["next_cursor"]
    assert more.text.split("\r\n")[1].startswith(f"{iso(start_us)},bus-1,speed,99,")
    assert more.headers["x-next-cursor"] != cursor


async def test_what_has_not_settled_is_left_for_next_time(control: Control, start_us: int) -> None:
    early = await control.client.get(f"{API}/export/csv", params={"after": "", "settle_s": 300})
    # The points came by the clock of the database, which went on meanwhile.
    control.clock.advance_s(600)
    late = await control.client.get(f"{API}/export/csv", params={"after": "", "settle_s": 300})

    assert early.status_code == 404
    assert late.text.count("\r\n") == 61


async def test_an_export_after_a_lost_position_names_the_gap(
    control: Control, start_us: int
) -> None:
    answer = await control.client.get(f"{API}/export/csv", params={"after": "other-5"})

    assert answer.headers["x-gap"].startswith("other-5..")
    assert answer.text.count("\r\n") == 61


async def test_an_empty_export_is_not_found(control: Control, start_us: int) -> None:
    times = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z"}

    answer = await control.client.get(f"{API}/export/csv", params=times | {"device_ids": "*"})
    missing = await control.client.get(f"{API}/export/csv?device_ids=*")

    assert answer.status_code == 404
    assert missing.status_code == 400


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ({}, None),
        ({"device_ids": "", "metric_names": ""}, None),
        ({"groups": ""}, None),
        ({"tag.a": "b"}, None),
        ({"device_ids": "bus-1"}, 30),
        ({"metric_names": "speed"}, 60),
        ({"metric_names": "*"}, 60),
        ({"device_ids": "*"}, 60),
        ({"device_ids": "bus-1", "metric_names": "*"}, 30),
    ],
)
async def test_the_whole_table_is_exported_only_when_it_is_asked_for(
    control: Control, start_us: int, names: dict[str, str], rows: int | None
) -> None:
    span = {"start_time": iso(start_us), "end_time": iso(start_us + 30 * MINUTE_US)}

    answer = await control.client.get(f"{API}/export/csv", params=names | span)

    if rows is None:
        assert (answer.status_code, answer.json()["code"]) == (400, "nothing_named")
    else:
        assert answer.text.count("\r\n") == rows + 1


@pytest.mark.parametrize("names", ["a,*", "*,*", "*&device_ids=a", "a*"])
async def test_a_star_stands_alone(control: Control, names: str) -> None:
    span = "start_time=2020-01-01T00:00:00Z&end_time=2020-01-02T00:00:00Z"

    answer = await control.client.get(f"{API}/export/csv?device_ids={names}&{span}")

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_what_a_key_may_not_see_is_absent_everywhere(control: Control, start_us: int) -> None:
    token = await control.key("read", "export", devices=["bus-2"])
    narrow = bearer(token)

    async def get(path: str) -> httpx.Response:
        return await control.client.get(API + path, headers=narrow)

    hidden = await get("/devices/bus-1/metrics/speed/latest")
    unknown = await get("/devices/bus-9/metrics/speed/latest")
    newest = await get("/latest?device_ids=bus-1,bus-2")
    changes = await get("/changes")
    exported = await get("/export/csv?after=")
    queried = await control.client.post(f"{API}/query", json=window(start_us), headers=narrow)

    assert (hidden.status_code, hidden.json()["code"]) == (404, unknown.json()["code"])
    assert newest.json()["missing"] == ["bus-1"]
    for points in (changes.json()["data_points"], queried.json()["data_points"]):
        assert {p["device_id"] for p in points} == {"bus-2"}
    assert "bus-1" not in exported.text


async def test_reading_and_exporting_are_different_scopes(control: Control, start_us: int) -> None:
    reader = bearer(await control.key("read"))

    assert (await control.client.get(f"{API}/changes", headers=reader)).status_code == 200
    refused = await control.client.get(f"{API}/export/csv?after=", headers=reader)
    assert refused.status_code == 403
