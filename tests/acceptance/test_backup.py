"""`telemetryd db backup` while a real daemon ingests, `db restore`, and a daemon on the copy."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from daemons import DaemonProcess, _environment, start_daemon
from databases import fresh_database
from servers import PostgresServer

pytestmark = pytest.mark.timeout(600)
API = "/api/v1/telemetry"
START_MS = int(time.time() * 1000) - 40 * 86_400_000
_names = itertools.count()


def telemetryd(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = _environment(home) | {f"TELEMETRY_{k.upper()}": v for k, v in settings.items()}
    return subprocess.run(
        [Path(sys.executable).parent / "telemetryd", *arguments],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def empty_database(server: PostgresServer) -> str:
    name = f"restored{next(_names)}"

    async def make() -> None:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute(f"create database {name}")
        await admin.close()

    asyncio.run(make())
    return server.dsn(name)


def value_of(dsn: str, query: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


class Writer:
    """Sends 0, 1, 2, … one after the other; `acknowledged` is how many were stored."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self.acknowledged = 0
        self._daemon = daemon
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._daemon.http() as http:
            while not self._ends.is_set():
                points = [
                    {"metric_name": "count", "value": number, "timestamp": stamp(number)}
                    for number in range(self.acknowledged, self.acknowledged + 20)
                ]
                answer = http.post("/devices/writer/telemetry/batch", json={"data_points": points})
                assert answer.status_code == 200, answer.text
                self.acknowledged += 20
                time.sleep(0.02)

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()


def stamp(number: int) -> int:
    """A second of its own, some weeks ago; in milliseconds."""
    return START_MS + number * 1000


def written(daemon: DaemonProcess) -> list[float]:
    """The values of all points of the writer."""
    values: list[float] = []
    end_ms = int(time.time() * 1000)
    body: dict[str, Any] = {
        "devices": ["writer"], "metrics": ["count"], "start_time": START_MS, "end_time": end_ms,
        "limit": 10_000,
    }  # fmt: skip
    with daemon.http() as http:
        while True:
            page = http.post("/query", json=body).json()
            values += [point["value"] for point in page["data_points"]]
            if page["next_cursor"] is None:
                return values
            body["cursor"] = page["next_cursor"]


def eventually(call: Any, *, timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := call()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
    return found


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    return asyncio.run(fresh_database(postgres))


@pytest.fixture
def source(postgres: PostgresServer) -> Iterator[DaemonProcess]:
    daemon = start_daemon(asyncio.run(fresh_database(postgres)), compaction__age="1s")
    yield daemon
    daemon.stop()


def database_of(daemon: DaemonProcess) -> str:
    return (
        Path(f"/proc/{daemon.process.pid}/environ")
        .read_text()
        .partition("TELEMETRY_DATABASE__URL=")[2]
        .partition("\0")[0]
    )


def alerts_of(daemon: DaemonProcess) -> list[Any]:
    with daemon.http() as http:
        found: list[Any] = http.get("/alerts").json()["alerts"]
    return found


def events_of(daemon: DaemonProcess, kind: str) -> int:
    with daemon.http() as http:
        return len(http.get("/events", params={"type": kind}).json()["events"])


def test_a_backup_while_points_come_is_one_moment_and_nothing_fires_again(
    source: DaemonProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    source.cli("write", "oven", "heat=20")
    source.cli("rule", "create", "hot", "-m", "heat", "--when", "> 90")
    source.cli("write", "oven", "heat=120")
    before = eventually(lambda: alerts_of(source))
    file = tmp_path / "telemetry.backup"
    writer = Writer(source)
    try:
        eventually(lambda: writer.acknowledged > 200)
        at_least = writer.acknowledged
        done = telemetryd(tmp_path, "db", "backup", str(file), database__url=database_of(source))
        at_most = writer.acknowledged + 20
    finally:
        writer.stop()
    with source.http() as http:
        cursor = http.get("/changes", params={"limit": 100}).json()["cursor"]

    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.glob("*") if "backup" in one.name] == [file.name]

    dsn = empty_database(postgres)
    restored = telemetryd(tmp_path, "db", "restore", str(file), database__url=dsn)
    assert restored.returncode == 0, restored.stderr
    copy = start_daemon(dsn, home=source.home, key=source.key)
    try:
        copy.cli("context", "edit", "local", "--server", copy.url)
        numbers = written(copy)
        with copy.http() as http:
            gap = http.get("/changes", params={"after": cursor}).json()
        copy.cli("write", "oven", "heat=130")
        time.sleep(2)
        after = alerts_of(copy)
        fired = events_of(copy, "alert.triggered")
    finally:
        copy.stop()

    assert sorted(numbers) == list(range(len(numbers)))
    assert at_least <= len(numbers) <= at_most
    assert [one["alert_id"] for one in after] == [one["alert_id"] for one in before]
    assert fired == events_of(source, "alert.triggered")
    assert gap["gap"]["reason"] == "epoch"


def test_a_restore_takes_an_empty_database_and_a_whole_file_only(
    postgres: PostgresServer, dsn: str, tmp_path: Path
) -> None:
    file, torn = tmp_path / "whole", tmp_path / "torn"
    empty = empty_database(postgres)
    written = telemetryd(tmp_path, "db", "backup", str(file), database__url=dsn)
    torn.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])

    full = telemetryd(tmp_path, "db", "restore", str(file), database__url=dsn)
    broken = telemetryd(tmp_path, "db", "restore", str(torn), database__url=empty)
    nothing = telemetryd(tmp_path, "db", "backup", str(tmp_path / "x"), database__url=empty)
    missing = telemetryd(tmp_path, "db", "restore", str(tmp_path / "no"), database__url=empty)

    assert written.returncode == 0
    assert (full.returncode, "holds telemetry already" in full.stderr) == (5, True)
    assert broken.returncode == 5
    assert (nothing.returncode, (tmp_path / "x").exists()) == (5, False)
    assert missing.returncode == 2
    assert value_of(empty, "select to_regnamespace('telemetry') is null")


