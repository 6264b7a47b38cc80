"""Several processes behind one port: one service to its users, whichever process answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from histories import Load, eventually, lost, read_all
from receivers import free_port
from servers import PostgresServer
from stream_clients import a_socket, close_code, frame_of, points_of, subscribed
from websockets.asyncio.client import ClientConnection

pytestmark = [pytest.mark.anyio, pytest.mark.fault]
SEEN_WITHIN_S = 1.0
SEEN_AT_ALL_S = 30.0
"""Some of many may have met a moment in which this machine did something else."""
CONNECTIONS_TRIED_MAX = 200
PROMPT_S = 1.0
"""Who connects and says nothing for two seconds is not waited for when the daemon drains; what is
said has to be read by then."""
BUSY_MAX = 10
"""So often a test begins anew because this machine was too busy to be prompt."""
SOCKETS = 16
"""Of two processes, one gets none of them once in 30,000 runs."""


async def several(dsn: str, processes: int, **settings: Any) -> DaemonProcess:
    """A daemon whose processes all serve."""
    daemon = await started(dsn, server__processes=str(processes), **settings)
    await all_serving(daemon, processes)
    return daemon


async def all_serving(daemon: DaemonProcess, processes: int, *, times: int = 1) -> None:
    """Until each of the processes has begun to serve, the siblings `times` times."""

    def begun() -> bool:
        found = Counter(x["process"] for x in list(daemon.log) if x["event"] == "serving")
        return all(found[number] >= times for number in range(2, processes + 1))

    await eventually(begun, timeout_s=90, what="all processes serve")


def siblings_of(daemon: DaemonProcess) -> list[psutil.Process]:
    children = psutil.Process(daemon.process.pid).children()
    return [child for child in children if "daemon.sibling" in child.cmdline()]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


async def process_of(http: httpx.AsyncClient, daemon: DaemonProcess) -> dict[str, int]:
    """Which process answers on this client's one connection."""
    answer = await http.get(daemon.url + "/health/detailed")
    found: dict[str, int] = answer.json()["process"]
    return found


@asynccontextmanager
async def a_client_of_each(
    daemon: DaemonProcess, processes: int
) -> AsyncIterator[dict[int, httpx.AsyncClient]]:
    """One kept connection to each process, by its number."""
    headers = {"Authorization": f"Bearer {daemon.key}"}
    limits = httpx.Limits(max_connections=1)
    found: dict[int, httpx.AsyncClient] = {}
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS_TRIED_MAX):
            http = httpx.AsyncClient(
                base_url=daemon.url + API, headers=headers, timeout=60, limits=limits
            )
            await stack.enter_async_context(http)
            process = await process_of(http, daemon)
            assert process["of"] == processes
            found.setdefault(process["number"], http)
            if len(found) == processes:
                break
        yield found


def a_point(value: float) -> dict[str, Any]:
    return {"timestamp": time.time_ns() / 1e9, "metric_name": "m", "value": value}


async def when_seen(http: httpx.AsyncClient, path: str, is_it: Callable[[Any], bool]) -> float:
    """Seconds until the answer is what is waited for."""
    began = time.monotonic()
    while time.monotonic() - began < SEEN_AT_ALL_S:
        answer = await http.get(path)
        if answer.status_code == 200 and is_it(answer.json()):
            return time.monotonic() - began
        await asyncio.sleep(0.01)
    return float("inf")


def seen_by(value: float) -> dict[str, Callable[[Any], bool]]:
    """Where the value of d1's m must turn up, and how it is told there."""

    def is_in_the_points(answer: Any) -> bool:
        return value in [point["value"] for point in answer["data_points"]]

    return {
        "/devices/d1/metrics/m/latest": lambda answer: bool(answer["value"] == value),
        "/devices/d1/metrics/m/range?time_range=1h": is_in_the_points,
        "/changes?limit=1000": is_in_the_points,
    }


