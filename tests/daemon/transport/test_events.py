"""Routes of events: the feed, its cursor, who sees what, and what changes tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from control import API, Control, bearer

from daemon.service import events

pytestmark = pytest.mark.anyio
EVENTS = f"{API}/events"


async def tell(control: Control, kind: str = "deploy.done", **fields: Any) -> dict[str, Any]:
    answer = await control.client.post(EVENTS, json={"type": kind, **fields})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def feed(control: Control, token: str = "", **query: Any) -> dict[str, Any]:
    headers = bearer(token) if token else None
    answer = await control.client.get(EVENTS, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def types_of(page: dict[str, Any]) -> list[str]:
    return [event["type"] for event in page["events"]]


async def test_an_event_that_is_told_is_in_the_feed(control: Control) -> None:
    told = await tell(
        control, "anomaly", severity="warning", subject="pump_7", message="hot",
        data={"score": 0.9}, timestamp="2025-12-18T10:00:00+01:00",
    )  # fmt: skip

    found = (await feed(control, type="anomaly"))["events"]
    shown = await control.client.get(f"{EVENTS}/{told['event_id']}")

    assert told.pop("event_id").startswith("evt_")
    assert told == {
        "type": "anomaly",
        "severity": "warning",
        "timestamp": "2025-12-18T09:00:00Z",
        "subject": "pump_7",
        "message": "hot",
        "data": {"score": 0.9},
    }
    assert [shown.json()] == found


async def test_the_feed_is_newest_first_and_in_order_behind_a_cursor(control: Control) -> None:
    start = (await feed(control))["cursor"]
    for at in range(5):
        await tell(control, message=str(at), severity="error" if at == 3 else "info")

    newest = await feed(control, limit=2)
    first = await feed(control, after=start, limit=3)
    rest = await feed(control, after=first["cursor"])
    nothing = await feed(control, after=rest["cursor"])
    errors = await feed(control, after=start, severity="error,critical")
    oldest = await feed(control, after="", limit=1)

    assert [e["message"] for e in newest["events"]] == ["4", "3"]
    assert [e["message"] for e in first["events"]] == ["0", "1", "2"]
    assert [e["message"] for e in rest["events"]] == ["3", "4"]
    assert nothing == {"events": [], "cursor": rest["cursor"], "gap": None}
    assert [e["message"] for e in errors["events"]] == ["3"]
    assert types_of(oldest) == ["key.created"]
    assert newest["cursor"] == rest["cursor"]


async def test_changes_tell_events(control: Control) -> None:
    start = (await feed(control))["cursor"]
    metric, device = f"{API}/metrics/level", f"{API}/devices/tank"
    await control.send([("tank", "level", 1, 1.0)])
    made = await control.client.post(
        f"{API}/metrics", json={"name": "level", "data_type": "numeric"}
    )
    await control.client.patch(metric, json={"unit": "m"})
    await control.client.patch(device, json={"type": "tank"})
    await control.client.delete(metric)
    await control.client.delete(device)

    events = (await feed(control, after=start))["events"]

    assert [(e["type"], e["subject"]) for e in events] == [
        ("metric.defined", "level"),
        ("metric.updated", "level"),
        ("device.updated", "tank"),
        ("metric.deleted", "level"),
        ("device.deleted", "tank"),
    ]
    assert events[0]["data"] == made.json() | {"metric_name": "level"} | {
        name: events[0]["data"][name] for name in ("created_at", "updated_at")
    }
    assert events[1]["data"]["changed"] == ["unit"]
    assert events[1]["data"]["unit"] == "m"
    assert events[2]["data"] == {"device_id": "tank", "changed": ["type"], "type": "tank"}
    assert events[4]["data"] == {"device_id": "tank", "series": 1}


async def test_groups_tell_of_each_change_and_who_came_and_went(control: Control) -> None:
    await control.send([(device, "level", 1, 1.0) for device in ("a", "b", "c")])
    narrow = await control.key("read", groups=["*"])
    start = (await feed(control))["cursor"]
    made = await control.client.post(
        f"{API}/groups", json={"name": "north", "kind": "site", "device_ids": ["a", "b"]}
    )
    group = f"{API}/groups/{made.json()['group_id']}"
    await control.client.patch(group, json={"name": "far north", "device_ids": ["b", "c"]})
    await control.client.put(f"{group}/devices/a")
    await control.client.put(f"{group}/devices/a")
    await control.client.delete(f"{group}/devices/b")
    await control.client.delete(group)

    events = (await feed(control, after=start))["events"]
    unseen = await control.client.get(f"{API}/events", headers=bearer(narrow))

    def told(event: dict[str, Any]) -> tuple[Any, ...]:
        data = event["data"]
        return (
            event["type"],
            data["name"],
            data.get("changed"),
            data.get("joined"),
            data.get("left"),
        )

    assert [told(event) for event in events] == [
        ("group.created", "north", None, ["a", "b"], []),
        ("group.updated", "far north", ["device_ids", "name"], ["c"], ["a"]),
        ("group.updated", "far north", ["device_ids"], ["a"], []),
        ("group.updated", "far north", ["device_ids"], [], ["b"]),
        ("group.deleted", "far north", None, None, None),
    ]
    assert {event["subject"] for event in events} == {made.json()["group_id"]}
    assert [event["type"] for event in unseen.json()["events"]] == []


async def test_a_change_that_is_refused_tells_nothing(control: Control) -> None:
    await control.client.post(f"{API}/metrics", json={"name": "level", "data_type": "numeric"})
    start = (await feed(control))["cursor"]

    again = await control.client.post(
        f"{API}/metrics", json={"name": "level", "data_type": "string"}
    )
    gone = await control.client.delete(f"{API}/metrics/unknown")
    wrong = await control.client.patch(
        f"{API}/metrics/level", json={"min_value": 2, "max_value": 1}
    )

    assert (again.status_code, gone.status_code, wrong.status_code) == (409, 404, 422)
    assert (await feed(control, after=start))["events"] == []


async def test_keys_tell_what_they_may_do_and_never_their_secret(control: Control) -> None:
    start = (await feed(control))["cursor"]
    made = (
        await control.client.post(
            f"{API}/keys", json={"name": "n", "scopes": ["read"], "tier": "free"}
        )
    ).json()
    own = f"{API}/keys/{made['key_id']}"
    rotated = (await control.client.post(f"{own}/rotate", json={"overlap": 60})).json()
    await control.client.delete(own)

    answer = await control.client.get(EVENTS, params={"after": start})

    assert types_of(answer.json()) == ["key.created", "key.rotated", "key.revoked"]
    assert {e["subject"] for e in answer.json()["events"]} == {made["key_id"]}
    for secret in (made["key"], rotated["key"]):
        assert secret.rsplit("_", 2)[1] not in answer.text


async def test_a_key_sees_events_of_what_it_sees(control: Control) -> None:
    start = (await feed(control))["cursor"]
    await control.send([("a1", "level", 1, 1.0), ("b1", "level", 1, 1.0)])
    for subject in ("a1", "b1"):
        await tell(control, "note", subject=subject)
    await tell(control, "named", data={"device_id": "b1"})
    await tell(control, "general")
    narrow = await control.key("read", "ingest", devices=["a*"])
    broad = await control.key("read")

    seen = await feed(control, narrow, after=start)
    newest = await feed(control, narrow)
    hidden = (await feed(control, type="named"))["events"][0]["event_id"]
    unseen = await control.client.get(f"{EVENTS}/{hidden}", headers=bearer(narrow))

    assert [(e["type"], e["subject"]) for e in seen["events"]] == [("note", "a1")]
    assert newest["events"] == seen["events"]
    assert unseen.status_code == 404
    assert types_of(await feed(control, broad, after=start)) == ["note", "note", "named", "general"]


async def test_what_is_hidden_is_passed_page_by_page(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SCAN_EVENTS", 2)
    monkeypatch.setattr(events, "SCAN_EVENTS_MAX", 4)
    start = (await feed(control))["cursor"]
    for subject in ("b1", "b1", "b1", "b1", "b1", "a1", "b1"):
        await tell(control, "note", subject=subject, data={"device_id": subject})
    narrow = await control.key("read", devices=["a*"])

    first = await feed(control, narrow, after=start)
    second = await feed(control, narrow, after=first["cursor"])
    newest = await feed(control, narrow)

    assert first["events"] == []
    assert [e["subject"] for e in second["events"]] == ["a1"]
    assert [e["subject"] for e in newest["events"]] == ["a1"]


async def test_a_bound_key_tells_only_of_what_it_sees(control: Control) -> None:
    narrow = bearer(await control.key("ingest", devices=["a*"]))
    bodies = [{"type": "x"}, {"type": "x", "data": {"device_id": "b1"}}]
    allowed = {"type": "x", "data": {"device_id": "a1"}}

    refused = [await control.client.post(EVENTS, json=body, headers=narrow) for body in bodies]
    told = await control.client.post(EVENTS, json=allowed, headers=narrow)

    assert [(a.status_code, a.json()["code"]) for a in refused] == [(403, "outside_patterns")] * 2
    assert told.status_code == 201


async def test_a_repeated_dedup_id_is_the_same_event(control: Control) -> None:
    other = bearer(await control.key("ingest"))
    body = {"type": "x", "dedup_id": "build-7"}

    first = await tell(control, "x", dedup_id="build-7", message="once")
    again = await tell(control, "x", dedup_id="build-7", message="twice")
    theirs = await control.client.post(EVENTS, json=body, headers=other)

    assert again == first
    assert theirs.json()["event_id"] != first["event_id"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": ""},
        {"type": "two words"},
        {"type": "a..b"},
        {"type": "metric.defined"},
        {"type": "alert"},
        {"type": "x" * 129},
        {"type": "x", "severity": "bad"},
        {"type": "x", "subject": "a\0b"},
        {"type": "x", "data": []},
        {"type": "x", "data": {"n": 2**70}},
        {"type": "x", "data": {"t": "y" * 65_536}},
        {"type": "x", "timestamp": "2025-12-18T10:00:00"},
        {"type": "x", "colour": "red"},
    ],
)
async def test_a_wrong_event_is_a_422(control: Control, body: dict[str, Any]) -> None:
    answer = await control.client.post(EVENTS, json=body)

    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "query",
    [
        {"after": "nonsense"},
        {"type": "two words"},
        {"severity": "bad"},
        {"limit": 0},
        {"limit": 1_001},
        {"wait": 61},
        {"type": "a\0b"},
    ],
)
async def test_a_wrong_question_is_a_400(control: Control, query: dict[str, Any]) -> None:
    answer = await control.client.get(EVENTS, params=query)

    assert answer.status_code == 400, answer.text


async def test_scopes_are_needed(control: Control) -> None:
    reader, sender = bearer(await control.key("read")), bearer(await control.key("ingest"))

    posted = await control.client.post(EVENTS, json={"type": "x"}, headers=reader)
    read = await control.client.get(EVENTS, headers=sender)
    unknown = await control.client.get(f"{EVENTS}/evt_0")

    assert [a.status_code for a in (posted, read, unknown)] == [403, 403, 404]


async def test_a_cursor_of_another_epoch_is_a_gap(control: Control) -> None:
    found = await feed(control, after="zzz-17")

    assert found["gap"]["reason"] == "epoch"
    assert types_of(found) == ["key.created"]


async def test_a_cursor_before_what_is_kept_is_a_gap(control: Control) -> None:
    start = (await feed(control, after="", limit=1))["cursor"]
    await tell(control, "old")
    newest = (await feed(control))["cursor"]
    await tell(control, "new")
    async with control.database.connection("control") as connection:
        seq = int(newest.partition("-")[2])
        await connection.execute("update telemetry.installation set event_floor = $1", seq)
        await connection.execute("delete from telemetry.event where seq <= $1", seq)

    found = await feed(control, after=start)

    assert found["gap"] == {"from": start, "to": newest, "reason": "expired"}
    assert types_of(found) == ["new"]


async def test_who_waits_gets_the_event_when_it_comes(control: Control) -> None:
    start = (await feed(control))["cursor"]
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(follow(control))
        waiting = [
            tasks.create_task(feed(control, after=start, wait=60, type=kind))
            for kind in ("first", "second")
        ]
        await asyncio.sleep(0.1)
        await tell(control, "first")
        first = await waiting[0]
        await tell(control, "second")
        second = await waiting[1]
        following.cancel()

    assert types_of(first) == ["first"]
    assert types_of(second) == ["second"]


async def follow(control: Control) -> None:
    """As workers/follower does."""
    while True:
        await control.tail.wait_for_work(0.05)
        await control.tail.turn()
