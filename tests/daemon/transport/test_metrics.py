"""Metric definitions over HTTP (contract 4)."""

from __future__ import annotations

from typing import Any

import pytest
from control import API, Control, bearer

pytestmark = pytest.mark.anyio
METRICS = f"{API}/metrics"


async def define(control: Control, **fields: Any) -> dict[str, Any]:
    body = {"name": "temperature", "data_type": "numeric", **fields}
    answer = await control.client.post(METRICS, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_definition_comes_back_with_its_defaults(control: Control) -> None:
    made = await define(control, unit="celsius", min_value=-40, max_value=85, tags=["room"])
    shown = await control.client.get(f"{METRICS}/temperature")

    assert shown.status_code == 200
    assert shown.json() == made
    assert made["metric_id"].startswith("met_")
    assert made["metric_type"] == "gauge"
    assert made["retention_days"] == 90
    assert made["created_at"].endswith("Z")
    assert made["created_by"].startswith("key_")
    assert "retention_note" not in made


async def test_a_name_is_taken_once(control: Control) -> None:
    await define(control)

    again = await control.client.post(METRICS, json={"name": "temperature", "data_type": "string"})

    assert again.status_code == 409
    assert again.json()["code"] == "name_taken"


async def test_a_list_filters_pages_and_counts(control: Control) -> None:
    for name, kind in (("a", "numeric"), ("b", "string"), ("c", "numeric"), ("d_x", "numeric")):
        await define(control, name=name, data_type=kind, metric_type="counter")

    page = await control.client.get(METRICS, params={"data_type": "numeric", "limit": 2})
    beyond = await control.client.get(METRICS, params={"data_type": "numeric", "offset": 50})
    found = await control.client.get(METRICS, params={"q": "_X"})

    body = page.json()
    assert [m["name"] for m in body["metrics"]] == ["a", "c"]
    assert (body["count"], body["total"], body["limit"], body["offset"]) == (2, 3, 2, 0)
    assert body["filters"] == {"data_type": "numeric"}
    assert (beyond.json()["count"], beyond.json()["total"]) == (0, 3)
    assert [m["name"] for m in found.json()["metrics"]] == ["d_x"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data_type", "number"),
        ("retention_days", 0),
        ("retention_days", 3651),
        ("metric_type", "summary"),
        ("name", "no spaces"),
        ("name", "n" * 129),
        ("unknown", 1),
        ("metadata", {"x": 10**30}),
        ("description", "nul\0"),
    ],
)
async def test_a_wrong_field_is_named(control: Control, field: str, value: Any) -> None:
    body = {"name": "temperature", "data_type": "numeric", field: value}

    answer = await control.client.post(METRICS, json=body)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "fields",
    [
        {"min_value": 2, "max_value": 1},
        {"data_type": "string", "min_value": 1},
        {"data_type": "json", "allowed_values": [1]},
        {"data_type": "numeric", "allowed_values": ["1"]},
        {"data_type": "numeric", "allowed_values": [True]},
        {"data_type": "string", "allowed_values": [1]},
    ],
)
async def test_a_contradiction_is_refused(control: Control, fields: dict[str, Any]) -> None:
    answer = await control.client.post(
        METRICS, json={"name": "m", "data_type": "numeric", **fields}
    )

    assert answer.status_code == 422, answer.text


async def test_a_change_keeps_what_it_does_not_name(control: Control) -> None:
    made = await define(control, unit="celsius", max_value=50)

    answer = await control.client.patch(
        f"{METRICS}/temperature", json={"max_value": None, "retention_days": 7}
    )

    changed = answer.json()
    assert answer.status_code == 200
    assert changed["max_value"] is None
    assert (changed["unit"], changed["retention_days"]) == ("celsius", 7)
    assert changed["updated_at"] > made["updated_at"]