@pytest.mark.parametrize("processes", [2, 3])
async def test_what_one_process_takes_all_show(postgres: PostgresServer, processes: int) -> None:
    daemon = await several(await fresh_database(postgres), processes)
    took: list[float] = []
    async with a_client_of_each(daemon, processes) as clients:
        numbers = set(clients)
        for turn in range(3):
            for number, writer in clients.items():
                value = number + turn * 10.0
                answer = await writer.post("/devices/d1/telemetry", json=a_point(value))
                assert answer.status_code == 200, answer.text
                own = await writer.get("/devices/d1/metrics/m/latest")
                assert own.json()["value"] == value
                for reader in clients.values():
                    for path, is_it in seen_by(value).items():
                        took.append(await when_seen(reader, path, is_it))
    code = await asyncio.to_thread(daemon.stop)

    assert numbers == set(range(1, processes + 1))
    assert max(took) < SEEN_AT_ALL_S
    assert median(took) < SEEN_WITHIN_S
    assert code == 0


async def sockets_to(
    daemon: DaemonProcess, stack: AsyncExitStack, count: int, **wanted: Any
) -> list[ClientConnection]:
    """So many subscribed sockets, spread over the processes."""
    found = []
    for _ in range(count):
        socket = await stack.enter_async_context(a_socket(daemon))
        assert (await subscribed(socket, **wanted))["type"] == "subscribed"
        found.append(socket)
    return found


async def test_every_stream_gets_what_any_process_takes(postgres: PostgresServer) -> None:
    daemon = await several(await fresh_database(postgres), 2)
    values = [float(value) for value in range(20)]
    took: list[float] = []
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(a_client_of_each(daemon, 2))
        sockets = await sockets_to(daemon, stack, SOCKETS, devices=["d1"])
        seen: list[list[float]] = [[] for _ in sockets]
        for at in range(0, len(values), 4):
            for value in values[at : at + 4]:
                writer = clients[1 + int(value) % 2]
                answer = await writer.post("/devices/d1/telemetry", json=a_point(value))
                assert answer.status_code == 200, answer.text
            began_s = time.monotonic()
            for found, socket in zip(seen, sockets, strict=True):
                points = await points_of(socket, 4, within_s=SEEN_AT_ALL_S)
                found += [point["value"] for point in points]
            took.append(time.monotonic() - began_s)
        held = [await streams_held(client, daemon) for client in clients.values()]

    assert seen == [values] * SOCKETS
    assert median(took) < SEEN_WITHIN_S
    assert (sum(held), min(held) > 0) == (SOCKETS, True)


async def streams_held(http: httpx.AsyncClient, daemon: DaemonProcess) -> int:
    """How many streams the process at the other end has."""
    details = (await http.get(daemon.url + "/health/detailed")).json()
    return int(details["real_time_stream"]["connections"])


async def test_a_cursor_of_one_process_goes_on_at_every_other(postgres: PostgresServer) -> None:
    daemon = await several(await fresh_database(postgres), 2)
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(a_client_of_each(daemon, 2))
        (first,) = await sockets_to(daemon, stack, 1, devices=["d1"])
        await clients[1].post("/devices/d1/telemetry", json=a_point(1))
        cursor = (await frame_of(first, "update"))["cursor"]
        for value, client in zip((2, 3), clients.values(), strict=True):
            await client.post("/devices/d1/telemetry", json=a_point(value))
        resumed = []
        for _ in range(SOCKETS):
            socket = await stack.enter_async_context(a_socket(daemon))
            told = await subscribed(socket, devices=["d1"], resume=cursor)
            points = await points_of(socket, 2)
            resumed.append((told["data"]["recovered"], [point["value"] for point in points]))

    assert resumed == [(True, [2, 3])] * SOCKETS


