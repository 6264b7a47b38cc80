"""Alerts for tests, as the evaluator would have written them, and rules as clients ask for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from daemon.domain.ids import new_id
from daemon.store.pool import Database

FIRED = datetime(2025, 12, 18, 12, tzinfo=UTC)


def a_rule(name: str = "hot", **fields: Any) -> dict[str, Any]:
    """The body of a rule: temperature above 30."""
    plain = {"name": name, "metric_name": "temperature", "condition": ">", "threshold_value": 30}
    return plain | fields


async def an_alert(
    database: Database, *, rule_id: str, device_id: str | None, **fields: Any
) -> str:
    """Store an open alert and return its id."""
    values: dict[str, Any] = {
        "alert_id": new_id("alr", now_us=1_766_059_200_000_000),
        "rule_id": rule_id,
        "rule_name": "hot",
        "rule_revision": 1,
        "device_id": device_id,
        "metric_name": "temperature",
        "level": "warning",
        "value": 31.5,
        "condition": ">",
        "threshold_value": 30,
        "message": "it is hot",
        "triggered_at": FIRED + timedelta(seconds=1),
        "event_time": FIRED,
        "last_breach": FIRED,
        **fields,
    }
    names = ", ".join(values)
    places = ", ".join(f"r.{name}" for name in values)
    async with database.transaction("control") as connection:
        await connection.execute(
            f"insert into telemetry.alert ({names}) select {places}"
            " from jsonb_populate_record(null::telemetry.alert, $1::jsonb) r",
            orjson.dumps(values).decode(),
        )
    alert_id: str = values["alert_id"]
    return alert_id


async def steps_of(database: Database, alert_id: str) -> list[tuple[str, str, str | None]]:
    """(to, reason, by) of what became of an alert, in order."""
    async with database.connection("control") as connection:
        rows = await connection.fetch(
            'select "to", reason, by from telemetry.alert_step where alert_id = $1'
            " order by step_id",
            alert_id,
        )
    return [tuple(row.values()) for row in rows]
