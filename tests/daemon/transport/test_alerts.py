"""Alerts over HTTP (contract 7): lists and counts, acknowledging, resolving, what keys see."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from alert_builder import FIRED, a_rule, an_alert, steps_of
from control import API, Control, bearer

from daemon.clock import as_datetime

pytestmark = pytest.mark.anyio
ALERTS = f"{API}/alerts"


async def listed(control: Control, query: str = "", **options: Any) -> dict[str, Any]:
    answer = await control.client.get(f"{ALERTS}?{query}", **options)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert body["count"] == len(body["alerts"])
    return body


async def some_alerts(control: Control) -> list[str]:
    """Four, each fired an hour after the one before: on a, b, a and, resolved, on c."""
    resolved = {"status": "resolved", "resolved_at": FIRED, "resolved_reason": "cleared"}
    kinds: list[dict[str, Any]] = [
        {"device_id": "a", "rule_id": "rul_1", "level": "critical"},
        {"device_id": "b", "rule_id": "rul_1", "metric_name": "pressure"},
        {"device_id": "a", "rule_id": "rul_2", "status": "acknowledged", "level": "emergency"},
        {"device_id": "c", "rule_id": "rul_1", **resolved},
    ]
    return [
        await an_alert(control.database, **kind, triggered_at=FIRED + timedelta(hours=n))
        for n, kind in enumerate(kinds)
    ]


async def put(control: Control, alert_id: str, verb: str, **options: Any) -> tuple[int, Any]:
    answer = await control.client.put(f"{ALERTS}/{alert_id}/{verb}", **options)
    return answer.status_code, answer.json()


async def events(control: Control, type: str) -> list[dict[str, Any]]:
    body = (await control.client.get(f"{API}/events", params={"type": type})).json()
    found: list[dict[str, Any]] = body["events"]
    return found


class TestListing:
    async def test_an_alert_shows_the_fields_of_the_contract(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        shown = (await control.client.get(f"{ALERTS}/{alert_id}")).json()

        assert shown == {
            "alert_id": alert_id, "rule_id": "rul_1", "rule_name": "hot", "device_id": "a",
            "metric_name": "temperature", "level": "warning", "status": "active", "value": 31.5,
            "threshold_value": 30, "condition": ">", "message": "it is hot",
            "triggered_at": "2025-12-18T12:00:01Z", "event_time": "2025-12-18T12:00:00Z",
            "acknowledged_by": None, "acknowledged_at": None, "acknowledged_note": None,
            "resolved_by": None, "resolved_at": None, "resolved_note": None,
            "resolved_reason": None, "resolved_event_time": None, "shadow": False, "stale": False,
            "scope": "metric", "group_id": None,
        }  # fmt: skip
        assert (await listed(control))["alerts"] == [shown]

    async def test_the_newest_comes_first(self, control: Control) -> None:
        ids = await some_alerts(control)

        body = await listed(control)

        assert [alert["alert_id"] for alert in body["alerts"]] == ids[::-1]
        assert (body["total"], body["active_count"], body["critical_count"]) == (4, 2, 2)

    @pytest.mark.parametrize(
        ("query", "expected", "counts"),
        [
            ("status=active", [1, 0], (2, 2, 1)),
            ("status=active,acknowledged", [2, 1, 0], (3, 2, 2)),
            ("level=critical&level=emergency", [2, 0], (2, 1, 2)),
            ("device_id=a", [2, 0], (2, 1, 2)),
            ("rule_id=rul_1", [3, 1, 0], (3, 2, 1)),
            ("metric_name=pressure", [1], (1, 1, 0)),
            ("start_time=2025-12-18T13:00:00Z", [3, 2, 1], (3, 1, 1)),
            ("end_time=2025-12-18T14:00:00Z", [1, 0], (2, 2, 1)),
            ("start_time=1766062800&end_time=1766066400", [1], (1, 1, 0)),
            ("limit=2&offset=1", [2, 1], (4, 2, 2)),
            ("device_id=nobody", [], (0, 0, 0)),
        ],
    )
    async def test_filters_hold_for_rows_and_counts(
        self, control: Control, query: str, expected: list[int], counts: tuple[int, int, int]
    ) -> None:
        ids = await some_alerts(control)

        body = await listed(control, query)

        assert [alert["alert_id"] for alert in body["alerts"]] == [ids[n] for n in expected]
        assert (body["total"], body["active_count"], body["critical_count"]) == counts

    @pytest.mark.parametrize("query", ["status=open", "level=bad", "start_time=noon", "limit=0"])
    async def test_a_value_that_is_none_is_a_400(self, control: Control, query: str) -> None:
        assert (await control.client.get(f"{ALERTS}?{query}")).status_code == 400

    async def test_shadows_can_be_left_out(self, control: Control) -> None:
        shadow = await an_alert(control.database, rule_id="rul_1", device_id="a", is_shadow=True)
        real = await an_alert(control.database, rule_id="rul_2", device_id="a")

        assert [a["alert_id"] for a in (await listed(control, "shadow=true"))["alerts"]] == [shadow]
        assert [a["alert_id"] for a in (await listed(control, "shadow=false"))["alerts"]] == [real]


class TestAcknowledging:
    async def test_it_is_written_down_and_told(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        status, alert = await put(control, alert_id, "acknowledge", json={"note": "on it"})

        assert (status, alert["success"], alert["status"]) == (200, True, "acknowledged")
        assert alert["acknowledged_note"] == "on it"
        assert alert["acknowledged_by"].startswith("key_")
        assert alert["acknowledged_at"] is not None
        (event,) = await events(control, "alert.acknowledged")
        assert event["subject"] == alert_id
        assert event["data"] == {k: v for k, v in alert.items() if k != "success"}
        by = alert["acknowledged_by"]
        expected = [("acknowledged", "by_hand", by)]
        assert await steps_of(control.database, alert_id) == expected

    async def test_the_first_one_stays(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        _, first = await put(control, alert_id, "acknowledge", json={"note": "first"})
        control.clock.advance_s(60)
        status, second = await put(control, alert_id, "acknowledge", json={"note": "second"})

        assert (status, second) == (200, first)
        assert len(await events(control, "alert.acknowledged")) == 1

    async def test_no_body_is_needed(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        assert (await put(control, alert_id, "acknowledge"))[0] == 200
        assert (await put(control, alert_id, "resolve", json={}))[0] == 200

    async def test_of_many_at_once_one_is_first(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        answers = await asyncio.gather(
            *(put(control, alert_id, "acknowledge", json={"note": str(n)}) for n in range(8))
        )

        assert {status for status, _ in answers} == {200}
        assert len({alert["acknowledged_note"] for _, alert in answers}) == 1
        assert len(await events(control, "alert.acknowledged")) == 1


class TestResolving:
    @pytest.mark.parametrize("before", [(), ("acknowledge",)])
    async def test_it_ends_from_either_state(
        self, control: Control, before: tuple[str, ...]
    ) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")
        for verb in before:
            await put(control, alert_id, verb)

        status, alert = await put(control, alert_id, "resolve", json={"note": "fan replaced"})

        assert (status, alert["status"], alert["resolved_reason"]) == (200, "resolved", "by_hand")
        assert (alert["resolved_note"], alert["resolved_event_time"]) == ("fan replaced", None)
        assert alert["resolved_by"].startswith("key_")
        (event,) = await events(control, "alert.resolved")
        assert event["data"]["status"] == "resolved"

    async def test_nothing_can_be_done_to_a_resolved_one(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")
        await put(control, alert_id, "resolve")

        for verb in ("resolve", "acknowledge"):
            status, problem = await put(control, alert_id, verb)
            assert (status, problem["code"]) == (409, "already_resolved")
        assert len(await events(control, "alert.resolved")) == 1

    async def test_of_many_at_once_one_wins(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")

        answers = await asyncio.gather(*(put(control, alert_id, "resolve") for _ in range(8)))

        assert sorted(status for status, _ in answers) == [200] + [409] * 7
        assert len(await events(control, "alert.resolved")) == 1

    async def test_the_evaluator_learns_of_it(self, control: Control) -> None:
        async def version() -> int:
            async with control.database.connection("control") as connection:
                found: int = await connection.fetchval(
                    "select closings_version from telemetry.alert_version"
                )
            return found

        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")
        before = await version()
        await put(control, alert_id, "acknowledge")
        between = await version()
        await put(control, alert_id, "resolve")

        assert (between - before, await version() - before) == (0, 1)

    async def test_a_shadow_ends_without_a_word(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a", is_shadow=True)

        assert (await put(control, alert_id, "resolve"))[0] == 200
        assert await events(control, "alert.resolved") == []

    async def test_an_unknown_one_is_a_404(self, control: Control) -> None:
        for verb in ("acknowledge", "resolve"):
            status, problem = await put(control, "alr_" + "0" * 26, verb)
            assert (status, problem["code"]) == (404, "unknown_alert")


class TestKeys:
    async def test_scopes(self, control: Control) -> None:
        alert_id = await an_alert(control.database, rule_id="rul_1", device_id="a")
        reader = bearer(await control.key("read"))
        writer = bearer(await control.key("alerts:write"))

        assert (await put(control, alert_id, "resolve", headers=reader))[0] == 403
        assert (await control.client.get(ALERTS, headers=writer)).status_code == 403
        assert (await put(control, alert_id, "resolve", headers=writer))[0] == 200

    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            ({"devices": ("a",)}, [2, 0]),
            ({"metrics": ("press*",)}, [1]),
            ({"devices": ("b", "c"), "metrics": ("temp*",)}, [3]),
            ({"devices": ("z",)}, []),
        ],
    )
    async def test_alerts_of_what_a_key_does_not_see_do_not_exist_for_it(
        self, control: Control, patterns: dict[str, tuple[str, ...]], expected: list[int]
    ) -> None:
        ids = await some_alerts(control)
        key = bearer(await control.key("read", "alerts:write", **patterns))

        body = await listed(control, headers=key)

        assert [alert["alert_id"] for alert in body["alerts"]] == [ids[n] for n in expected]
        assert body["total"] == len(expected)
        for n, alert_id in enumerate(ids):
            answer = await control.client.get(f"{ALERTS}/{alert_id}", headers=key)
            assert answer.status_code == (200 if n in expected else 404)
            if n not in expected:
                assert (await put(control, alert_id, "resolve", headers=key))[0] == 404

    async def test_a_bound_key_sees_no_alert_of_a_whole_group(self, control: Control) -> None:
        await an_alert(
            control.database, rule_id="rul_1", device_id=None, scope="group", group_id="grp_1"
        )
        key = bearer(await control.key("read", devices=("*",)))

        assert (await listed(control, headers=key))["total"] == 0
        assert (await listed(control))["total"] == 1


class TestFigures:
    async def test_stats_count_what_fired_in_24_hours(self, control: Control) -> None:
        now_us = control.clock.now_us()
        await control.send([("a", "temperature", now_us, 1.0), ("b", "temperature", now_us, 1.0)])
        now = as_datetime(now_us)
        recent = {"triggered_at": now - timedelta(hours=23)}
        old = {"triggered_at": now - timedelta(hours=25)}
        await an_alert(control.database, rule_id="rul_1", device_id="a", **recent)
        await an_alert(control.database, rule_id="rul_2", device_id="a", **recent, is_shadow=True)
        await an_alert(control.database, rule_id="rul_3", device_id="a", **old)
        await an_alert(control.database, rule_id="rul_1", device_id="b", **recent)

        whole = (await control.client.get(f"{API}/stats")).json()
        device = (await control.client.get(f"{API}/devices/a/stats")).json()

        assert (whole["last_24h_alerts"], device["last_24h_alerts"]) == (2, 1)

    async def test_health_counts_rules_and_open_alerts(self, control: Control) -> None:
        await control.client.post(f"{ALERTS}/rules", json=a_rule("one"))
        await control.client.post(f"{ALERTS}/rules", json=a_rule("two", enabled=False))
        await control.client.post(f"{ALERTS}/rules", json=a_rule("three", shadow=True))
        await some_alerts(control)

        await control.services.alerts.count()

        assert control.services.alerts.numbers() == {
            "rules": 3, "rules_enabled": 2, "rules_shadow": 1, "alerts_active": 2,
            "alerts_acknowledged": 1, "alerts_critical": 2, "alerts_stale": 0,
        }  # fmt: skip
