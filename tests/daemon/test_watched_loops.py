"""Every loop of a daemon is watched, and each is named when it does not go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon import app
from daemon.clock import ManualClock
from daemon.config import Config
from daemon.observing import observe, watch_conditions
from daemon.parts import build
from daemon.serving import _end, _loops
from daemon.store.pool import Database
from daemon.workers import child
from daemon.workers.pulse import Pulse

pytestmark = pytest.mark.anyio

NAMES = {
    "alert_figures", "daemon.compactor", "evaluator.run", "evaluator.ticks", "expiring_keys",
    "figures", "follower.run", "groups", "health", "housekeeping.run", "hub.run", "ingest",
    "job_runner.run", "key_uses", "lease.evaluator", "lease.housekeeping", "lease.relay",
    "limits", "listener.run", "listener.run'", "listener.run''", "notification_figures",
    "notifier.gather", "notifier.run", "own_health", "register", "relay.run", "streams.run",
    "subscription_keeper.run", "watch",
}  # fmt: skip


async def test_nothing_that_a_daemon_runs_is_unwatched(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    config = Config(nats={"url": "nats://127.0.0.1:9"}, metrics={"own_every": "60s"})  # type: ignore[arg-type]
    parts = build(config, database, port=1)
    monkeypatch.setattr(child, "_run_once", _run_nobody)
    pulse = Pulse(ManualClock(0))
    watch_conditions(parts, pulse)
    loops = [*_loops(parts), *observe(parts), *app._loops(parts, None, child.Standing(b""))]
    tasks = [asyncio.get_running_loop().create_task(pulse.watch(one)) for one in loops]
    # Loops begin further ones, as soon as they run.
    async with asyncio.timeout(60):
        while not set(pulse.names) >= NAMES:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    names = set(pulse.names)
    await _end(tasks)
    parts.services.health.close()

    assert names == NAMES


async def _run_nobody(*_: object, **__: object) -> int:
    await asyncio.Event().wait()
    return 0


@pytest.mark.parametrize("name", sorted(NAMES - {"ingest", "evaluator.ticks"}))
async def test_each_is_named_when_it_stands_still(name: str) -> None:
    clock = ManualClock(0)
    pulse = Pulse(clock)
    frozen = asyncio.get_running_loop().create_task(pulse.watch(_stands_still(), name=name))
    await asyncio.sleep(0)

    before = pulse.stuck()
    clock.advance_s(301)

    assert before == []
    assert pulse.stuck() == [name]
    frozen.cancel()


async def _stands_still() -> None:
    await asyncio.Event().wait()
