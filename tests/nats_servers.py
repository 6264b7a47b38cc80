"""Real nats-server processes for tests, and what their streams hold."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from receivers import free_port

STREAM = "TELEMETRY"


@dataclass
class NatsServer:
    """One server on one port and folder, started and stopped as often as wanted."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        program = str(Path(sys.executable).parent / "nats-server")
        self.process = subprocess.Popen(
            [program, "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port),
             *self.options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("nats-server does not listen")

    def kill(self) -> None:
        """kill -9, as a crash."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextmanager
def nats_server(folder: Path, *options: str, is_running: bool = True) -> Iterator[NatsServer]:
    server = NatsServer(folder, free_port(), options)
    try:
        if is_running:
            server.start()
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def connected(server: NatsServer, **options: Any) -> AsyncIterator[Client]:
    client = await nats.connect(server.url, allow_reconnect=False, connect_timeout=30, **options)
    try:
        yield client
    finally:
        await client.close()


@dataclass(frozen=True)
class Stored:
    """One message of the stream."""

    subject: str
    headers: dict[str, str]
    body: Any

    @property
    def id(self) -> str:
        return self.headers["Nats-Msg-Id"]


async def stream_of(server: NatsServer, *, until: str = "", timeout_s: float = 100) -> list[Stored]:
    """All that the stream holds, once it holds a message with the id `until`."""
    found: list[Stored] = []
    async with connected(server) as client, asyncio.timeout(timeout_s):
        stream = client.jetstream(timeout=30)
        at = 1
        while until and until not in {message.id for message in found[-50:]}:
            try:
                info = await stream.stream_info(STREAM)
            except nats.js.errors.NotFoundError:
                await asyncio.sleep(0.05)
                continue
            while at <= info.state.last_seq:
                message = await stream.get_msg(STREAM, seq=at)
                assert message.subject is not None
                body = json.loads(message.data or b"null")
                found.append(Stored(message.subject, message.headers or {}, body))
                at += 1
            await asyncio.sleep(0.02)
    return found


@dataclass
class Listener:
    """Every message that passes, also one that the stream knows already."""

    ids: list[str] = field(default_factory=list)

    async def hear(self, message: Msg) -> None:
        self.ids.append((message.headers or {})["Nats-Msg-Id"])