def test_a_restore_makes_a_new_epoch_and_frees_the_leases(
    postgres: PostgresServer, dsn: str, tmp_path: Path
) -> None:
    file, epoch = tmp_path / "backup", "select epoch from telemetry.installation"
    start_daemon(dsn).stop()
    telemetryd(tmp_path, "db", "backup", str(file), database__url=dsn)
    empty = empty_database(postgres)

    telemetryd(tmp_path, "db", "restore", str(file), database__url=empty)

    assert value_of(empty, epoch) != value_of(dsn, epoch)
    assert value_of(empty, "select count(*) from telemetry.consumer where holder is not null") == 0
    assert value_of(empty, "select count(*) from telemetry.consumer") == value_of(
        dsn, "select count(*) from telemetry.consumer"
    )


def rows_of(dsn: str) -> dict[str, tuple[int, str]]:
    """(rows, what they hold) of every table, but for those that a restore writes itself."""
    names = value_of(
        dsn,
        "select array_agg(c.relname::text) from pg_class c where relkind in ('r', 'p')"
        " and not relispartition and relnamespace = 'telemetry'::regnamespace"
        " and relname not in ('installation', 'consumer', 'daemon')",
    )
    return {
        name: value_of(
            dsn,
            "select row(count(*), md5(coalesce(string_agg(t::text, ',' order by t::text), '')))"
            f" from telemetry.{name} t",
        )
        for name in names
    }


def test_every_row_of_every_table_comes_back(
    source: DaemonProcess, postgres: PostgresServer, tmp_path: Path
) -> None:
    file, empty, dsn = tmp_path / "backup", empty_database(postgres), database_of(source)
    source.cli("write", "oven", "heat=20", "door=open", "on=true")
    source.cli("rule", "create", "hot", "-m", "heat", "--when", "> 90")
    source.cli("write", "oven", "heat=120")
    source.cli("group", "create", "kitchen", "--kind", "room")
    source.cli("metric", "create", "heat", "--data-type", "numeric")
    eventually(lambda: alerts_of(source))
    eventually(lambda: value_of(dsn, "select count(*) from telemetry.chunk"))
    source.stop()
    telemetryd(tmp_path, "db", "backup", str(file), database__url=dsn)

    done = telemetryd(tmp_path, "db", "restore", str(file), database__url=empty)
    before = rows_of(dsn)

    assert done.returncode == 0, done.stderr
    assert {name for name, (count, _) in before.items() if count} >= {
        "alert", "alert_rule", "api_key", "chunk", "device", "device_group", "event", "journal",
        "metric_definition", "migration", "series",
    }  # fmt: skip
    assert rows_of(empty) == before


def test_debians_postgresql_is_backed_up_with_its_own_programs(
    postgres_15: PostgresServer, tmp_path: Path
) -> None:
    file, source, target = tmp_path / "b", empty_database(postgres_15), empty_database(postgres_15)
    telemetryd(tmp_path, "migrate", database__url=source)

    done = telemetryd(tmp_path, "db", "backup", str(file), database__url=source)
    restored = telemetryd(tmp_path, "db", "restore", str(file), database__url=target)

    assert (done.returncode, restored.returncode) == (0, 0), done.stderr + restored.stderr
    assert value_of(target, "select count(*) from telemetry.migration") > 10


def test_the_embedded_database_is_backed_up_and_restored(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file = tmp_path / "backup"
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    made = telemetryd(tmp_path, "migrate", database__data_dir=one)

    done = telemetryd(tmp_path, "db", "backup", str(file), database__data_dir=one)
    restored = telemetryd(tmp_path, "db", "restore", str(file), database__data_dir=other)
    status = telemetryd(tmp_path, "db", "status", database__data_dir=other)

    assert (made.returncode, done.returncode, restored.returncode) == (0, 0, 0), (
        made.stderr + done.stderr + restored.stderr
    )
    assert "embedded" in status.stdout