async def test_a_subscription_made_at_one_process_is_found_by_all(
    postgres: PostgresServer,
) -> None:
    daemon = await several(await fresh_database(postgres), 2)
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(a_client_of_each(daemon, 2))
        made = (await clients[2].post("/subscribe", json={"device_ids": ["d1"]})).json()
        sockets = [
            await stack.enter_async_context(a_socket(daemon, made["websocket_url"]))
            for _ in range(SOCKETS)
        ]
        kinds = [(await frame_of(socket, "subscribed", "error"))["type"] for socket in sockets]

    assert kinds == ["subscribed"] * SOCKETS


async def test_a_drain_says_goodbye_to_the_streams_of_all_processes(
    postgres: PostgresServer,
) -> None:
    daemon = await several(await fresh_database(postgres), 2)
    async with AsyncExitStack() as stack:
        sockets = await sockets_to(daemon, stack, SOCKETS, devices=["d1"])
        stopping = asyncio.ensure_future(asyncio.to_thread(daemon.stop))
        ends = [await close_code(socket) for socket in sockets]
        code = await stopping

    assert [end[0] for end in ends] == [1012] * SOCKETS
    assert all([frame["type"] for frame in frames][-1] == "shutdown" for _, frames in ends)
    assert code == 0


async def test_siblings_are_told_of_the_very_first_commit(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    daemon = await several(dsn, 2)
    told: list[int] = []
    connection = await asyncpg.connect(dsn)
    try:
        await connection.add_listener("telemetry_journal", lambda *_: told.append(1))
        async with a_client_of_each(daemon, 2) as clients:
            await clients[2].post("/devices/d1/telemetry", json=a_point(0))
            # New series are told of, too; what comes now is the commit alone.
            await asyncio.sleep(0.2)
            told.clear()
            for value, client in clients.items():
                await client.post("/devices/d1/telemetry", json=a_point(value))
        await eventually(lambda: len(told) >= 2, timeout_s=30, what="NOTIFY of each commit")
    finally:
        await connection.close()


async def test_a_drain_of_all_processes_cuts_and_loses_nothing(postgres: PostgresServer) -> None:
    daemon = await several(await fresh_database(postgres), 2, server__drain_delay_s="0.2")
    dsn = await dsn_of(daemon)
    load = Load(daemon.url, daemon.key)
    async with load.running(writers=8):
        await load.wait_for(200)
        load.gives_up = True
        code = await asyncio.to_thread(daemon.stop)
        load.is_stopping = True
    following = await started(dsn, home=daemon.home, key=daemon.key)
    stored = await asyncio.to_thread(read_all, following)
    await asyncio.to_thread(following.stop)
    cut = [a for a in load.attempts if a.status == 0 and not a.is_refused]

    assert code == 0
    assert cut == []
    assert lost(load, stored) == []
    assert {line["process"] for line in daemon.log if line["event"] == "stopped"} == {1, 2}


async def test_a_drain_answers_new_connections_until_the_port_is_closed(
    postgres: PostgresServer,
) -> None:
    """Each request on a connection of its own: what stands in the queue is not reset."""
    daemon = await several(await fresh_database(postgres), 2)
    port = int(daemon.url.rsplit(":", 1)[1])
    cut = answered = 0
    is_over = False

    async def knock() -> None:
        nonlocal answered, cut, is_over
        while not is_over:
            began_s = time.monotonic()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                is_over = True
                return
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            # Who takes long to say anything, on a busy machine, is not waited for.
            is_prompt = time.monotonic() - began_s < PROMPT_S
            answer = await answer_of(reader)
            writer.close()
            answered += answer.startswith(b"HTTP/1.1 200")
            cut += not answer and is_prompt

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(knock())
        while answered < 40:
            await asyncio.sleep(0.02)
        code = await asyncio.to_thread(daemon.stop)

    assert (code, cut) == (0, 0)
    assert answered > 40


async def test_who_has_connected_when_the_drain_begins_is_answered(
    postgres: PostgresServer,
) -> None:
    for _ in range(BUSY_MAX):
        answers, code, late_s = await speaking_late(postgres)
        if late_s < PROMPT_S:
            break

    assert late_s < PROMPT_S, "the machine is too busy to tell"
    assert [answer.startswith(b"HTTP/1.1 200") for answer in answers] == [True] * SOCKETS
    assert code == 0


async def speaking_late(postgres: PostgresServer) -> tuple[list[bytes], int, float]:
    """What connections are answered that say something only when the drain has begun, the exit
    code, and how many seconds after the beginning they had said it."""
    daemon = await several(await fresh_database(postgres), 2)
    port = int(daemon.url.rsplit(":", 1)[1])
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SOCKETS)]
    stopping = asyncio.ensure_future(asyncio.to_thread(daemon.stop))
    line = await asyncio.to_thread(daemon.wait_for, "draining")
    # Longer than kept connections have for their last request.
    await asyncio.sleep(0.6)
    for _, writer in opened:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    late_s = time.time() - datetime.fromisoformat(line["ts"]).timestamp()
    answers = [await answer_of(reader) for reader, _ in opened]
    for _, writer in opened:
        writer.close()
    return answers, await stopping, late_s


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """Everything that comes; nothing when the connection is cut."""
    try:
        return await reader.read()
    except OSError:
        return b""


