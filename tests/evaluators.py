"""An evaluator on a real database that is stepped by hand; points go in by the ingest routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson
from stacks import NOW_US, Stack, a_stack

from daemon.clock import as_datetime
from daemon.domain.ids import new_id
from daemon.domain.rule_request import new_rule
from daemon.live.ring import Ring
from daemon.service.evaluating import EVALUATOR, Evaluating
from daemon.service.history import History
from daemon.store.evaluation import EvaluationStore
from daemon.store.leases import Grant
from daemon.store.pool import Database
from daemon.workers.lease import Lease

S = 1_000_000
HOT = {"name": "hot", "metric_name": "temperature", "condition": ">", "threshold_value": 90}


@dataclass
class Bench:
    """A stack with an evaluator that is stepped by hand."""

    stack: Stack
    database: Database
    evaluating: Evaluating
    lease: Lease
    grant: Grant = field(init=False)

    async def rule(self, *, begins: bool = True, **fields: Any) -> str:
        """Store a rule and let the evaluator begin anew with it, or find out by itself."""
        rule_id = new_id("rul", now_us=NOW_US)
        now = as_datetime(NOW_US)
        rule = new_rule(HOT | fields, rule_id=rule_id, now=now, by="test")
        async with self.database.transaction("control") as connection:
            await connection.execute(
                "insert into telemetry.alert_rule (rule_id, name, metric_name, kind, condition,"
                " threshold_value, level, device_ids, evaluation_window, trigger_count, hold_s,"
                " cooldown_minutes, auto_resolve_timeout, no_data, notification_channels, shadow,"
                " condition_key, resolve_threshold, expected_interval, grace_factor, device_groups,"
                " created_by, updated_by)"
                " values ($1, $2, $3, $4, $5, $6::jsonb, $7,"
                " $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,"
                " 'test', 'test')",
                rule_id, rule.name, rule.metric_name, rule.kind, rule.condition,
                orjson.dumps(rule.threshold_value).decode(), rule.level, rule.device_ids,
                rule.evaluation_window, rule.trigger_count, rule.hold_s, rule.cooldown_minutes,
                rule.auto_resolve_timeout, rule.no_data, rule.notification_channels, rule.shadow,
                rule.condition_key, rule.resolve_threshold, rule.expected_interval,
                rule.grace_factor, rule.device_groups,
            )  # fmt: skip
            await connection.execute(
                "update telemetry.alert_version set rules_version = rules_version + 1"
            )
        if begins:
            await self.begin()
        return rule_id

    async def begin(self) -> None:
        position = await self.lease.take()
        grant = self.lease.grant
        assert position is not None
        assert grant is not None
        self.grant = grant
        await self.evaluating.begin(position)

    async def begin_elsewhere(self) -> None:
        """Another process takes over: it knows only what is stored."""
        stack = self.stack
        self.evaluating = Evaluating(
            EvaluationStore(self.database),
            history=History(self.database, stack.registry, stack.head, stack.clock),
            tail=stack.tail, ring=self.evaluating._feed.ring, clock=stack.clock,
        )  # fmt: skip
        await self.begin()

    async def send(self, *values: float, device: str = "oven", at_s: float = 0) -> None:
        """One point a second from `at_s` on, each in a block of its own."""
        for at, value in enumerate(values):
            time_us = NOW_US + round((at_s + at) * S)
            point = {
                "timestamp": time_us / S,
                "metric_name": "temperature",
                "value": value,
            }
            answer = await self.stack.post(f"/devices/{device}/telemetry", point)
            assert answer.status_code == 200, answer.text

    async def judge(self) -> None:
        await self.stack.tail.turn()
        while await self.evaluating.turn(self.grant):
            pass

    async def tick(self, after_s: float) -> None:
        self.stack.clock.advance_s(after_s)
        await self.evaluating.tick(self.grant, level_us=self.stack.clock.now_us())

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with self.database.connection("query") as connection:
            return [dict(row) for row in await connection.fetch(query)]

    async def alerts(self) -> list[tuple[str, str, str | None]]:
        found = await self.rows(
            "select device_id, status, resolved_reason from telemetry.alert order by event_time"
        )
        return [(row["device_id"], row["status"], row["resolved_reason"]) for row in found]


@asynccontextmanager
async def a_bench(database: Database) -> AsyncIterator[Bench]:
    async with a_stack(database) as stack:
        ring = Ring()
        ring.begin(stack.tail.position)
        stack.tail.publish = ring.append
        history = History(database, stack.registry, stack.head, stack.clock)
        evaluating = Evaluating(
            EvaluationStore(database),
            history=history, tail=stack.tail, ring=ring, clock=stack.clock,
        )  # fmt: skip
        await evaluating.prepare()
        lease = Lease(database, EVALUATOR, holder=uuid4(), clock=stack.clock)
        yield Bench(stack, database, evaluating, lease)
