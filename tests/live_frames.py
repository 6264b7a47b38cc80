"""One frame of every type, as a real daemon sends it, to hold documents against."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx
from daemons import API, DaemonProcess, started
from stream_clients import Frame, a_socket, close_code, events, frame_of, say, write
from websockets.asyncio.client import ClientConnection

KINDS = (
    "welcome", "subscribed", "update", "snapshot", "event", "alert", "ping", "pong", "warning",
    "gap", "error", "shutdown",
)  # fmt: skip
HEARTBEATS = 30
"""Connections have their heartbeats spread over so many seconds, one after the other."""
OTHER_EPOCH = "00000000-1"


async def collect(dsn: str) -> list[Frame]:
    """Frames of all kinds, some several times. The daemon is stopped at the end."""
    # A budget so small that a reader soon lags, and a bound so small that it then loses.
    daemon = await started(
        dsn, streams__messages_burst="1", streams__messages_per_s="2",
        streams__pending_flushes_max="3",
    )  # fmt: skip
    frames: list[Frame] = []
    async with (
        a_socket(daemon) as socket,
        a_socket(daemon) as newest,
        asyncio.TaskGroup() as tasks,
    ):
        channels = ["telemetry", "events"]
        await say(socket, "subscribe", devices=["boiler_1", "boiler_2"], channels=channels)
        await say(newest, "subscribe", devices=["boiler_1"], channels=["latest"])
        frames += await _all(socket, until="subscribed")
        frames += await _all(newest, until="snapshot")
        for value in range(40):
            await write(daemon, "boiler_1", 2.4 + value / 10, **_pressure())
            frames.append(await frame_of(socket, "update"))
            changed = await _all(newest, until="update")
            frames += changed
            if "unit" not in changed[-1]["data"]["latest"]["boiler_1"]["pressure"]:
                break
            # Who has got everything, and may get a message at once, gets only what changed.
            await asyncio.sleep(0.6)
        await write(daemon, "boiler_2", True, metric="open")
        await _tell(daemon)
        await say(socket, "subscribe", channels=["jobs"])
        await say(socket, "subscribe", devices=["boiler_3"], resume=OTHER_EPOCH)
        await say(socket, "ping")
        frames += await _all(socket, until="pong")
        async with a_socket(daemon) as other:
            await say(other, "subscribe", devices=["boiler_1"], channels=["latest"])
            frames.append(await frame_of(other, "snapshot"))
        frames.append(await alert_of(daemon))
        frames += await _until_it_lags(daemon, socket)
        async with a_socket(daemon, key="tlm_live_wrong") as refused:
            frames += (await close_code(refused))[1]
        frames.append(await ping_of(daemon))
        stopping = tasks.create_task(asyncio.to_thread(daemon.stop))
        frames += (await close_code(socket))[1]
        await stopping
    return frames


async def _until_it_lags(daemon: DaemonProcess, socket: ClientConnection) -> list[Frame]:
    """Write faster than its budget allows, however slow this machine is; and what was sent."""
    is_enough = asyncio.Event()

    async def flood() -> None:
        while not is_enough.is_set():
            await write(daemon, "boiler_1", *range(12), **_pressure())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(flood())
        frames = await _all(socket, until="warning")
        is_enough.set()
    return frames


def _pressure() -> dict[str, object]:
    about = {"tags": {"site": "north"}, "metadata": {"sensor": "A7"}}
    return {"metric": "pressure", "unit": "bar", **about}


async def alert_of(daemon: DaemonProcess) -> Frame:
    """An alert as it fires."""
    rule = {
        "name": "pressure high", "metric_name": "pressure", "condition": ">",
        "threshold_value": 16, "device_ids": ["boiler_9"],
    }  # fmt: skip
    async with a_socket(daemon) as socket:
        await say(socket, "subscribe", channels=["alerts"])
        await frame_of(socket, "subscribed")
        await _post(daemon, "/alerts/rules", rule)
        await write(daemon, "boiler_9", 17, **_pressure())
        return await frame_of(socket, "alert")


async def _tell(daemon: DaemonProcess) -> None:
    event = {
        "type": "deploy.done", "subject": "boiler_1", "message": "version 7 is out",
        "data": {"by": "ana"},
    }  # fmt: skip
    await _post(daemon, "/events", event)


async def _post(daemon: DaemonProcess, path: str, body: object) -> None:
    headers = {"Authorization": f"Bearer {daemon.key}"}
    async with httpx.AsyncClient(base_url=daemon.url + API, headers=headers, timeout=60) as http:
        answer = await http.post(path, json=body)
        assert answer.status_code == 201, answer.text


async def _all(socket: ClientConnection, *, until: str) -> list[Frame]:
    frames: list[Frame] = []
    while not frames or frames[-1]["type"] != until:
        frames.append(await frame_of(socket))
    return frames


async def ping_of(daemon: DaemonProcess) -> Frame:
    """The next heartbeat, without the wait for it: one of so many connections has it now."""
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(a_socket(daemon)) for _ in range(HEARTBEATS)]
        waiting = {asyncio.ensure_future(frame_of(one, "ping", within_s=60)) for one in sockets}
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return done.pop().result()


async def heartbeat_of(daemon: DaemonProcess) -> tuple[str, str, Frame]:
    """The same as a server-sent event: its name, its id and its data."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(events(daemon)) for _ in range(HEARTBEATS)]
        waiting = {asyncio.ensure_future(one.next("heartbeat", within_s=60)) for one in opened}
        done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return done.pop().result()
