"""Streams of real daemons: resume between doors, restarts and processes; ends that were meant and
those that were not."""

from __future__ import annotations

import asyncio
import json
import signal
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import pytest
from daemons import API, DaemonProcess, started
from databases import fresh_database
from servers import PostgresServer, launch, start_server, wait_until_ready, wheel_bindir
from stream_clients import (
    STREAM,
    Frame,
    a_raw_socket,
    a_socket,
    close_code,
    connections_of,
    events,
    frame_of,
    handshake,
    none_is_open,
    points_of,
    say,
    subscribed,
    write,
)
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from daemon.domain.times import parse_time

pytestmark = pytest.mark.anyio
CHANNEL = STREAM + "/telemetry"
LIMITED = {"limits__exempt_networks": "[]"}
TRIES = 20
CANCELLED_WITHIN_S = 20
"""A process that is not told looks every few seconds."""
DRAIN_S = 30
ENDED_WITHIN_S = 10
LIFE_S = 6
"""Of a subscription without a socket: longer than a busy machine needs to open one."""


@pytest.fixture
async def own(dsn: str) -> AsyncIterator[DaemonProcess]:
    """A daemon whose ring holds next to nothing, so that a resume reads the journal."""
    life = f"{LIFE_S}s"
    daemon = await started(dsn, streams__ring_entries_max="2", streams__subscription_life=life)
    yield daemon
    daemon.kill()


async def ask(daemon: DaemonProcess, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=30) as http:
        return await http.request(method, path, **options)


async def position(daemon: DaemonProcess) -> str:
    """The cursor of `/changes` now."""
    answer = await ask(daemon, "GET", "/changes", params={"limit": 10_000})
    return str(answer.json()["cursor"])


async def write_columns(daemon: DaemonProcess, device: str, values: range) -> None:
    now_ms = round(time.time() * 1000) - len(values)
    series = {
        "device_id": device, "metric_name": "m", "values": list(values),
        "timestamps": [now_ms + at for at in range(len(values))],
    }  # fmt: skip
    answer = await ask(daemon, "POST", "/columns", json={"series": [series]})
    assert answer.status_code == 200, answer.text


def values_of(points: list[dict[str, Any]]) -> list[float]:
    return [point["value"] for point in points]


async def cursor_behind(socket: ClientConnection, value: float) -> str:
    """Of the frame that ends with this value; what was stored before it may come first."""
    while True:
        frame = await frame_of(socket, "update")
        if values_of(frame["data"]["data_points"])[-1:] == [value]:
            return str(frame["cursor"])


# -- resume --------------------------------------------------------------------------------------


async def test_a_cursor_of_one_door_goes_on_at_every_other(daemon: DaemonProcess) -> None:
    await write(daemon, "r", 0)
    async with a_socket(daemon) as socket:
        await subscribed(socket, devices=["r"])
        await write(daemon, "r", 1, 2)
        # One frame may hold both, or the point before.
        update = await frame_of(socket, "update")
    of_changes = await position(daemon)
    await write(daemon, "r", 3, 4)
    behind = int(values_of(update["data"]["data_points"])[-1]) + 1

    for cursor, first in ((update["cursor"], behind), (of_changes, 3)):
        path = f"{CHANNEL}?device_ids=r&cursor={cursor}"
        async with (
            a_socket(daemon) as in_band,
            a_socket(daemon, path) as by_path,
            events(daemon, "/telemetry?device_ids=r", headers={"Last-Event-ID": cursor}) as sent,
        ):
            answer = await subscribed(in_band, devices=["r"], resume=cursor)
            expected = list(range(first, 5))
            got = [values_of(await points_of(one, len(expected))) for one in (in_band, by_path)]
            by_events: list[float] = []
            while len(by_events) < len(expected):
                _, _, frame = await sent.next("update")
                by_events += values_of(frame["data"]["data_points"])

            assert answer["data"]["recovered"] is True
            assert answer["cursor"] == cursor
            assert got == [expected, expected]
            assert by_events == expected
            polled = await ask(
                daemon, "GET", "/changes", params={"after": cursor, "device_ids": "r"}
            )
            assert values_of(polled.json()["data_points"]) == expected


