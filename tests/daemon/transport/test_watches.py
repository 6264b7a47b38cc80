"""Watches over HTTP: personal, one-shot, expiring, with a quota (R-056)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from control import API, Control, bearer

from daemon.clock import as_datetime
from daemon.store.watches import WAITING_MAX

pytestmark = pytest.mark.anyio
WATCHES = f"{API}/watches"
FREE = {"device_id": "spot", "metric_name": "status", "from": "occupied", "to": "free"}


async def make(control: Control, **fields: Any) -> dict[str, Any]:
    answer = await control.client.post(WATCHES, json=FREE | fields)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture(autouse=True)
async def _a_device(control: Control) -> None:
    await control.send([("spot", "temperature", control.clock.now_us(), 20.0)])


async def test_a_watch_has_an_id_and_waits_a_day(control: Control) -> None:
    watch = await make(control, quiet_hours={"start": 22, "end": 7})

    assert watch["watch_id"].startswith("wat_")
    assert (watch["from"], watch["to"], watch["state"]) == ("occupied", "free", "waiting")
    assert watch["quiet_hours"] == {"start": 22, "end": 7}
    assert watch["fired_at"] is None
    until = as_datetime(control.clock.now_us()) + timedelta(days=1)
    assert watch["expires_at"] == until.isoformat().replace("+00:00", "Z")


async def test_the_device_must_exist(control: Control) -> None:
    answer = await control.client.post(WATCHES, json=FREE | {"device_id": "nobody"})

    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_device")


@pytest.mark.parametrize(
    "fields",
    [
        {"to": "occupied"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2100-01-01T00:00:00Z"},
        {"quiet_hours": {"start": 25}},
        {"color": "red"},
    ],
    ids=["no change", "over already", "for ever", "no such hour", "unknown field"],
)
async def test_an_impossible_watch_is_refused(control: Control, fields: dict[str, Any]) -> None:
    answer = await control.client.post(WATCHES, json=FREE | fields)

    assert answer.status_code == 422


async def test_nobody_sees_the_watch_of_another(control: Control) -> None:
    watch = await make(control)
    other = bearer(await control.key("read", "alerts:write"))
    path = f"{WATCHES}/{watch['watch_id']}"

    seen = [
        (await control.client.get(path, headers=other)).status_code,
        (await control.client.patch(path, json={"to": "x"}, headers=other)).status_code,
        (await control.client.delete(path, headers=other)).status_code,
    ]
    listed = (await control.client.get(WATCHES, headers=other)).json()

    assert seen == [404, 404, 404]
    assert listed["watches"] == []


async def test_a_watch_is_listed_changed_and_removed(control: Control) -> None:
    first, second = await make(control), await make(control, to=None)
    path = f"{WATCHES}/{first['watch_id']}"

    changed = (await control.client.patch(path, json={"to": "reserved"})).json()
    listed = (await control.client.get(WATCHES, params={"state": "waiting"})).json()
    removed = await control.client.delete(path)
    gone = await control.client.get(path)

    assert changed["to"] == "reserved"
    assert [w["watch_id"] for w in listed["watches"]] == [second["watch_id"], first["watch_id"]]
    assert removed.json()["success"]
    assert gone.status_code == 404


async def test_an_owner_has_a_quota(control: Control) -> None:
    for _ in range(WAITING_MAX):
        await make(control)

    over = await control.client.post(WATCHES, json=FREE)
    other = bearer(await control.key("read", "alerts:write"))
    another = await control.client.post(WATCHES, json=FREE, headers=other)

    assert (over.status_code, over.json()["code"]) == (409, "too_many_watches")
    assert another.status_code == 201