async def test_a_killed_sibling_comes_back_and_nothing_is_lost(postgres: PostgresServer) -> None:
    daemon = await several(await fresh_database(postgres), 2)
    load = Load(daemon.url, daemon.key)
    async with load.running(writers=8):
        await load.wait_for(100)
        sibling = siblings_of(daemon)[0]
        sibling.kill()
        await load.wait_for(100)
        await all_serving(daemon, 2, times=2)
        await load.wait_for(100)
    async with a_client_of_each(daemon, 2) as clients:
        back = set(clients)
    stored = await asyncio.to_thread(read_all, daemon)
    died = [line for line in daemon.log if line["event"] == "child_died"]
    code = await asyncio.to_thread(daemon.stop)

    assert back == {1, 2}
    assert lost(load, stored) == []
    assert [(x["module"], x["exit_code"], x["process"]) for x in died] == [
        ("daemon.sibling", -signal.SIGKILL, 1)
    ]
    assert code == 0


async def test_siblings_end_with_the_killed_daemon_and_free_the_port(
    postgres: PostgresServer,
) -> None:
    dsn, port = await fresh_database(postgres), str(free_port())
    daemon = await several(dsn, 3, server__drain_delay_s="30", server__port=port)
    siblings = siblings_of(daemon)
    async with a_client_of_each(daemon, 3) as clients:
        await clients[2].post("/devices/d1/telemetry", json=a_point(7))
    await asyncio.to_thread(daemon.kill)
    await eventually(lambda: gone(siblings), timeout_s=60, what="the siblings' end")
    following = await started(
        dsn, home=daemon.home, key=daemon.key, server__port=port, server__processes="2"
    )
    with following.http() as http:
        latest = http.get("/devices/d1/metrics/m/latest").json()
    code = await asyncio.to_thread(following.stop)

    assert len(siblings) == 2
    assert latest["value"] == 7
    assert code == 0