async def test_what_left_the_ring_is_read_from_the_journal(own: DaemonProcess) -> None:
    await write(own, "old", 0)
    cursor = await position(own)
    await write(own, "old", *range(1, 30))
    await write(own, "other", *range(10))
    async with a_socket(own) as socket:
        answer = await subscribed(socket, devices=["old"], resume=cursor)
        points = await points_of(socket, 29)
        await write(own, "old", 30)
        points += await points_of(socket, 1)

    assert answer["data"]["recovered"] is True
    assert values_of(points) == list(range(1, 31))
    assert own.wait_for("stream_caught_up")["pages"] >= 1


async def test_a_large_block_comes_in_messages_that_each_resume_inside_it(
    own: DaemonProcess,
) -> None:
    await write(own, "big", -1)
    cursor = await position(own)
    await write_columns(own, "big", range(5_000))
    for _ in range(4):
        await write(own, "other", 0)
    async with a_socket(own) as socket:
        await subscribed(socket, devices=["big"], resume=cursor)
        frames: list[Frame] = []
        while sum(len(frame["data"]["data_points"]) for frame in frames) < 5_000:
            frames.append(await frame_of(socket, "update"))
    seen = len(frames[0]["data"]["data_points"])
    async with a_socket(own) as socket:
        await subscribed(socket, devices=["big"], resume=frames[0]["cursor"])
        rest = await points_of(socket, 5_000 - seen)

    assert len(frames) > 4
    assert "." in frames[0]["cursor"]
    assert all(len(json.dumps(frame, separators=(",", ":"))) <= 102_400 for frame in frames)
    whole = [point for frame in frames for point in frame["data"]["data_points"]]
    assert values_of(whole) == list(range(5_000))
    assert values_of(rest) == list(range(seen, 5_000))


async def test_points_and_events_of_the_past_come_in_one_order(own: DaemonProcess) -> None:
    cursor = await position(own)
    for number in range(6):
        await write(own, "mixed", number)
        name = {"name": f"metric_{number}", "data_type": "numeric"}
        assert (await ask(own, "POST", "/metrics", json=name)).status_code == 201
    async with a_socket(own) as socket:
        channels = ["telemetry", "events"]
        await subscribed(socket, channels=channels, resume=cursor)
        seen: list[str] = []
        cursors: list[str] = []
        while len(seen) < 12:
            frame = await frame_of(socket, "update", "event")
            cursors.append(frame["cursor"])
            if frame["type"] == "update":
                seen += [f"point {int(v)}" for v in values_of(frame["data"]["data_points"])]
            else:
                seen.append(f"event {frame['data']['subject']}")

    assert seen == [text for n in range(6) for text in (f"point {n}", f"event metric_{n}")]
    places = [tuple(map(int, c.split("-")[1].split("."))) for c in cursors]
    assert places == sorted(places)


async def skipped_by_a_cursor(daemon: DaemonProcess) -> int:
    """How many points of the past a resume would have missed, after the worst of the frames."""
    await write(daemon, "past", 0)
    cursor = await position(daemon)
    await write(daemon, "past", *range(1, 40))
    frames: list[Frame] = []
    seen: dict[str, list[float]] = {"live": [], "past": []}
    async with a_socket(daemon) as socket:
        await subscribed(socket, devices=["live"])
        writing = asyncio.ensure_future(write(daemon, "live", *range(40)))
        await say(socket, "subscribe", devices=["past"], resume=cursor)
        while len(seen["live"]) < 40 or len(seen["past"]) < 39:
            frames.append(await frame_of(socket, "subscribed", "update"))
            for point in frames[-1]["data"].get("data_points", ()):
                seen[point["device_id"]].append(point["value"])
        await writing
    assert seen == {"live": list(range(40)), "past": list(range(1, 40))}

    got, skipped = 0, 0
    for frame in frames:
        points = frame["data"].get("data_points", ())
        got += sum(point["device_id"] == "past" for point in points)
        asked = {"after": frame["cursor"], "device_ids": "past"}
        rest = (await ask(daemon, "GET", "/changes", params=asked)).json()["data_points"]
        skipped = max(skipped, 39 - got - len(rest))
    return skipped


async def test_while_one_subscription_catches_up_no_cursor_skips_what_it_lacks(
    own: DaemonProcess,
) -> None:
    assert await skipped_by_a_cursor(own) == 0


