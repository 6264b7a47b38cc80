"""A database as each earlier version left it, with data of that time, is served by the daemon of
today: nothing is lost, and its schema is that of a new one."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import numpy as np
import pytest
from daemons import started
from databases import fresh_database, schema_of
from servers import PostgresServer

from daemon.clock import SystemClock
from daemon.domain.block import Block, pack
from daemon.domain.tokens import digest_of, new_token
from daemon.store.migrations import known_migrations, migrate

pytestmark = pytest.mark.anyio
KNOWN = known_migrations()
AT_ONCE = 4
SECOND_US = 1_000_000

# What a version of that number could hold, written as it wrote it.
DATA = {
    1: """
insert into telemetry.device (device_id, device_type, tags)
values ('bus', 'vehicle', '{"line": "7"}');
insert into telemetry.series (device_id, metric_name, kind) values ('bus', 'speed', 1);
insert into telemetry.metric_definition
  (metric_id, name, data_type, unit, retention_days, created_by)
values ('met_01', 'speed', 'numeric', 'km/h', 400, 'somebody');
insert into telemetry.metric_retention (metric_name, retention_days) values ('speed', 400);
""",
    6: """
select telemetry.event_append('evt_01', 'door.opened', 'info', 'bus', 'a door', '{}', 'bus', null,
                              clock_timestamp(), 'somebody', null);
""",
    7: """
insert into telemetry.device_group (group_id, name, kind, version, created_by)
values ('grp_01', 'depot', 'site', 1, 'somebody');
insert into telemetry.group_member (group_id, device_id) values ('grp_01', 'bus');
""",
    8: """
insert into telemetry.subscription (subscription_id, key_id, wanted, expires_at)
values ('sub_01', 'key_01', '{}', clock_timestamp() - interval '1 hour');
""",
    9: """
insert into telemetry.alert_rule
  (rule_id, name, metric_name, kind, condition, threshold_value, level, enabled, condition_key,
   created_by, updated_by)
values ('rul_01', 'fast', 'speed', 'threshold', '>', '90', 'warning', false, 'x', 'a', 'a');
insert into telemetry.alert
  (alert_id, rule_id, rule_name, rule_revision, series_id, device_id, metric_name, level, status,
   message, triggered_at, event_time, last_breach, resolved_at, resolved_reason)
select 'alr_01', 'rul_01', 'fast', 1, 1, 'bus', 'speed', 'warning', 'resolved',
       'too fast', now, now, now, now, 'cleared'
  from clock_timestamp() now;
insert into telemetry.silence (silence_id, matchers, starts_at, ends_at, created_by)
select 'sil_01', '{"device_id": "bus"}', now, now + interval '1 day', 'somebody'
  from clock_timestamp() now;
""",
    11: """
insert into telemetry.account (account_id, username, password_hash, scopes, created_by)
values ('acc_01', 'ann', 'no hash', '{read}', 'somebody');
""",
}
# Where each of them is found again: path, and what its answer says.
FOUND: dict[int, list[tuple[str, str]]] = {
    1: [("/devices/bus", '"line":"7"'), ("/metrics/speed", '"retention_days":400')],
    2: [("/devices/bus/metrics/speed/latest?lookback=0", "21.5")],
    6: [("/events/evt_01", "door.opened")],
    7: [("/groups/grp_01/devices", '"device_id":"bus"')],
    9: [
        ("/alerts/rules/rul_01", '"name":"fast"'),
        ("/alerts/alr_01", '"resolved_reason":"cleared"'),
        ("/silences/sil_01", '"state":"active"'),
    ],
    11: [("/accounts/ann", '"username":"ann"')],
}


async def as_left_by(server: PostgresServer, number: int, *, token: str) -> str:
    """The DSN of a database that the version of this migration has used."""
    name = f"left_by_{number}"
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"create database {name}")
    await admin.close()
    dsn = server.dsn(name)
    await migrate(dsn, known=KNOWN[:number])
    connection = await asyncpg.connect(dsn)
    try:
        for since, statements in DATA.items():
            if since <= number:
                await connection.execute(statements)
        if number >= 2:
            await append_a_point(connection)
        if number >= 4:
            await connection.execute(
                "insert into telemetry.api_key"
                " (key_id, name, secret_hash, scopes, tier, created_by)"
                " values ($1, 'old', $2, '{admin}', 'enterprise', 'somebody')",
                f"key_{token.split('_')[2]}", digest_of(token),
            )  # fmt: skip
    finally:
        await connection.close()
    return dsn


async def append_a_point(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    now_us = SystemClock().now_us() - 10 * SECOND_US
    block = Block(np.array([1], np.int32), np.array([now_us]), np.array([21.5]))
    await connection.execute(
        "select telemetry.journal_append($1, catalog_version, 1, $2, false, '{}', '{}', '{}', '{}')"
        " from telemetry.installation",
        uuid4(), pack(block),
    )  # fmt: skip


def test_each_noun_of_a_version_is_looked_for() -> None:
    assert max(DATA) <= KNOWN[-1].number
    assert set(DATA) - {8} == set(FOUND) - {2}


@pytest.mark.timeout(900)
async def test_a_database_of_each_earlier_version_is_served(postgres: PostgresServer) -> None:
    new = await asyncio.to_thread(schema_of, await fresh_database(postgres))
    turn = asyncio.Semaphore(AT_ONCE)

    async def serve(number: int) -> None:
        token = new_token(f"key_{number:026}", env="live")
        async with turn:
            dsn = await as_left_by(postgres, number, token=token)
            daemon = await started(dsn, key=token if number >= 4 else "")
            told = await asyncio.to_thread(use, daemon, number)
            await asyncio.to_thread(daemon.stop)
            assert told == [], f"left by {KNOWN[number - 1].name}"
            assert await asyncio.to_thread(schema_of, dsn) == new, number

    async with asyncio.TaskGroup() as tasks:
        for number in range(1, len(KNOWN)):
            tasks.create_task(serve(number))


def use(daemon: Any, number: int) -> list[str]:
    """What is not as it was, or can't be done."""
    wrong = []
    with daemon.http() as http:
        for since, places in FOUND.items():
            for path, said in places if since <= number else ():
                answer = http.get(path)
                if answer.status_code != 200 or said not in answer.text.replace(": ", ":"):
                    wrong.append(f"{path}: {answer.status_code} {answer.text[:300]}")
        point = {"metric_name": "speed", "value": 48.0, "timestamp": SystemClock().now_us() / 1e6}
        for device in ("bus", "another"):
            answer = http.post(f"/devices/{device}/telemetry", json=point)
            shown = http.get(f"/devices/{device}/metrics/speed/latest")
            if answer.status_code != 200 or shown.json().get("value") != 48.0:
                wrong.append(f"{device}: {answer.text[:300]} {shown.text[:300]}")
    return wrong
