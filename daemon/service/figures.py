"""Gathers the figures of this process for monitoring; how they are written is transport's.

Everything is read from what the parts count anyway, so a scrape asks neither them nor the database
to do anything.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.clock import Clock
from daemon.domain.budgets import NOBODY, RateClass
from daemon.domain.channels import ChannelKind
from daemon.domain.errors import TryLater
from daemon.domain.figures import Figure, FigureKind, Labels, counter, gauge, histogram
from daemon.live.traffic import Traffic
from daemon.service.ingest import Ingest
from daemon.service.retention import hour_of
from daemon.store.figures import FigureStore, StoreFigures

Source = Callable[[], Iterable[Figure]]
Numbers = Callable[[], Mapping[str, Any]]

CONNECTION_ENDS = ("connect", "header", "head", "body", "write", "idle", "full", "address")
LOOK_EVERY_S = 30.0
OF_ADDRESSES = (RateClass.ANONYMOUS, RateClass.REFUSED)
TIERS = ("free", "pro", "enterprise")


@dataclass(slots=True)
class Figures:
    """All figures of a process. `sources` are asked at each scrape, on the event loop.

    `process` says which of the daemon's processes this is: each counts for itself.
    """

    process: str = "1"
    allow: tuple[Any, ...] = ()
    sources: list[Source] = field(default_factory=list)

    def add(self, source: Source) -> None:
        """Give figures of one more part; names are not to repeat."""
        self.sources.append(source)

    def read(self) -> list[Figure]:
        return [figure for source in self.sources for figure in source()]


def of_build(version: str, schema: int, traffic: Traffic) -> Source:
    """What runs, and since when."""
    labels = {"version": version, "python": platform.python_version(), "schema": str(schema)}

    def read() -> Iterable[Figure]:
        yield gauge("telemetry_build_info", "What runs; always 1.", 1, **labels)
        yield gauge("telemetry_uptime_seconds", "Since this process started.", traffic.uptime_s)

    return read


def of_http(traffic: Traffic) -> Source:
    """Requests by route; those of health and of the figures themselves are not counted."""

    def read() -> Iterable[Figure]:
        routes = traffic.routes
        yield Figure(
            "telemetry_http_requests_total",
            FigureKind.COUNTER,
            "Requests that were answered.",
            [
                ((("route", route), ("method", method), ("code", str(status))), float(count))
                for (route, method, status), count in routes.requests.items()
            ],
        )
        yield Figure(
            "telemetry_http_request_duration_seconds",
            FigureKind.HISTOGRAM,
            "From the request to its answer.",
            histograms=[
                ((("route", route), ("method", method)), took)
                for (route, method), took in routes.durations.items()
            ],
        )
        yield gauge(
            "telemetry_http_requests_in_flight",
            "Requests under way; points that wait are in the queue of ingest.",
            traffic.in_flight,
        )

    return read


def of_ingest(ingest: Ingest) -> Source:
    """Points that came in, and how they were committed."""

    def read() -> Iterable[Figure]:
        counters, numbers = ingest.counters, ingest.numbers()
        yield Figure(
            "telemetry_ingest_points_total",
            FigureKind.COUNTER,
            "Points that were sent.",
            [
                ((("protocol", "native"), ("outcome", "stored")), float(counters.points)),
                ((("protocol", "native"), ("outcome", "refused")), float(counters.refused_points)),
            ],
        )
        yield Figure(
            "telemetry_ingest_rejected_points_total",
            FigureKind.COUNTER,
            "Points that were refused, by the code that the sender got.",
            by_label("reason", counters.refused_by_code),
        )
        yield counter(
            "telemetry_ingest_failed_requests_total",
            "Requests to ingest that were not answered with 200.",
            counters.failed_requests,
        )
        yield histogram(
            "telemetry_ingest_batch_points", "Points of one commit.", counters.commit_points
        )
        yield histogram(
            "telemetry_ingest_commit_delay_seconds",
            "From the begin of a commit to its durable end.",
            counters.commit_s,
        )
        yield histogram(
            "telemetry_point_lateness_seconds",
            "Age of the newest point of each commit.",
            counters.lateness_s,
        )
        yield gauge("telemetry_ingest_queue_points", "Points that wait.", numbers["queue_points"])
        yield gauge(
            "telemetry_ingest_queue_capacity_points",
            "Points that may wait; over it requests are answered 503.",
            numbers["queue_points_max"],
        )

    return read


def of_streams(numbers: Numbers) -> Source:
    """Who listens, and what was sent."""

    def read() -> Iterable[Figure]:
        now = numbers()
        sse = now["connections_sse"]
        yield Figure(
            "telemetry_stream_connections",
            FigureKind.GAUGE,
            "Open streams.",
            by_label("transport", {"websocket": now["connections"] - sse, "sse": sse}),
        )
        for name, said in (
            ("lines", "Subscriptions of open streams."),
            ("lagging_lines", "Subscriptions that wait for their reader."),
        ):
            yield gauge(f"telemetry_stream_{name}", said, now[name])
        yield gauge("telemetry_stream_ring_bytes", "Recent points in memory.", now["ring_bytes"])
        sent_sse = now["messages_sse"]
        yield Figure(
            "telemetry_stream_messages_total",
            FigureKind.COUNTER,
            "Messages to streams.",
            by_label("transport", {"websocket": now["messages"] - sent_sse, "sse": sent_sse}),
        )
        yield Figure(
            "telemetry_stream_dropped_messages_total",
            FigureKind.COUNTER,
            "Messages that a slow reader did not get: what waits for it is one message.",
            by_label("reason", {"slow_consumer": now["gaps"]}),
        )
        yield Figure(
            "telemetry_stream_dropped_points_total",
            FigureKind.COUNTER,
            "Points that a slow reader was told to fetch instead.",
            by_label("reason", {"slow_consumer": now["dropped_points"]}),
        )
        yield counter("telemetry_stream_gaps_total", "Gaps that readers were told of.", now["gaps"])
        yield counter(
            "telemetry_stream_closed_slow_total",
            "Streams that were closed because nobody read them.",
            now["closed_slow"],
        )

    return read


def of_alerts(numbers: Numbers, by_kind: Callable[[], Mapping[tuple[str, str], int]]) -> Source:
    """Rules, alerts and what was told of them, as the detailed health counts them."""

    def read() -> Iterable[Figure]:
        now = numbers()
        for name in ("rules", "rules_enabled", "rules_shadow"):
            yield gauge(f"telemetry_alert_{name}", f"Alerting: {name}.", now.get(name, 0))
        yield gauge(
            "telemetry_alerts_stale",
            "Open alerts whose devices have fallen silent.",
            now.get("alerts_stale", 0),
        )
        yield Figure(
            "telemetry_notifications_total",
            FigureKind.COUNTER,
            "Notifications of this process; `failed` are tries, `given_up` messages.",
            _by_channel(by_kind()),
        )
        yield gauge(
            "telemetry_notification_queue_length",
            "Notifications that wait to be sent.",
            now.get("notifications_pending", 0),
        )

    return read


def of_connections(numbers: Numbers) -> Source:
    """Connections of clients, and those that were ended because they asked too much."""

    def read() -> Iterable[Figure]:
        now = numbers()
        yield gauge("telemetry_http_connections", "Open, streams among them.", now["open"])
        yield Figure(
            "telemetry_http_connections_ended_total",
            FigureKind.COUNTER,
            "Connections that were too slow (connect, header, body, write, idle), or too many "
            "(full, address).",
            by_label("reason", {one: now.get(one, 0) for one in CONNECTION_ENDS}),
        )

    return read


def of_limits(refused: Mapping[tuple[str, str], int]) -> Source:
    """Requests over a limit, by the class of the budget and the tier of who asked."""
    # Also those that never were: a rate needs a zero.
    never = {
        (rate_class.value, tier): 0
        for rate_class in RateClass
        for tier in ((NOBODY,) if rate_class in OF_ADDRESSES else TIERS)
    }

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_rate_limited_total",
            FigureKind.COUNTER,
            "Requests over a limit: answered 429, or (class series) with new series refused.",
            [
                ((("class", rate_class), ("tier", tier)), float(count))
                for (rate_class, tier), count in (never | dict(refused)).items()
            ],
        )

    return read


def of_leaders(leaders: Mapping[str, Callable[[], bool]]) -> Source:
    """Which work of the fleet this process does."""

    def read() -> Iterable[Figure]:
        values = {name: float(leads()) for name, leads in leaders.items()}
        yield Figure(
            "telemetry_leader",
            FigureKind.GAUGE,
            "Whether this process does the work that one process does for all.",
            by_label("work", values),
        )

    return read


class StoreWatch:
    """What the database knows, looked up now and then; an outage leaves the last known."""

    def __init__(self, store: FigureStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: StoreFigures | None = None

    async def look(self) -> None:
        try:
            self._known = await self._store.read()
        except TryLater:
            return

    def read(self) -> Iterable[Figure]:
        yield Figure(
            "telemetry_db_pool_connections",
            FigureKind.GAUGE,
            "Connections to the database, by class of work; `max` is how many there may be.",
            [
                ((("pool", pool), ("state", state)), float(count))
                for (pool, state), count in self._store.pool_numbers().items()
            ],
        )
        known = self._known
        if known is None:
            return
        now_us = self._clock.now_us()
        ahead = sum(hour_of(one) > now_us for one in known.partitions)
        states = {"ahead": ahead, "behind": len(known.partitions) - ahead}
        yield Figure(
            "telemetry_partitions",
            FigureKind.GAUGE,
            "Hours of the journal that have a partition, still to come and begun.",
            by_label("state", states),
        )
        total = sum(one.bytes for one in known.partitions)
        yield gauge("telemetry_journal_bytes", "The journal on disk.", total)
        oldest_us = min(map(hour_of, known.partitions), default=now_us)
        yield gauge(
            "telemetry_journal_oldest_seconds",
            "How far the journal reaches back.",
            max(0, now_us - oldest_us) / 1e6,
        )
        events, oldest_s = known.outbox
        yield gauge(
            "telemetry_outbox_events", "Events to be published; 0 without an event bus.", events
        )
        yield gauge("telemetry_outbox_oldest_seconds", "Age of the oldest of them.", oldest_s)


def of_removed(removed: Mapping[str, int]) -> Source:
    """What housekeeping of this process has made and removed."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_retention_removed_total",
            FigureKind.COUNTER,
            "What housekeeping removed, rows or partitions; `partitions_made` it made.",
            by_label("kind", {kind: count for kind, count in removed.items() if kind != "points"}),
        )
        yield counter(
            "telemetry_retention_dropped_points_total",
            "Points that were older than the retention of their metric.",
            removed["points"],
        )

    return read


