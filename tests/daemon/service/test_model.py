"""Whatever is written, corrected, compacted, merged, expired, deleted and restarted: what is read
equals a dict.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from databases import fresh_database
from event_builder import a_deletion
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from servers import PostgresServer
from stacks import ADMIN, NOW_US, Stack, a_stack

from daemon.clock import ManualClock
from daemon.domain import rollup
from daemon.domain.aggregates import Aggregation
from daemon.domain.errors import NotFound
from daemon.domain.kinds import Kind
from daemon.domain.latest import as_value
from daemon.domain.merge import merge
from daemon.domain.page_cursors import PageCursor, parse_page_cursor
from daemon.live.registry import RETENTION_DAYS_DEFAULT
from daemon.service import compaction, history
from daemon.service.compaction import Compaction
from daemon.service.reads import Reads, make_reads
from daemon.service.retention import Retention
from daemon.service.series import PointQuery, PooledQuery
from daemon.store.devices import DeviceStore
from daemon.store.pool import Database
from daemon.workers.compactor import Compactor
from daemon.workers.housekeeping import Housekeeping
from daemon.workers.lease import Lease

pytestmark = pytest.mark.timeout(600)

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
DEVICES = ["d1", "d2"]
METRICS = ["speed", "mixed"]
T = TypeVar("T")
Key = tuple[str, str, int]
Value = tuple[Any, str | None]
"""What was written, and the unit it came with."""

devices = st.sampled_from(DEVICES)
metrics = st.sampled_from(METRICS)
# Multiples of a quarter: sums are exact in whatever order they are made.
numbers = st.integers(-40, 40).map(lambda n: n / 4)
values = st.one_of(
    numbers,
    numbers,
    numbers,
    st.booleans(),
    st.sampled_from(["on", "off", ""]),
    st.sampled_from([{"a": [1, None]}, [], {"lat": 1.5, "lon": 2}]),
)
# Few places, so that keys meet again; around midnight and around the ends of hours.
places_us = st.builds(
    lambda hours, seconds: -hours * HOUR_US + seconds * 1_000_000,
    st.sampled_from([0, 0, 1, 11, 12, 36]),
    st.sampled_from([-1, 0, 1, 600, 1200, 1800, 2400, 3000]),
)
points = st.tuples(metrics, places_us, values, st.sampled_from([None, "m"]))


class Machine(RuleBasedStateMachine):
    """One daemon's parts over a real database; `actor` is the task that lives with them."""

    dsn = ""
    token = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.model: dict[Key, Value] = {}
        self.kinds: dict[tuple[str, str], Kind] = {}
        self.days = dict.fromkeys(METRICS, RETENTION_DAYS_DEFAULT)
        self.now_us = NOW_US
        self.database = Database(self.dsn)
        self.orders: asyncio.Queue[Any] = asyncio.Queue()

    @initialize()
    def begin(self) -> None:
        self.loop.run_until_complete(self._empty())
        self.actor = self.loop.create_task(self._live())

    async def _empty(self) -> None:
        await self.database.open()
        async with self.database.connection("control") as connection:
            for table in ("journal", "chunk", "rollup", "latest", "series", "device"):
                await connection.execute(f"delete from telemetry.{table}")
            await connection.execute("delete from telemetry.metric_retention")
            await connection.execute("update telemetry.consumer set holder = null")

    async def _live(self) -> None:
        while True:
            async with a_stack(self.database, now_us=self.now_us) as stack:
                if stack.token:
                    Machine.token = stack.token
                stack.http.headers["authorization"] = f"Bearer {Machine.token}"
                parts = Parts(stack, self.database)
                while (order := await self.orders.get()) is not None:
                    what, done = order
                    try:
                        done.set_result(await what(parts))
                    except Exception as error:
                        done.set_exception(error)

    def do(self, what: Callable[[Parts], Awaitable[T]]) -> T:
        """Run this with the parts of the daemon as it is now."""
        done: asyncio.Future[T] = self.loop.create_future()
        self.orders.put_nowait((what, done))
        return self.loop.run_until_complete(done)

    def teardown(self) -> None:
        actor = getattr(self, "actor", None)
        if actor is not None:
            actor.cancel()
            with suppress(asyncio.CancelledError):
                self.loop.run_until_complete(actor)
        self.loop.run_until_complete(self.database.close())
        self.loop.close()

    # -- what changes things -----------------------------------------------------------------

    @rule(device=devices, point=points)
    def write_one(self, device: str, point: Any) -> None:
        body = _body(point, self.now_us)
        answer = self.do(lambda p: p.stack.post(f"/devices/{device}/telemetry", body))
        self._note(device, [point], [answer.status_code != 200])

    @rule(device=devices, batch=st.lists(points, min_size=1, max_size=6))
    def write_batch(self, device: str, batch: list[Any]) -> None:
        body = {"data_points": [_body(point, self.now_us) for point in batch]}
        answer = self.do(lambda p: p.stack.post(f"/devices/{device}/telemetry/batch", body))
        refused = {error["index"] for error in answer.json()["errors"]}
        self._note(device, batch, [at in refused for at in range(len(batch))])

    @rule(
        device=devices, metric=metrics, column=st.lists(st.tuples(places_us, numbers), max_size=15)
    )
    def write_columns(self, device: str, metric: str, column: list[Any]) -> None:
        batch = [(metric, place, value, None) for place, value in column]
        series = {
            "device_id": device,
            "metric_name": metric,
            "timestamps": [_time_us(self.now_us, place) for place, _ in column],
            "values": [value for _, value in column],
        }
        answer = self.do(lambda p: p.stack.post("/columns", {"series": [series]}))
        if column:
            assert answer.status_code in (200, 422), answer.text
            refused = {error["index"][1] for error in answer.json()["errors"]}
            self._note(device, batch, [at in refused for at in range(len(batch))])

    def _note(self, device: str, batch: list[Any], is_refused: list[bool]) -> None:
        expected = [self._is_too_old(metric, place) for metric, place, _, _ in batch]
        assert is_refused == expected
        for (metric, place, value, unit), is_old in zip(batch, expected, strict=True):
            # The first value that comes says what kind the series is, also if it is refused.
            self.kinds.setdefault((device, metric), _kind_of(value))
            if not is_old:
                self.model[(device, metric, _time_us(self.now_us, place))] = (value, unit)

    def _is_too_old(self, metric: str, place: int) -> bool:
        return _time_us(self.now_us, place) < self.now_us - self.days[metric] * DAY_US

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        """Write keys again that are stored somewhere already."""
        stored = sorted(k for k in self.model if k[2] <= self.now_us)
        device = data.draw(devices)
        keys = [key for key in stored if key[0] == device]
        if not keys:
            return
        chosen = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=5))
        base_us = _time_us(self.now_us, 0)
        batch = [(key[1], key[2] - base_us, data.draw(values), None) for key in chosen]
        body = {"data_points": [_body(point, self.now_us) for point in batch]}
        answer = self.do(lambda p: p.stack.post(f"/devices/{device}/telemetry/batch", body))
        assert answer.json()["failed_count"] == 0
        self._note(device, batch, [False] * len(batch))

    @rule(everything=st.booleans(), is_followed=st.booleans())
    def compact(self, everything: bool, is_followed: bool) -> None:
        """With `everything` the pieces of a day are merged; a follower lets go of its head."""
        self.do(lambda p: p.compactor.run_once(force=everything))
        if is_followed:
            self.do(lambda p: p.follow())

    @rule(is_followed=st.booleans())
    def compact_again(self, is_followed: bool) -> None:
        self.compact(everything=False, is_followed=is_followed)

    @rule(what=st.sampled_from(["restart", "restart", "delete"]), device=devices)
    def disturb(self, what: str, device: str) -> None:
        if what == "restart":
            # What happens next is not to depend on how long leases last: that is real time.
            self.do(Parts.give_leases_back)
            self.orders.put_nowait(None)
        else:
            self.do(lambda p: p.delete(device))
            self.model = {key: value for key, value in self.model.items() if key[0] != device}
            self.kinds = {key: kind for key, kind in self.kinds.items() if key[0] != device}

    @rule(
        hours=st.sampled_from([0, 1, 13, 24]), days=st.sampled_from([30, 3, 2, 1]), metric=metrics
    )
    def grow_older(self, hours: int, days: int, metric: str) -> None:
        """Time passes, a retention becomes shorter, and what has expired is removed."""
        self.now_us += hours * HOUR_US
        self.do(lambda p: p.set_time(self.now_us))
        self.days[metric] = min(self.days[metric], days)
        self.do(lambda p: p.set_retention(metric, self.days[metric]))
        for key in list(self.model):
            if key[2] < self.now_us - self.days[key[1]] * DAY_US:
                del self.model[key]
        self.do(lambda p: p.housekeeping.run_once(self.now_us))

    # -- what is read ------------------------------------------------------------------------

    @invariant()
    def everything_is_read_as_it_was_written(self) -> None:
        if not hasattr(self, "actor"):
            return
        span = (NOW_US - 100 * DAY_US, self.now_us + HOUR_US)
        assert self.do(lambda p: p.points(*span, limit=60)) == self.model
        for metric in METRICS:
            self._check_buckets(metric, 3600, span, ("sum", "count"))
            for device in DEVICES:
                self._check_latest(device, metric)

    @rule(
        first=places_us,
        second=places_us,
        metric=metrics,
        interval_s=st.sampled_from([3600, 7200, 86_400, 900]),
    )
    def read_a_range(self, first: int, second: int, metric: str, interval_s: int) -> None:
        low, high = sorted((_time_us(self.now_us, first), _time_us(self.now_us, second)))
        span = (low, max(high, low + 1))
        found = self.do(lambda p: p.points(*span, limit=10_000))

        assert found == {k: v for k, v in self.model.items() if span[0] <= k[2] < span[1]}
        self._check_buckets(metric, interval_s, span, ("avg", "min", "max", "sum", "count"))
        for aggregation in ("avg", "count", "max"):
            query = PooledQuery(metric, Aggregation(aggregation), 3600, *span)
            found_numbers = self.do(partial(Parts.pooled, query=query))
            expected = self._buckets(metric, aggregation, 3600, span, is_pooled=True)
            assert found_numbers == pytest.approx({at: v for (_, at), v in expected.items()})

    def _check_buckets(
        self,
        metric: str,
        interval_s: int,
        span: tuple[int, int],
        aggregations: tuple[str, ...],
    ) -> None:
        for aggregation in aggregations:
            query = PointQuery(
                (metric,), *span, aggregation=Aggregation(aggregation), interval_s=interval_s
            )
            found = self.do(partial(Parts.buckets, query=query))
            expected = self._buckets(metric, aggregation, interval_s, span)
            assert found == pytest.approx(expected), aggregation

    def _check_latest(self, device: str, metric: str) -> None:
        times = [k[2] for k in self.model if k[:2] == (device, metric)]
        expected = None
        if times:
            expected = (max(times), *self.model[(device, metric, max(times))])

        assert self.do(lambda p: p.latest(device, metric)) == expected

    def _buckets(
        self,
        metric: str,
        aggregation: str,
        interval_s: int,
        span: tuple[int, int],
        *,
        is_pooled: bool = False,
    ) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], list[Any]] = {}
        for (device, name, time_us), (value, _) in self.model.items():
            if name == metric and span[0] <= time_us < span[1]:
                start_us = time_us // (interval_s * 1_000_000) * interval_s * 1_000_000
                number = _number(value, self.kinds[(device, name)])
                found.setdefault(("" if is_pooled else device, start_us), []).append(number)
        if aggregation == "count":
            return {key: len(column) for key, column in found.items()}
        plain = {key: [n for n in column if n is not None] for key, column in found.items()}
        compute: Any = {"min": min, "max": max, "sum": math.fsum, "avg": _average}[aggregation]
        return {key: compute(column) for key, column in plain.items() if column}


