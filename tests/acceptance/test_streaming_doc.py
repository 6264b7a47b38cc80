"""docs/streaming.md: its commands and programs run, its frames are those that a daemon sends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import live_frames
import pytest
from daemons import DaemonProcess, kill_started
from databases import fresh_database
from documents import BIN, blocks, text_of
from servers import PostgresServer
from stream_clients import Frame, a_socket, frame_of, say, subscribed, write, ws_url

from daemon.live import hub
from daemon.transport import stream_errors, websocket

pytestmark = pytest.mark.anyio
DOC = "docs/streaming.md"


MESSAGES = [json.loads(line) for block in blocks(DOC, "json") for line in block.splitlines()]
FRAMES = [message for message in MESSAGES if "type" in message]
ACTIONS = [message for message in MESSAGES if "action" in message]


def shape(value: Any) -> Any:
    """The members of objects, and the types of all else; of a list those of its first element."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


@pytest.fixture(scope="module")
def live(postgres: PostgresServer) -> list[Frame]:
    try:
        return asyncio.run(_collected(postgres))
    finally:
        kill_started()


async def _collected(postgres: PostgresServer) -> list[Frame]:
    return await live_frames.collect(await fresh_database(postgres))


def test_every_type_of_frame_has_an_example() -> None:
    assert {frame["type"] for frame in FRAMES} == set(live_frames.KINDS)


@pytest.mark.parametrize("example", FRAMES, ids=lambda frame: frame["type"])
def test_an_example_is_what_a_daemon_sends(live: list[Frame], example: Frame) -> None:
    sent = [shape(frame) for frame in live if frame["type"] == example["type"]]

    assert shape(example) in sent


async def test_the_actions_are_answered(daemon: DaemonProcess) -> None:
    async with a_socket(daemon) as socket:
        for action in ACTIONS:
            await socket.send(json.dumps(action))
        await say(socket, "ping")
        kinds: list[str] = []
        while kinds.count("pong") < 2:
            kinds.append((await frame_of(socket))["type"])

    assert kinds.count("subscribed") >= 4
    assert "error" not in kinds


def test_the_commands_work_in_order(daemon: DaemonProcess) -> None:
    script = "\n".join(blocks(DOC, "sh")).replace(":8218", daemon.url[daemon.url.rindex(":") :])
    environment = daemon.environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    for patience in (1, 5, 20):
        # How long curl waits: on a busy machine nothing may come in the first seconds.
        patient = re.sub(r"--max-time \d+", f"--max-time {2 * patience}", script)
        done = subprocess.run(
            ["bash", "-uc", patient], env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if "event: update" in done.stdout and done.stdout.count("event: welcome") == 2:
            break

    assert "event: update\nid: " in done.stdout, done.stdout + done.stderr
    assert '"metric_name":"pressure","value":2.4,"unit":"bar"}]}}' in done.stdout
    assert '"websocket_url":"/ws/telemetry/sub_' in done.stdout
    assert done.stdout.count("event: welcome") == 2
    assert "problem" not in done.stdout


async def test_the_python_program_follows(daemon: DaemonProcess, tmp_path: Path) -> None:
    [program] = blocks(DOC, "python")
    (tmp_path / "follow.py").write_text(program)
    async with a_socket(daemon) as socket:
        cursor = (await subscribed(socket, devices=["boiler_1"]))["cursor"]
    await write(daemon, "boiler_1", 2.5, metric="pressure")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "follow.py", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"STREAM": ws_url(daemon), "KEY": daemon.key, "CURSOR": cursor},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = [await asyncio.wait_for(process.stdout.readline(), 60)]
        await write(daemon, "boiler_1", 2.6, metric="pressure")
        lines.append(await asyncio.wait_for(process.stdout.readline(), 60))
    finally:
        process.kill()
        await process.communicate()

    assert [line.split()[1:] for line in lines] == [
        [b"boiler_1", b"pressure", b"2.5"],
        [b"boiler_1", b"pressure", b"2.6"],
    ]


def test_every_close_code_is_explained() -> None:
    of_code = {code for _, _, code in stream_errors._CODES} | {
        stream_errors.FORBIDDEN, stream_errors.UNKNOWN, stream_errors.BAD_REQUEST,
        stream_errors.DEFECT, hub.SLOW, hub.RESTART, hub.IDLE, hub.DEAD, websocket.TOO_FAST,
    }  # fmt: skip
    rows = re.findall(r"^\| ((?:\d{4}(?:, )?)+) \|", text_of(DOC), re.MULTILINE)

    assert of_code <= {int(code) for row in rows for code in row.split(", ")}
