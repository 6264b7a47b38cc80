"""The conventional table `(series_id, time, value)` with a primary key, in the same server.

As a process it is a client with a few asyncpg connections; orders and report are as in load.py.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import uvloop
from bench import bodies
from bench.site import Site

EPOCH_2000_US = 946_684_800_000_000
_ROW = np.dtype(
    [("fields", ">i2"), ("l1", ">i4"), ("series_id", ">i4"), ("l2", ">i4"), ("time", ">i8"),
     ("l3", ">i4"), ("value", ">f8")]
)  # fmt: skip
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"
CREATE = """
create schema if not exists bench;
drop table if exists bench.point;
create table bench.point (
  series_id int4 not null, time timestamptz not null, value float8 not null,
  primary key (series_id, time)
);
"""
RANGE = """
select time, value from bench.point
 where series_id = $1 and time >= $2 and time < $3 order by time
"""
HOURLY = """
select series_id, date_trunc('hour', time) as hour, avg(value) from bench.point
 where series_id >= $1 and series_id < $2 and time >= $3 and time < $4 group by 1, 2 order by 1, 2
"""


def create(site: Site) -> None:
    """Make the table anew, empty."""
    site.with_connection(lambda connection: connection.execute(CREATE))


def copy_bytes(
    series_ids: npt.NDArray[np.int64],
    times_s: npt.NDArray[np.int64],
    values: npt.NDArray[np.float64],
) -> bytes:
    """Rows in PostgreSQL's binary COPY format."""
    rows = np.empty(len(values), _ROW)
    rows["fields"], rows["l1"], rows["l2"], rows["l3"] = 3, 4, 8, 8
    rows["series_id"], rows["value"] = series_ids, values
    rows["time"] = times_s * 1_000_000 - EPOCH_2000_US
    return _COPY_HEAD + rows.tobytes() + _COPY_TAIL


def batches(devices: Sequence[int], *, first_s: int) -> Iterator[bytes]:
    """The points of bodies.batches, in the same order, as COPY data of 1,000 rows."""
    ticks, metrics = bodies.TICKS_PER_BATCH, bodies.METRICS
    numbers = bodies.values(metrics * ticks, seed=devices[0])
    turn = 0
    while True:
        times = first_s + np.arange(turn * ticks, (turn + 1) * ticks)
        for device in devices:
            ids = np.tile(device * metrics + np.arange(metrics), ticks)
            yield copy_bytes(ids, np.repeat(times, metrics), numbers)
        turn += 1


async def copy_all(connection: asyncpg.Connection, data: bytes) -> None:
    await connection.copy_to_table(
        "point", schema_name="bench", source=io.BytesIO(data), format="binary",
        columns=["series_id", "time", "value"],
    )  # fmt: skip


def fill(site: Site, devices: Sequence[int], *, first_s: int, step_s: int, ticks: int) -> None:
    """Load the walks of bodies.history in arrival order; then vacuum, as autovacuum would."""
    series = len(devices) * bodies.METRICS
    numbers = bodies.walk(series, ticks, seed=devices[0])
    ids = devices[0] * bodies.METRICS + np.arange(series)
    part = max(1, 20_000 // series)

    async def work(connection: asyncpg.Connection) -> None:
        for at in range(0, ticks, part):
            times = first_s + step_s * np.arange(at, min(at + part, ticks))
            block = numbers[:, at : at + part].T
            rows = copy_bytes(np.tile(ids, len(times)), np.repeat(times, series), block.ravel())
            await copy_all(connection, rows)
        await connection.execute("vacuum analyze bench.point")

    site.with_connection(work)


Work = Callable[[asyncpg.Connection], Awaitable[object]]


def work_of(task: dict[str, Any], number: int) -> Work:
    """One unit of what connection `number` repeats."""
    match task["kind"]:
        case "copy":
            data = batches(task["devices"][number], first_s=task["first_s"])
            return lambda connection: copy_all(connection, next(data))
        case "commit":
            return _commit(task["first_s"])
        case "range":
            start = datetime.fromtimestamp(task["start_s"], UTC)
            end = datetime.fromtimestamp(task["end_s"], UTC)
            ids = iter(task["series_ids"] * 1_000)
            return lambda connection: connection.fetch(RANGE, next(ids), start, end)
        case "hourly":
            start = datetime.fromtimestamp(task["start_s"], UTC)
            end = start + timedelta(days=7)
            first, count = task["first_id"], task["series"]
            return lambda connection: connection.fetch(HOURLY, first, first + count, start, end)
    raise ValueError(task["kind"])


def _commit(first_s: int) -> Work:
    """One row in one transaction, each with a time of its own."""
    start = datetime.fromtimestamp(first_s, UTC)
    count = iter(range(1_000_000))

    def insert(connection: asyncpg.Connection) -> Awaitable[object]:
        return connection.execute(
            "insert into bench.point values ($1, $2, $3)",
            1, start + timedelta(milliseconds=next(count)), 1.5,
        )  # fmt: skip

    return insert


async def run(spec: dict[str, Any]) -> None:
    """Repeat the task on each connection for warm_s + seconds, or `times` times."""
    connections = [await asyncpg.connect(spec["dsn"]) for _ in range(spec["connections"])]
    tasks = [work_of(spec["task"], number) for number in range(len(connections))]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    start_s = time.perf_counter() + spec.get("warm_s", 0.0)
    end_s = start_s + spec.get("seconds", 3600)
    latencies: list[int] = []

    async def repeat(connection: asyncpg.Connection, work: Work) -> None:
        for _ in range(spec.get("times", 10**9)):
            before_s = time.perf_counter()
            if before_s >= end_s:
                return
            await work(connection)
            now_s = time.perf_counter()
            if start_s <= now_s < end_s:
                latencies.append(round((now_s - before_s) * 1e6))

    async with asyncio.TaskGroup() as group:
        for connection, work in zip(connections, tasks, strict=True):
            group.create_task(repeat(connection, work))
    elapsed_s = spec.get("seconds") or time.perf_counter() - start_s
    for connection in connections:
        await connection.close()
    report = {"requests": len(latencies), "answer_bytes": 0, "elapsed_s": elapsed_s, "failure": ""}
    print(json.dumps(report | {"latencies_us": latencies}))


if __name__ == "__main__":
    uvloop.run(run(json.loads(sys.stdin.readline())))
