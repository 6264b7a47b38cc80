"""Explanations over HTTP: each cause that keeps an alert from coming, or from being told, with the
time it ends (B1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from alert_builder import a_rule, an_alert
from control import API, Control, bearer

from daemon.clock import as_datetime
from daemon.store import messages

pytestmark = pytest.mark.anyio
RULES = f"{API}/alerts/rules"
S = 1_000_000


async def make(control: Control, **fields: Any) -> str:
    answer = await control.client.post(RULES, json=a_rule(**fields))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["rule_id"])


async def send(control: Control, *values: float, device: str = "oven") -> None:
    """One value a second, the last one now."""
    now_us = control.clock.now_us()
    points = [
        (device, "temperature", now_us - (len(values) - 1 - at) * S, value)
        for at, value in enumerate(values)
    ]
    await control.send(points)


async def explained(control: Control, rule_id: str, **params: Any) -> dict[str, Any]:
    query = {"device_id": "oven"} | params
    answer = await control.client.get(f"{RULES}/{rule_id}/explain", params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def codes(body: dict[str, Any]) -> list[str]:
    return [cause["code"] for cause in body["causes"]]


async def test_a_count_that_is_not_reached(control: Control) -> None:
    await send(control, 20, 35, 36)
    rule_id = await make(control, evaluation_window=300, trigger_count=3)

    body = await explained(control, rule_id)

    assert (body["fires"], codes(body)) == (False, ["too_few_breaches"])
    assert (body["breaches"], body["trigger_count"]) == (2, 3)
    assert [sample["value"] for sample in body["samples"]] == [20, 35, 36]
    assert [sample["is_breach"] for sample in body["samples"]] == [False, True, True]
    assert body["newest"]["arrived_at"] is not None
    assert body["summary"].startswith("2 of 3 breaches in 300 s; newest sample")


async def test_a_rule_that_fires_and_who_is_not_told(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control)

    body = await explained(control, rule_id)

    assert body["fires"]
    assert [one["kind"] for one in body["suppressed_by"]] == ["no_channel"]


async def test_at_an_earlier_time(control: Control) -> None:
    await send(control, 20, 35)
    rule_id = await make(control)
    before = as_datetime(control.clock.now_us() - S).isoformat()

    body = await explained(control, rule_id, at=before)

    assert codes(body) == ["no_breach"]
    assert body["newest"]["value"] == 20


async def test_a_cooldown_ends_at_a_time(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control, cooldown_minutes=60)
    fired = as_datetime(control.clock.now_us()) - timedelta(minutes=10)
    await an_alert(
        control.database, rule_id=rule_id, device_id="oven", event_time=fired, status="resolved",
        resolved_at=fired + timedelta(minutes=5), resolved_event_time=fired + timedelta(minutes=5),
    )  # fmt: skip

    body = await explained(control, rule_id)

    assert codes(body) == ["cooldown"]
    until = fired + timedelta(minutes=60)
    assert body["causes"][0]["until"] == until.isoformat().replace("+00:00", "Z")


async def test_an_open_alert_is_named(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control, cooldown_minutes=0)
    fired = as_datetime(control.clock.now_us())
    alert_id = await an_alert(
        control.database, rule_id=rule_id, device_id="oven", event_time=fired, last_breach=fired
    )

    body = await explained(control, rule_id)

    assert (codes(body), body["is_open"], body["alert_id"]) == (["open_already"], True, alert_id)


async def test_a_disabled_rule_and_a_device_that_it_does_not_watch(control: Control) -> None:
    await send(control, 35)
    await send(control, 35, device="fridge")
    rule_id = await make(control, enabled=False, device_ids=["fridge"])

    assert codes(await explained(control, rule_id)) == ["rule_disabled", "not_watched"]


async def test_a_device_that_never_sent_the_metric(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control, metric_name="pressure")

    assert codes(await explained(control, rule_id)) == ["never_sent"]


async def test_late_samples_are_shown(control: Control) -> None:
    await send(control, 20)
    rule_id = await make(control)
    async with control.database.transaction("control") as connection:
        await connection.execute(
            "insert into telemetry.late_sample (rule_id, device_id, samples)"
            " values ($1, 'oven', 41)",
            rule_id,
        )

    body = await explained(control, rule_id)

    assert body["late_samples"]["samples"] == 41
    assert "41 samples arrived too late to count" in body["summary"]


async def test_silence_and_quiet_hours_say_until_when(control: Control) -> None:
    await send(control, 35)
    hour = as_datetime(control.clock.now_us()).hour
    quiet = {"start": hour, "end": (hour + 2) % 24}
    rule_id = await make(control, quiet_hours=quiet, shadow=True, notification_channels=["ops"])
    ends_at = (as_datetime(control.clock.now_us()) + timedelta(hours=2)).isoformat()
    body = {"matchers": {"device_id": "oven"}, "ends_at": ends_at}
    made = await control.client.post(f"{API}/silences", json=body)

    found = (await explained(control, rule_id))["suppressed_by"]

    assert [one["kind"] for one in found] == ["shadow", "quiet_hours", "silence"]
    assert found[1]["until"][11:] == f"{(hour + 2) % 24:02}:00:00Z"
    assert found[2]["silence_id"] == made.json()["silence_id"]


async def test_what_a_key_does_not_see_is_not_there(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control)
    bound = bearer(await control.key("read", devices=["fridge*"]))

    answer = await control.client.get(
        f"{RULES}/{rule_id}/explain", params={"device_id": "oven"}, headers=bound
    )

    assert answer.status_code == 404


async def test_an_alert_with_its_steps_and_its_messages(control: Control) -> None:
    await send(control, 35)
    rule_id = await make(control, notification_channels=["ops"])
    alert_id = await an_alert(control.database, rule_id=rule_id, device_id="oven")
    async with control.database.transaction("control") as connection:
        await messages.tell_fired(connection, [alert_id])
    await control.client.put(f"{API}/alerts/{alert_id}/acknowledge", json={"note": "mine"})

    body = (await control.client.get(f"{API}/alerts/{alert_id}/explain")).json()

    assert body["alert"]["alert_id"] == alert_id
    assert [(step["to"], step["inputs"]) for step in body["steps"]] == [
        ("acknowledged", {"note": "mine"})
    ]
    [channel] = body["channels"]
    assert channel["channel"] == "ops"
    assert [(m["kind"], m["status"]) for m in channel["messages"]] == [("fire", "pending")]


async def test_an_unknown_alert_is_not_found(control: Control) -> None:
    answer = await control.client.get(f"{API}/alerts/alr_nothing/explain")

    assert answer.status_code == 404