async def test_a_reload_reaches_every_process(postgres: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "telemetry.toml"
    file.write_text("[http]\ncors_origins = []\n")
    keys = tmp_path / "key"
    keys.write_text("k" * 32)
    keys.chmod(0o600)
    issuer = {"name": "ours", "issuer": "i", "audience": "a", "algorithm": "HS256"}
    named = {
        "TELEMETRY_CONFIG": str(file),
        "TELEMETRY_AUTH__ISSUERS": json.dumps([issuer | {"key_file": str(keys)}]),
    }
    daemon = await several(await fresh_database(postgres), 2, environment=named)
    asking = {"Origin": "https://ops.example.com", "Access-Control-Request-Method": "GET"}

    async def granted() -> dict[int, bool]:
        async with a_client_of_each(daemon, 2) as clients:
            return {
                number: "access-control-allow-origin"
                in (await http.options("/devices", headers=asking)).headers
                for number, http in clients.items()
            }

    before = await granted()
    file.write_text('[http]\ncors_origins = ["https://ops.example.com"]\n')
    daemon.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(reloaded_by, daemon, 2)
    trusting = {x["process"] for x in daemon.log if x["event"] == "issuer_keys_read"}
    after = await granted()
    siblings_of(daemon)[0].kill()
    await all_serving(daemon, 2, times=2)
    anew = await granted()
    await asyncio.to_thread(daemon.stop)

    assert before == {1: False, 2: False}
    assert after == {1: True, 2: True}
    assert trusting == {1, 2}
    assert anew == {1: True, 2: True}


def reloaded_by(daemon: DaemonProcess, processes: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = {x["process"] for x in list(daemon.log) if x["event"] == "issuer_keys_read"}
        if told == set(range(1, processes + 1)):
            return
        time.sleep(0.02)
    raise AssertionError(f"only {told} took it over")


async def test_a_sibling_leaves_the_end_to_the_daemon(postgres: PostgresServer) -> None:
    """A terminal and systemd signal all processes; only the first decides."""
    daemon = await several(await fresh_database(postgres), 2)
    sibling = siblings_of(daemon)[0]
    sibling.send_signal(signal.SIGTERM)
    sibling.send_signal(signal.SIGINT)
    await asyncio.sleep(0.3)
    async with a_client_of_each(daemon, 2) as clients:
        numbers = set(clients)

    assert numbers == {1, 2}
    assert await asyncio.to_thread(daemon.stop) == 0
    assert gone([sibling])


async def test_the_port_is_shared_with_its_own_processes_only(postgres: PostgresServer) -> None:
    dsn = await fresh_database(postgres)
    daemon = await several(dsn, 2)
    port = int(daemon.url.rsplit(":", 1)[1])
    environment = daemon.environment | {
        "TELEMETRY_DATABASE__URL": dsn,
        "TELEMETRY_SERVER__PORT": str(port),
        "TELEMETRY_SERVER__PROCESSES": "2",
    }
    program = Path(sys.executable).parent / "telemetryd"
    other = await asyncio.to_thread(
        lambda: subprocess.run(
            [program, "serve"], env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )
    )  # fmt: skip

    assert other.returncode == 75
    assert "in use" in other.stderr


def test_the_number_of_processes_is_a_setting(tmp_path: Path) -> None:
    def config(command: str, processes: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        environment["TELEMETRY_SERVER__PROCESSES"] = processes
        return subprocess.run(
            [Path(sys.executable).parent / "telemetryd", "config", command],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert "\nprocesses = 4\n" in config("show", "4").stdout
    assert "\nprocesses = 1\n" in config("show", "1").stdout
    refused = config("check", "0")
    assert refused.returncode == 78
    assert "server.processes" in refused.stderr


async def dsn_of(daemon: DaemonProcess) -> str:
    """The database the daemon was started on."""
    environment = psutil.Process(daemon.process.pid).environ()
    return environment["TELEMETRY_DATABASE__URL"]


def test_a_port_of_several_is_taken_whole() -> None:
    """Before anybody shares it, a port is the daemon's alone."""
    from daemon.transport.server import bind, bind_beside, share

    first = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with first:
        with pytest.raises(OSError, match="in use"):
            bind_beside("127.0.0.1", port)
        share(first)
        with bind_beside("127.0.0.1", port) as second:
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
            taken = [0, 0]
            deadline = time.monotonic() + 30
            # Who has connected may stand in the queue a moment later.
            while sum(taken) < 64 and time.monotonic() < deadline:
                taken[0] += accepted(first)
                taken[1] += accepted(second)
            for client in clients:
                client.close()

    assert sum(taken) == 64
    assert min(taken) > 8


def accepted(listening: socket.socket) -> int:
    """How many connections stand in its queue."""
    count = 0
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return count
        connection.close()
        count += 1