async def test_a_change_is_checked_against_what_stays(control: Control) -> None:
    await define(control, max_value=50)

    answer = await control.client.patch(f"{METRICS}/temperature", json={"min_value": 51})

    assert answer.status_code == 422


async def test_the_name_never_changes(control: Control) -> None:
    await define(control)

    answer = await control.client.patch(f"{METRICS}/temperature", json={"name": "heat"})

    assert answer.status_code == 422


async def test_the_type_changes_only_while_there_is_no_data(control: Control) -> None:
    await define(control)
    before = await control.client.patch(f"{METRICS}/temperature", json={"data_type": "string"})
    await control.client.patch(f"{METRICS}/temperature", json={"data_type": "numeric"})
    await control.send([("d1", "temperature", control.clock.now_us(), 1.0)])

    after = await control.client.patch(f"{METRICS}/temperature", json={"data_type": "string"})

    assert before.status_code == 200
    assert after.status_code == 409
    assert after.json()["code"] == "has_data"


async def test_this_daemon_validates_with_a_change_at_once(control: Control) -> None:
    await define(control, max_value=50)
    first = control.tail.registry.definitions["temperature"].max_value
    await control.client.patch(f"{METRICS}/temperature", json={"max_value": 60})

    assert first == 50
    assert control.tail.registry.definitions["temperature"].max_value == 60


async def test_retention_outlives_the_definition_and_is_taken_over(control: Control) -> None:
    await define(control, retention_days=7)
    deleted = await control.client.delete(f"{METRICS}/temperature")
    gone = await control.client.get(f"{METRICS}/temperature")
    kept = dict(control.tail.registry.retention_days)

    again = await define(control)

    assert deleted.json()["success"] is True
    assert gone.status_code == 404
    assert kept == {"temperature": 7}
    assert again["retention_days"] == 7
    assert "7 days" in again["retention_note"]


async def test_what_a_key_may_not_see_does_not_exist(control: Control) -> None:
    await define(control, name="room.heat")
    await define(control, name="engine.heat")
    narrow = bearer(await control.key("read", "metrics:write", metrics=["room.*"]))

    listed = await control.client.get(METRICS, headers=narrow)
    shown = await control.client.get(f"{METRICS}/engine.heat", headers=narrow)
    changed = await control.client.patch(
        f"{METRICS}/engine.heat", json={"unit": "K"}, headers=narrow
    )
    deleted = await control.client.delete(f"{METRICS}/engine.heat", headers=narrow)
    made = await control.client.post(
        METRICS, json={"name": "engine.x", "data_type": "numeric"}, headers=narrow
    )

    assert [m["name"] for m in listed.json()["metrics"]] == ["room.heat"]
    assert listed.json()["total"] == 1
    assert [shown.status_code, changed.status_code, deleted.status_code] == [404, 404, 404]
    assert made.status_code == 403


async def test_a_name_with_a_slash_is_one_segment(control: Control) -> None:
    await define(control, name="cpu/load")

    shown = await control.client.get(f"{METRICS}/cpu%2Fload")

    assert shown.status_code == 200
    assert shown.json()["name"] == "cpu/load"


async def test_a_key_of_some_devices_changes_no_definition_of_all(control: Control) -> None:
    await define(control)
    bound = bearer(await control.key("read", "metrics:write", devices=["bus-*"]))
    one = f"{METRICS}/temperature"

    shown = await control.client.get(one, headers=bound)
    made = await control.client.post(
        METRICS, json={"name": "speed", "data_type": "numeric"}, headers=bound
    )
    changed = await control.client.patch(one, json={"retention_days": 1}, headers=bound)
    deleted = await control.client.delete(one, headers=bound)
    unknown = await control.client.patch(f"{METRICS}/speed", json={"unit": "m"}, headers=bound)

    assert shown.status_code == 200
    assert [made.status_code, changed.status_code, deleted.status_code] == [403] * 3
    assert changed.json()["code"] == "outside_patterns"
    assert unknown.status_code == 404