def of_database(details: Callable[[], Mapping[str, Mapping[str, Any]]]) -> Source:
    """The background probe of the database, and how far the journal is."""

    def read() -> Iterable[Figure]:
        now = details()["time_series_db"]
        is_up = float(now["status"] == "up")
        yield gauge("telemetry_db_up", "Whether the last probe of the database succeeded.", is_up)
        if "database_bytes" in now:
            yield gauge(
                "telemetry_db_probe_seconds",
                "How long the last probe of the database took.",
                now["probe_latency_ms"] / 1000,
            )
            yield gauge("telemetry_db_size_bytes", "Size of the database.", now["database_bytes"])
        yield gauge("telemetry_devices", "Known devices.", now["devices"])
        yield gauge("telemetry_series", "Known series.", now["series"])
        yield gauge(
            "telemetry_head_points", "Points that are not in chunks yet.", now["head_points"]
        )
        yield counter(
            "telemetry_journal_position_total",
            "Position of this process in the journal.",
            now["journal_position"],
        )
        behind = now["journal_position"] - now["compacted_position"]
        yield gauge(
            "telemetry_compaction_behind_entries",
            "Entries of the journal that are not in chunks yet.",
            max(0, behind),
        )

    return read


def of_ignored(count: Callable[[], int]) -> Source:
    """Headers of internal calls that came to the public port, where they mean nothing."""

    def read() -> Iterable[Figure]:
        yield counter(
            "telemetry_auth_internal_header_ignored_total",
            "Requests of the public port that had X-Internal headers, which were taken out.",
            count(),
        )

    return read


def of_internal_calls(outcomes: Callable[[], Mapping[str, int]]) -> Source:
    """Calls on the door for services of this installation."""

    def read() -> Iterable[Figure]:
        yield Figure(
            "telemetry_auth_internal_calls_total",
            FigureKind.COUNTER,
            "Internal calls, by whether the caller was let in.",
            by_label("outcome", outcomes()),
        )

    return read


def _by_channel(counted: Mapping[tuple[str, str], int]) -> list[tuple[Labels, float]]:
    """Each kind of channel with each outcome, also those that never were: a rate needs a zero."""
    return [
        ((("channel_type", kind), ("outcome", outcome)), float(counted.get((kind, outcome), 0)))
        for kind in ChannelKind
        for outcome in ("sent", "failed", "given_up")
    ]


def by_label(label: str, values: Mapping[str, float]) -> list[tuple[Labels, float]]:
    """One figure for each value of a label."""
    return [(((label, name),), float(value)) for name, value in values.items()]
