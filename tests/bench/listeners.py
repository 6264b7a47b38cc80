"""A client process of the streams' figures: holds some thousand subscribers and does what it is
told.

Orders come as JSON lines on standard input: first whom to connect to and for what, then one line
for each step, which is answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import Any

import uvloop
from bench.sockets import SAMPLE_EVERY, Subscriber, Tally, connect, established, hello

HANDSHAKES_AT_ONCE = 100
RETURN_AT_ONCE = 1_000
"""Of each process; two of them fill the queue of the port."""
SOURCES = [f"127.0.0.{number}" for number in range(2, 6)]
"""One address has ports for some 28,000 connections to the same place; a second try needs more."""
SLOW_SOURCE = "127.0.0.9"
LOOK_EVERY_S = 0.1
READY_TIMEOUT_S = 60.0


class Listeners:
    """`spec`: port, path, token, is_slow, and `asks`: for each connection its subscription or
    null."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.tally = Tally()
        self.hello = hello(spec["path"], port=spec["port"], token=spec["token"])
        self.subscribers: list[Subscriber] = []

    async def connect(self, *, at_once: int, cursors: list[str] | None = None) -> None:
        """All of them, so many at once; with `cursors` each goes on from its own.

        Raises RuntimeError with how many were ready in time.
        """
        gate = asyncio.Semaphore(at_once)
        asks = self.spec["asks"]
        self.subscribers = [
            Subscriber(
                self.tally, self.hello, ask if cursors is None else ask | {"resume": cursors[at]}
            )
            for at, ask in enumerate(asks)
        ]

        async def one(at: int, subscriber: Subscriber) -> None:
            async with gate:
                is_slow = self.spec.get("is_slow", False)
                source = SLOW_SOURCE if is_slow else SOURCES[at % len(SOURCES)]
                await connect(subscriber, port=self.spec["port"], source=source, is_slow=is_slow)

        try:
            async with asyncio.timeout(READY_TIMEOUT_S), asyncio.TaskGroup() as tasks:
                for at, subscriber in enumerate(self.subscribers):
                    tasks.create_task(one(at, subscriber))
        except TimeoutError as error:
            ready = sum(subscriber.is_ready for subscriber in self.subscribers)
            said = f"{ready} of {len(asks)} are ready after {READY_TIMEOUT_S:.0f} s"
            raise RuntimeError(said) from error

    async def count(self, step: dict[str, Any]) -> dict[str, Any]:
        """What arrives in `seconds` from `warm_s` on; `stamps` asks for those of all points."""
        tally, now_s = self.tally, time.perf_counter()
        tally.frames = tally.size = tally.sampled = 0
        del tally.stamps[:], tally.arrivals[:]
        tally.seen.clear()
        tally.wants_stamps = step.get("stamps", False)
        tally.start_s = now_s + step.get("warm_s", 0.0)
        tally.end_s = tally.start_s + step["seconds"]
        await asyncio.sleep(tally.end_s - now_s)
        lost = sum(subscriber.is_lost for subscriber in self.subscribers)
        return {
            "frames": tally.frames, "points": tally.sampled * SAMPLE_EVERY, "size": tally.size,
            "seen": tally.seen, "lost": lost,
            "stamps": tally.stamps.tolist(), "arrivals": tally.arrivals.tolist(),
        }  # fmt: skip

    async def reconnect(self, step: dict[str, Any]) -> dict[str, Any]:
        """Cut all at once; after `away_s` all come back at once with what they had last."""
        cursors = [subscriber.cursor for subscriber in self.subscribers]
        for subscriber in self.subscribers:
            subscriber.transport.abort()
        await asyncio.sleep(step["away_s"])
        self.tally.seen.clear()
        begun_s = time.perf_counter()
        await self.connect(at_once=RETURN_AT_ONCE, cursors=cursors)
        took_s = time.perf_counter() - begun_s
        recovered = sum(subscriber.is_recovered for subscriber in self.subscribers)
        return {"seconds": took_s, "recovered": recovered, "gaps": self.tally.seen.get("gap", 0)}

    async def stall(self, step: dict[str, Any]) -> dict[str, Any]:
        """Read nothing until the other side has closed all or `seconds` are over; every other one
        looks again after `look_after_s`, and says what it saw.

        What the other side has open is asked of the kernel: who does not read learns nothing.
        """
        begun_s = time.perf_counter()
        for subscriber in self.subscribers:
            subscriber.transport.pause_reading()
        lookers = self.subscribers[::2]
        has_looked = False
        open_now = len(self.subscribers)
        while (now_s := time.perf_counter() - begun_s) < step["seconds"]:
            if not has_looked and now_s >= step["look_after_s"]:
                has_looked = True
                for subscriber in lookers:
                    if not subscriber.transport.is_closing():
                        subscriber.transport.resume_reading()
            open_now = len(established(self.spec["port"], SLOW_SOURCE))
            if not open_now:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        return {
            "open": open_now,
            "of": len(self.subscribers),
            "seconds": now_s,
            "codes": sorted({subscriber.close_code for subscriber in lookers}),
            "told": sum("gap" in subscriber.kinds for subscriber in lookers),
            "lookers": len(lookers),
        }


async def main(spec: dict[str, Any]) -> None:
    listeners = Listeners(spec)
    loop = asyncio.get_running_loop()
    await listeners.connect(at_once=HANDSHAKES_AT_ONCE)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    steps = {"count": listeners.count, "reconnect": listeners.reconnect, "stall": listeners.stall}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        step = json.loads(line)
        print(json.dumps(await steps[step["do"]](step)), flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(main(json.loads(sys.stdin.readline())))