class Parts:
    """The parts around a stack: reads, compactor, housekeeping."""

    def __init__(self, stack: Stack, database: Database) -> None:
        self.stack = stack
        self.database = database
        self.reads: Reads = make_reads(database, tail=stack.tail, clock=stack.clock)
        compaction = Compaction(database, clock=stack.clock, slice_points=20)
        self.compactor = Compactor(
            compaction, self._lease("compactor"), points=1, age=timedelta(hours=1)
        )
        self.housekeeping = Housekeeping(
            Retention(database), self._lease("housekeeping"), clock=stack.clock
        )

    def _lease(self, name: str) -> Lease:
        return Lease(self.database, name, holder=uuid4(), clock=self.stack.clock)

    async def set_time(self, now_us: int) -> None:
        assert isinstance(self.stack.clock, ManualClock)
        self.stack.clock._now_us = now_us

    async def give_leases_back(self) -> None:
        async with self.database.connection("control") as connection:
            await connection.execute("update telemetry.consumer set holder = null")

    async def follow(self) -> None:
        await self.stack.tail.turn()
        await self.stack.tail.trim()

    async def set_retention(self, metric: str, days: int) -> None:
        async with self.database.transaction("control") as connection:
            await connection.execute(
                "insert into telemetry.metric_retention (metric_name, retention_days)"
                " values ($1, $2) on conflict (metric_name) do update set retention_days = $2",
                metric,
                days,
            )
            await connection.execute("select telemetry.catalog_changed()")
        await self.stack.tail.reload_catalog()

    async def delete(self, device: str) -> None:
        await DeviceStore(self.database).delete(device, **a_deletion(device))
        await self.stack.tail.reload_catalog()

    async def points(self, start_us: int, end_us: int, *, limit: int) -> dict[Key, Value]:
        found: dict[Key, Value] = {}
        cursor: PageCursor | None = None
        while True:
            query = PointQuery(tuple(METRICS), start_us, end_us, limit=limit, cursor=cursor)
            page = await self.reads.series.query(ADMIN, query)
            block = page.block
            for row, series_id in enumerate(block.series_ids.tolist()):
                name = page.names[series_id]
                key = (name.device_id, name.metric_name, int(block.times_us[row]))
                assert key not in found, "a point came twice"
                stored = block.objects.get(row)
                if stored is None:
                    stored = as_value(float(block.numbers[row]), name.kind)
                context = None
                if block.context_of is not None and block.context_of[row] >= 0:
                    context = block.contexts[int(block.context_of[row])]
                found[key] = (stored, _unit(context))
            if page.next_cursor is None:
                return found
            cursor = parse_page_cursor(page.next_cursor)

    async def buckets(self, query: PointQuery) -> dict[tuple[str, int], float]:
        page = await self.reads.series.query(ADMIN, query)
        columns = (page.block.series_ids, page.block.times_us, page.block.numbers)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {(page.names[sid].device_id, at): number for sid, at, number in rows}

    async def pooled(self, query: PooledQuery) -> dict[int, float]:
        found = await self.reads.series.pooled(ADMIN, query)
        return dict(zip(found.starts_us.tolist(), found.aggregated.values.tolist(), strict=True))

    async def latest(self, device: str, metric: str) -> tuple[int, Any, str | None] | None:
        try:
            found = self.reads.latest.one(
                ADMIN, device_id=device, metric_name=metric, lookback_us=0
            )
        except NotFound:
            return None
        return found.time_us, found.value, _unit(found.context)


