"""Who follows the journal misses nothing and repeats nothing, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from histories import Key, Load, journal_points
from servers import PostgresServer

from daemon.domain.times import parse_time

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
OFTEN = {"compaction__points": "2000", "compaction__age": "1s"}
Point = tuple[Key, float]


@dataclass
class Reader:
    """Reads one daemon, which may be replaced; `is_last` asks it to read to the end and stop, where
    it has at least the points that are `wanted`."""

    daemon: DaemonProcess
    points: list[Point] = field(default_factory=list)
    cursor: str = ""
    is_last: bool = False
    wanted: int = 0

    async def follow_changes(self) -> None:
        """Small pages, held back when there is nothing."""
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                was_last = self.is_last
                parameters = {"after": self.cursor, "limit": "137", "wait": "0.3"}
                page = await self._get(http, "/changes", parameters)
                if page is None:
                    continue
                answer = page.json()
                assert answer["gap"] is None
                for point in answer["data_points"]:
                    time_us = parse_time(point["timestamp"])
                    key = (point["device_id"], point["metric_name"], time_us)
                    self.points.append((key, point["value"]))
                self.cursor = answer["cursor"]
                if was_last and not answer["data_points"] and len(self.points) >= self.wanted:
                    return

    async def export_again_and_again(self) -> None:
        """Each export goes on where the last whole one ended."""
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                was_last = self.is_last
                parameters = {"after": self.cursor, "raw": "true"}
                part = await self._get(http, "/export/csv", parameters)
                if part is None:
                    continue
                if part.status_code == 404:
                    self.cursor = part.json()["next_cursor"]
                    if was_last and len(self.points) >= self.wanted:
                        return
                    await asyncio.sleep(0.1)
                    continue
                self.points += rows_of(part.text)
                self.cursor = part.headers["x-next-cursor"]

    async def _get(
        self, http: httpx.AsyncClient, path: str, parameters: dict[str, str]
    ) -> httpx.Response | None:
        """The answer, or None when there was none that is whole."""
        headers = {"Authorization": f"Bearer {self.daemon.key}"}
        try:
            answer = await http.get(
                self.daemon.url + API + path, params=parameters, headers=headers
            )
        except httpx.TransportError:
            await asyncio.sleep(0.05)
            return None
        assert answer.status_code in (200, 404, 503), answer.text
        return None if answer.status_code == 503 else answer

    async def export_with_the_command_line(self, folder: Path) -> None:
        """The same by `telemetryctl`, into one file."""
        state, out = folder / "state.json", folder / "out.csv"
        while True:
            was_last, daemon = self.is_last, self.daemon
            access = {"TELEMETRYCTL_SERVER": daemon.url, "TELEMETRYCTL_TOKEN": daemon.key}
            options = ("--incremental", "--state", str(state), "-O", str(out))
            run = partial(daemon.cli, "export", "csv", *options, check=False, **access)
            done = await asyncio.to_thread(run)
            assert done.returncode in (0, 3, 75), done.stderr
            if was_last and done.returncode == 3:
                self.points = rows_of(out.read_text())
                if len(self.points) >= self.wanted:
                    return
            await asyncio.sleep(0.1)


def rows_of(text: str) -> list[Point]:
    return [
        ((row["device_id"], row["metric_name"], parse_time(row["timestamp"])), float(row["value"]))
        for row in csv.DictReader(io.StringIO(text))
    ]


@asynccontextmanager
async def two_loads(first: DaemonProcess, second: DaemonProcess) -> AsyncIterator[Load]:
    """Writers at both daemons; yields the load of the first."""
    mine = Load(first.url, first.key, prefix="a")
    others = Load(second.url, second.key, prefix="b")
    async with mine.running(writers=4), others.running(writers=4):
        yield mine


@pytest.mark.timeout(400)
async def test_followers_get_every_point_once_while_daemons_die(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    dsn = await fresh_database(postgres)
    first = await started(dsn, **OFTEN)
    second = await started(dsn, key=first.key, **OFTEN)
    changes, exports, files = Reader(first), Reader(first), Reader(first)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(changes.follow_changes())
        tasks.create_task(exports.export_again_and_again())
        tasks.create_task(files.export_with_the_command_line(tmp_path))
        async with two_loads(first, second) as load:
            for end in ("kill", "stop", "kill"):
                await asyncio.sleep(1)
                await asyncio.to_thread(first.stop if end == "stop" else first.kill)
                first = await started(dsn, home=first.home, key=first.key, **OFTEN)
                for part in (load, changes, exports, files):
                    if isinstance(part, Load):
                        part.point_to(first)
                    else:
                        part.daemon = first
            await load.wait_for(50)
        written = await journal_points(dsn)
        for reader in (changes, exports, files):
            # On a busy machine the last points may be seen a while later.
            reader.wanted = len(written)
            reader.is_last = True

    assert len(written) > 1000
    assert changes.points == written
    assert Counter(exports.points) == Counter(written)
    assert Counter(files.points) == Counter(written)


# The same function, but numbers are taken without the lock, and some commits come late.
OUT_OF_ORDER = """
do $$
declare
  taking text := 'next_seq := nextval(''telemetry.journal_seq'');';
  body text := pg_get_functiondef('telemetry.journal_append'::regproc);
begin
  body := replace(body, 'perform pg_advisory_xact_lock(8218, 1);', '');
  assert position(taking in body) > 0;
  execute replace(body, taking, taking || ' perform pg_sleep(random() * 0.1);');
end $$;
"""


async def test_the_check_notices_numbers_that_are_not_in_commit_order(
    postgres: PostgresServer,
) -> None:
    dsn = await fresh_database(postgres)
    connection = await asyncpg.connect(dsn)
    await connection.execute(OUT_OF_ORDER)
    await connection.close()
    first = await started(dsn)
    second = await started(dsn, key=first.key)
    changes = Reader(first)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(changes.follow_changes())
        async with two_loads(first, second) as load:
            is_noticed = False
            while not is_noticed:
                await load.wait_for(60)
                found = list(changes.points)
                is_noticed = found != (await journal_points(dsn))[: len(found)]
        changes.is_last = True
    written = await journal_points(dsn)

    assert changes.points != written