async def test_the_check_notices_cursors_that_skip(dsn: str) -> None:
    daemon = await started(dsn, sabotage="cursors_not_held", streams__ring_entries_max="2")

    for _ in range(TRIES):
        # It takes a point that comes while the past is read.
        if skipped := await skipped_by_a_cursor(daemon):
            break
    assert skipped > 0


async def test_a_cursor_of_another_epoch_is_a_gap(daemon: DaemonProcess) -> None:
    await write(daemon, "e", 1)
    now = await position(daemon)
    other = "0" * 8 + "-" + now.split("-")[1]
    async with a_socket(daemon) as socket:
        answer = await subscribed(socket, devices=["e"], resume=other)
        gap = await frame_of(socket, "gap")
        points = await points_of(socket, 1)

    assert answer["data"]["recovered"] is False
    assert (gap["data"]["from"], gap["data"]["reason"]) == (other, "epoch")
    assert values_of(points) == [1]


async def test_a_resume_outlives_a_restart_and_finds_the_other_daemon(dsn: str) -> None:
    first = await started(dsn)
    await write(first, "again", 0)
    async with a_socket(first) as socket:
        await subscribed(socket, devices=["again"])
        await write(first, "again", 1)
        cursor = await cursor_behind(socket, 1)
        stopping = asyncio.ensure_future(asyncio.to_thread(first.stop))
        code, frames = await close_code(socket)
    assert await stopping == 0
    second = await started(dsn, home=first.home, key=first.key)
    third = await started(dsn, key=first.key)
    await write(third, "again", 2)
    for daemon in (second, third):
        async with a_socket(daemon) as socket:
            answer = await subscribed(socket, devices=["again"], resume=cursor)
            assert answer["data"]["recovered"] is True
            assert values_of(await points_of(socket, 1)) == [2]

    assert code == 1012
    assert frames[-1]["type"] == "shutdown"
    assert frames[-1]["cursor"] == cursor


# -- subscriptions -------------------------------------------------------------------------------


async def test_a_subscription_waits_for_its_socket_and_then_is_gone(own: DaemonProcess) -> None:
    wanted = {"device_ids": ["s"]}
    made = (await ask(own, "POST", "/subscribe", json=wanted)).json()
    path = made["websocket_url"]
    async with a_socket(own, path) as socket:
        await frame_of(socket, "subscribed")
        # Longer than it would live without a socket.
        await asyncio.sleep(LIFE_S + 1)
        await write(own, "s", 1)
        assert values_of(await points_of(socket, 1)) == [1]
    await write(own, "s", 2)
    async with a_socket(own, path) as socket:
        assert (await frame_of(socket, "subscribed"))["data"]["recovered"] is False
    await asyncio.sleep(LIFE_S + 2)
    async with a_socket(own, path) as socket:
        code, _ = await close_code(socket)

    assert code == 4004


async def test_a_subscription_is_cancelled_in_whichever_process_its_socket_is(dsn: str) -> None:
    one = await started(dsn)
    other = await started(dsn, key=one.key)
    made = (await ask(one, "POST", "/subscribe", json={"device_ids": ["d"]})).json()
    async with a_socket(other, made["websocket_url"]) as socket:
        await frame_of(socket, "subscribed")
        began_s = time.monotonic()
        await ask(one, "DELETE", f"/subscribe/{made['subscription_id']}")
        code, _ = await close_code(socket)

    assert code == 4004
    assert time.monotonic() - began_s < CANCELLED_WITHIN_S


# -- the end of keys and daemons -----------------------------------------------------------------


async def test_streams_of_a_revoked_and_of_an_expired_key_end(daemon: DaemonProcess) -> None:
    keys = []
    for lifetime in (None, 4):
        wanted = {"name": "k", "scopes": ["read"], "tier": "enterprise", "expires_in": lifetime}
        keys.append((await ask(daemon, "POST", "/keys", json=wanted)).json())
    async with (
        a_socket(daemon, key=keys[0]["key"]) as revoked,
        a_socket(daemon, key=keys[1]["key"]) as expired,
        events(daemon, key=keys[0]["key"]) as sent,
        a_socket(daemon) as other,
    ):
        await subscribed(other)
        await ask(daemon, "DELETE", f"/keys/{keys[0]['key_id']}")
        revoked_s = time.time()
        (first, frames), (second, others) = await asyncio.gather(
            close_code(revoked), close_code(expired)
        )
        _, _, said = await sent.next("error")
        with pytest.raises(EOFError):
            await sent.next()
        await write(daemon, "goes-on", 1)
        assert await points_of(other, 1)

    assert (first, second) == (4001, 4001)
    ended_s = [end_of(daemon, one) for one in (frames, others)]
    assert ended_s[0] - revoked_s < ENDED_WITHIN_S
    assert ended_s[1] - parse_time(keys[1]["expires_at"]) / 1e6 < ENDED_WITHIN_S
    assert frames[-1]["error"]["code"] == said["error"]["code"] == "AUTH_REQUIRED"