def _time_us(now_us: int, place: int) -> int:
    return now_us // HOUR_US * HOUR_US + place - HOUR_US


def _body(point: Any, now_us: int) -> dict[str, Any]:
    metric, place, value, unit = point
    body = {
        "timestamp": _time_us(now_us, place) / 1e6,
        "metric_name": metric,
        "value": value,
    }
    return body if unit is None else body | {"unit": unit}


def _unit(context: bytes | None) -> str | None:
    return None if context is None else json.loads(context)["unit"]


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOLEAN
    if isinstance(value, float):
        return Kind.NUMERIC
    return Kind.STRING if isinstance(value, str) else Kind.JSON


def _number(value: Any, kind: Kind) -> float | None:
    """What aggregates see of a value."""
    if isinstance(value, bool):
        return float(value) if kind is Kind.BOOLEAN else None
    return value if isinstance(value, float) and kind is not Kind.BOOLEAN else None


def _average(column: list[float]) -> float:
    return math.fsum(column) / len(column)


def explore(server: PostgresServer, *, examples: int) -> None:
    """Run so many histories, always the same ones; the first that fails is raised as it is."""
    Machine.dsn = asyncio.run(fresh_database(server))
    Machine.token = ""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_is_read_equals_a_dict_whatever_happens(postgres: PostgresServer) -> None:
    explore(postgres, examples=25)


def test_the_dict_notices_history_that_wins_over_the_head(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "merge", lambda blocks: merge(blocks[::-1]))

    with pytest.raises(AssertionError):
        explore(postgres, examples=200)


def test_the_dict_notices_late_points_that_are_not_rolled_up(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "add", lambda older, newer: newer)
    monkeypatch.setattr(compaction, "add", lambda older, newer: newer, raising=False)

    with pytest.raises(AssertionError):
        explore(postgres, examples=200)
