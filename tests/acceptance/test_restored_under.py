"""A database that is restored while a daemon serves it: nobody is served, and nothing is written,
by what the daemon knew before."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from daemons import API, DaemonProcess, _environment, started
from databases import fresh_database
from servers import PostgresServer
from stream_clients import a_socket, close_code, frame_of, points_of, subscribed, write

pytestmark = pytest.mark.anyio


def db(home: Path, verb: str, file: Path, dsn: str) -> None:
    environment = _environment(home) | {"TELEMETRY_DATABASE__URL": dsn}
    program = Path(sys.executable).parent / "telemetryd"
    subprocess.run([program, "db", verb, file], env=environment, check=True, timeout=120)


async def emptied(server: PostgresServer, dsn: str) -> None:
    """The same database, with nothing in it; whoever was connected is not any more."""
    name = urlsplit(dsn).path.strip("/")
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"drop database {name} with (force)")
    await admin.execute(f"create database {name}")
    await admin.close()


async def told(daemon: DaemonProcess, event: str, *, times: int = 1) -> None:
    deadline = time.monotonic() + 60
    while sum(line.get("event") == event for line in daemon.log) < times:
        assert time.monotonic() < deadline, [line.get("event") for line in daemon.log][-20:]
        assert daemon.process.poll() is None
        await asyncio.sleep(0.05)


async def value_of(daemon: DaemonProcess, device: str) -> Any:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=30) as http:
        answer = await http.get(f"/devices/{device}/metrics/m/latest")
    return answer.json().get("value", answer.status_code)


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_streams_are_told_and_everything_begins_anew(
    postgres: PostgresServer, tmp_path: Path, processes: str
) -> None:
    dsn = await fresh_database(postgres)
    daemon = await started(dsn, server__processes=processes)
    await write(daemon, "kept", 1)
    await asyncio.to_thread(db, tmp_path, "backup", tmp_path / "b", dsn)
    # Of these the restored database knows nothing; their numbers are given again.
    await write(daemon, "lost", 1, 2, 3)
    await write(daemon, "kept", 2)
    async with a_socket(daemon) as socket:
        await subscribed(socket, devices=["kept"])
        await write(daemon, "kept", 3)
        cursor = (await frame_of(socket, "update"))["cursor"]

        await emptied(postgres, dsn)
        await asyncio.to_thread(db, tmp_path, "restore", tmp_path / "b", dsn)
        shutdown = await frame_of(socket, "shutdown")
        code, _ = await close_code(socket)
    await told(daemon, "serving", times=2)
    if processes == "2":
        await told(daemon, "serving", times=4)
    before = await value_of(daemon, "kept"), await value_of(daemon, "lost")
    # The series of `other` gets the id that that of `lost` had.
    await write(daemon, "other", 7)
    await write(daemon, "kept", 8)
    async with a_socket(daemon) as socket:
        again = await subscribed(socket, devices=["kept"], resume=cursor)
        gap = await frame_of(socket, "gap")
        points = await points_of(socket, 2)
    after = [await value_of(daemon, device) for device in ("kept", "lost", "other")]
    daemon.process.send_signal(signal.SIGTERM)
    exit_code = await asyncio.to_thread(daemon.stop)

    assert (shutdown["cursor"].split("-")[0], code) == (cursor.split("-")[0], 1012)
    assert again["data"]["recovered"] is False
    assert (gap["data"]["from"], gap["data"]["reason"]) == (cursor, "epoch")
    assert gap["data"]["to"].split("-")[0] != cursor.split("-")[0]
    assert [point["value"] for point in points] == [1, 8]
    assert before == (1, 404)
    assert after == [8, 404, 7]
    assert exit_code == 0