def end_of(daemon: DaemonProcess, frames: list[Frame]) -> float:
    """When the daemon says that it closed this socket; a busy client hears of it later."""
    wanted = frames[0]["data"]["connection_id"]
    deadline_s = time.monotonic() + 30
    while True:
        for line in list(daemon.log):
            if line["event"] == "stream_closed" and line["connection_id"] == wanted:
                return parse_time(line["ts"]) / 1e6
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


async def test_a_drain_waits_for_no_stream(dsn: str) -> None:
    daemon = await started(dsn, server__drain_timeout_s=str(DRAIN_S))
    async with a_socket(daemon) as socket, events(daemon) as sent:
        await subscribed(socket)
        mute = await a_raw_socket(daemon, CHANNEL, limit=1_024)
        began_s = time.monotonic()
        stopping = asyncio.ensure_future(asyncio.to_thread(daemon.stop))
        (code, frames), (event, place, said) = await asyncio.gather(
            close_code(socket), sent.next("shutdown")
        )
        assert await stopping == 0
        mute.close()

    # Less than a drain may take.
    assert time.monotonic() - began_s < DRAIN_S
    assert (code, frames[-1]["type"], event) == (1012, "shutdown", "shutdown")
    assert frames[-1]["cursor"] == said["cursor"] == place


async def test_streams_outlive_the_database_and_new_ones_are_told_to_wait() -> None:
    server = await asyncio.to_thread(start_server, wheel_bindir())
    try:
        daemon = await started(await fresh_database(server))
        wanted = {"name": "k", "scopes": ["read"], "tier": "enterprise"}
        key = (await ask(daemon, "POST", "/keys", json=wanted)).json()["key"]
        async with a_socket(daemon) as socket:
            await subscribed(socket, devices=["d"])
            server.process.send_signal(signal.SIGINT)
            await asyncio.to_thread(server.process.wait, 60)
            async with a_socket(daemon, key=key) as refused:
                code, frames = await close_code(refused)
            async with events(daemon, key=key) as sent:
                status = sent.response.status_code
            server.process = launch(server.folder, server.bindir, server.user, fsync=False)
            await asyncio.to_thread(wait_until_ready, server)
            await until_stored(daemon, "d")

            assert await points_of(socket, 1)
        await asyncio.to_thread(daemon.stop)
    finally:
        await asyncio.to_thread(server.stop)

    assert (code, frames[-1]["error"]["code"]) == (1013, "STREAM_UNAVAILABLE")
    assert frames[-1]["error"]["retryAfter"] >= 1
    assert status == 503


async def until_stored(daemon: DaemonProcess, device: str) -> None:
    point = {"timestamp": time.time(), "metric_name": "m", "value": 1}
    async with asyncio.timeout(90):
        while (await ask(daemon, "POST", f"/devices/{device}/telemetry", json=point)).is_error:
            await asyncio.sleep(0.1)


# -- limits --------------------------------------------------------------------------------------


async def test_a_key_has_so_many_streams_open_and_so_many_new_ones(dsn: str) -> None:
    settings = {"streams__connections_max": "3", "streams__connects_per_hour": "6"}
    daemon = await started(dsn, **settings, **LIMITED)
    wanted = {"name": "k", "scopes": ["read"], "tier": "pro"}
    key = (await ask(daemon, "POST", "/keys", json=wanted)).json()["key"]
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await frame_of(await stack.enter_async_context(a_socket(daemon, key=key)), "welcome")
        async with a_socket(daemon, key=key) as socket:
            code, frames = await close_code(socket)
        async with events(daemon, key=key) as sent:
            refused = sent.response
    await none_is_open(daemon)
    cursor = await position(daemon)
    for _ in range(5):
        async with a_socket(daemon, f"{CHANNEL}?cursor={cursor}", key=key) as socket:
            await frame_of(socket, "subscribed")
        await none_is_open(daemon)
        async with a_socket(daemon, key=key) as socket:
            await frame_of(socket, "welcome")
            # It says in-band that it resumes.
            await subscribed(socket, resume=cursor)
        await none_is_open(daemon)
    for _ in range(3):
        async with a_socket(daemon, key=key) as socket:
            await frame_of(socket, "welcome")
        await none_is_open(daemon)
    async with a_socket(daemon, key=key) as socket:
        seventh, said = await close_code(socket)
    async with a_socket(daemon) as socket:
        await frame_of(socket, "welcome")

    assert (code, frames[-1]["error"]["code"]) == (4029, "RATE_LIMIT_EXCEEDED")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert seventh == 4029
    assert 3_000 < said[-1]["error"]["retryAfter"] <= 3_631


