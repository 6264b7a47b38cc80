"""Wires what watches one process: the figures for monitoring, and the loops that look them up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from daemon.delivery.heartbeat import Heartbeat
from daemon.lines import STDERR
from daemon.parts import Parts
from daemon.service import figures, work_figures
from daemon.service.evaluating import EVALUATOR
from daemon.service.figures import LOOK_EVERY_S, StoreWatch
from daemon.service.judging_watch import WATCH_EVERY_S, JudgingWatch
from daemon.service.own_health import OwnHealth, RecentRequests
from daemon.store.figures import FigureStore
from daemon.store.migrations import known_migrations
from daemon.workers.pulse import Pulse
from daemon.workers.repeat import repeat
from daemon.workers.systemd import ServiceManager
from telemetryctl import __version__

TELL_EVERY_S = 5.0
INGEST_WAIT_MAX_S = 60.0
"""Longer than any commit may take."""


def observe(parts: Parts) -> list[Coroutine[Any, Any, None]]:
    """Let the figures be read, and return the loops that they need."""
    services, traffic = parts.services, parts.traffic
    found = services.figures
    found.process = str(services.health.process["number"])
    found.allow = parts.config.metrics.allow
    store = FigureStore(parts.database)
    watch = JudgingWatch(
        store,
        parts.clock,
        name=EVALUATOR,
        head=lambda: parts.tail.position,
        stored=lambda: parts.tail.stored_position,
        judge=parts.evaluator,
    )
    stored = StoreWatch(store, parts.clock)
    found.sources[:] = [
        figures.of_build(__version__, known_migrations()[-1].number, traffic),
        figures.of_http(traffic),
        figures.of_ingest(parts.ingest),
        figures.of_streams(parts.hub.numbers),
        figures.of_alerts(
            lambda: services.alerts.numbers() | parts.notifier.numbers(), parts.notifier.by_kind
        ),
        figures.of_database(services.health.details),
        figures.of_leaders(_leaders(parts)),
        figures.of_limits(services.limits.refused),
        figures.of_removed(parts.housekeeping.removed),
        figures.of_ignored(lambda: services.ignored.count),
        work_figures.of_queries(lambda: parts.database.queries.durations),
        work_figures.of_open_alerts(lambda: services.alerts.by_level),
        work_figures.of_judging(parts.evaluator.outcomes, parts.evaluator.delay_s),
        work_figures.of_delivery(parts.hub.delay_s),
        work_figures.of_credentials(services.keys.lookups),
        work_figures.of_lines(lambda: STDERR.dropped),
        watch.read,
        stored.read,
        *found.sources,
    ]
    return [
        *_own_health(parts, watch),
        repeat(watch.look, every_s=WATCH_EVERY_S, name="watch"),
        repeat(stored.look, every_s=LOOK_EVERY_S, name="figures"),
    ]


def _leaders(parts: Parts) -> dict[str, Callable[[], bool]]:
    """Whether this process is the one of the fleet that does it, by what is done."""
    leaders = {
        "evaluator": lambda: parts.evaluator.is_leader,
        "housekeeping": lambda: parts.housekeeping.is_leader,
    }
    relay = parts.relay
    if relay is not None:
        leaders["relay"] = lambda: relay.is_leader
    return leaders


def _own_health(parts: Parts, watch: JudgingWatch) -> list[Coroutine[Any, Any, None]]:
    """What writes our health as points, unless that is not wanted."""
    every_s = parts.config.metrics.own_every.total_seconds()
    if not every_s:
        return []

    requests = RecentRequests(parts.traffic, parts.clock)

    def read() -> dict[str, float]:
        requests.look()
        traffic, ingest = parts.traffic, parts.ingest.numbers()
        return {
            "points_per_second": traffic.points_per_second,
            "error_rate": traffic.error_rate,
            "latency_ms": traffic.latency_ms_avg,
            "latency_p95_ms": requests.p95_ms(),
            "limited_per_minute": requests.limited_per_minute(),
            "notifications_pending": float(parts.notifier.numbers()["notifications_pending"]),
            "queue_points": ingest["queue_points"],
            "scheduler_lag_s": watch.lag_s,
            "head_points": float(parts.tail.head.points),
            "streams": float(parts.hub.numbers()["connections"]),
            "uptime_s": traffic.uptime_s,
        }

    own = OwnHealth(
        parts.ingest, parts.clock, read=read, is_writer=lambda: parts.evaluator.is_leader
    )
    # What happened since the last time is not known at the start.
    return [repeat(own.write, every_s=every_s, name="own_health", waits_first=True)]


def watch_conditions(parts: Parts, pulse: Pulse) -> None:
    """What shows by other means than its turns whether it goes on."""
    pulse.conditions["ingest"] = lambda: parts.ingest.waited_s < INGEST_WAIT_MAX_S
    pulse.conditions["evaluator.ticks"] = lambda: parts.evaluator.is_ticking


async def tell_manager(parts: Parts, manager: ServiceManager, pulse: Pulse) -> None:
    """Until cancelled: tell the service manager how it goes, and that every loop goes on.

    While one does not it hears nothing, and restarts the daemon when its patience ends.
    """
    watch_conditions(parts, pulse)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(parts, manager, pulse))
        tasks.create_task(_beat(parts, pulse))


async def _beat(parts: Parts, pulse: Pulse) -> None:
    """The same for a monitor outside, by the first process."""
    section, is_first = parts.config.metrics, parts.services.health.process["number"] == 1
    if not section.heartbeat_url or not is_first:
        return
    heartbeat = Heartbeat(section.heartbeat_url)
    while True:
        if not pulse.stuck():
            await heartbeat.beat()
        await asyncio.sleep(section.heartbeat_every.total_seconds())


async def _tell(parts: Parts, manager: ServiceManager, pulse: Pulse) -> None:
    every_s = min(TELL_EVERY_S, (manager.watchdog_s or TELL_EVERY_S) / 3)
    while True:
        if not pulse.stuck():
            manager.alive()
        manager.status(_status(parts))
        await asyncio.sleep(every_s)


def _status(parts: Parts) -> str:
    """As in: 1,842 points/s, 214 streams, judges the rules."""
    streams = parts.hub.numbers()["connections"]
    said = f"{parts.traffic.points_per_second:,.0f} points/s, {streams:,} streams"
    return f"{said}, judges the rules" if parts.evaluator.is_leader else said