async def test_wrong_keys_count_against_their_address(dsn: str) -> None:
    daemon = await started(dsn, streams__connects_per_hour="3", **LIMITED)
    codes = []
    for _ in range(5):
        async with a_socket(daemon, key="tlm_live_wrong") as socket:
            codes.append((await close_code(socket))[0])
    async with a_socket(daemon) as socket:
        await frame_of(socket, "welcome")

    assert codes == [4001, 4001, 4001, 4029, 4029]


# -- readers that do not read --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["websocket", "sse"])
async def test_who_never_reads_is_closed_and_its_resume_has_it_all(dsn: str, kind: str) -> None:
    daemon = await started(dsn, streams__slow_grace="1s")
    await write(daemon, "flood", -1)
    cursor = await position(daemon)
    before = connections_of(daemon)
    plain = await never_reading(daemon, kind)
    points: list[dict[str, Any]] = []
    async with a_socket(daemon) as reader:
        await subscribed(reader, devices=["flood"])
        for start in range(0, 16_000, 500):
            await write_columns(daemon, "flood", range(start, start + 500))
            # Never behind by more than the sockets hold: this one may be slow too, for a second.
            points += await points_of(reader, start + 500 - len(points))
    async with asyncio.timeout(60):
        while not any(
            line["event"] == "stream_closed" and line["code"] == 4008 for line in daemon.log
        ):
            await asyncio.sleep(0.1)
        while connections_of(daemon) > before:
            await asyncio.sleep(0.1)
    plain.close()
    again = await all_since(daemon, cursor, 16_000)

    assert sorted(values_of(points)) == sorted(values_of(again)) == list(range(16_000))


async def all_since(daemon: DaemonProcess, cursor: str, count: int) -> list[dict[str, Any]]:
    """The points of `flood`, however often it is held up for so long that it has to resume."""
    points: list[dict[str, Any]] = []
    while len(points) < count:
        async with a_socket(daemon) as socket:
            answer = await subscribed(socket, devices=["flood"], resume=cursor)
            assert answer["data"]["recovered"] is True
            with suppress(ConnectionClosed):
                while len(points) < count:
                    frame = await frame_of(socket, "update")
                    points += frame["data"]["data_points"]
                    cursor = frame["cursor"]
    return points


async def never_reading(daemon: DaemonProcess, kind: str) -> sockets.socket:
    """A client that asked for a stream, and takes nothing of it."""
    where = httpx.URL(daemon.url)
    path = f"{CHANNEL}?device_ids=flood"
    request = handshake(daemon, path)
    if kind == "sse":
        lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {daemon.key}"]
        request = "\r\n".join([*lines, "", ""]).encode()
    plain = sockets.socket()
    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, (where.host, where.port or 80))
    await loop.sock_sendall(plain, request)
    return plain


async def test_other_origins_are_let_in_by_name(postgres: PostgresServer) -> None:
    page = "https://ops.example.com"
    daemon = await started(await fresh_database(postgres), http__cors_origins=json.dumps([page]))
    async with a_socket(daemon, headers={"Origin": page}) as socket:
        await frame_of(socket, "welcome")
    async with events(daemon, headers={"Origin": page}) as sent:
        allowed = sent.response.headers["access-control-allow-origin"]
    async with httpx.AsyncClient(base_url=daemon.url + API, timeout=60) as http:
        asked = {"Origin": page, "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
        preflight = await http.options("/tickets", headers=asked)
        refused = await http.options("/tickets", headers=asked | {"Origin": page + ".evil"})

    assert allowed == page
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == page
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-origin" not in refused.headers
