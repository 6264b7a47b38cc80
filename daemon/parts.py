"""Wires the parts of one daemon: its loops, its memory views, and what it is configured to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from daemon.clock import Clock, SystemClock
from daemon.config import (
    Config,
    default_jwt_secret_file,
    default_secret_key_file,
    is_terminal,
)
from daemon.delivery.telling import Telling, TellingOptions, make_telling
from daemon.domain.block import Block
from daemon.domain.budgets import TierNumbers
from daemon.domain.errors import DomainError
from daemon.domain.foreign import ForeignRights
from daemon.live.connection import Budget
from daemon.live.dispatch import HubLimits
from daemon.live.head import Head
from daemon.live.hub import Hub
from daemon.live.latest import Latest
from daemon.live.registry import Registry
from daemon.live.ring import Ring, RingLimits
from daemon.live.traffic import Traffic
from daemon.live.views import Views
from daemon.service.catalog import Catalog
from daemon.service.catch_up import CatchUp
from daemon.service.evaluating import EVALUATOR, Evaluating
from daemon.service.history import History
from daemon.service.ingest import Ingest, IngestLimits
from daemon.service.intake import Intake, IntakeNumbers
from daemon.service.issuers import IssuerSettings
from daemon.service.key_files import refuse_open
from daemon.service.limits import LimitSettings
from daemon.service.logins import session_settings, signing_secrets
from daemon.service.relaying import RELAY, Relaying
from daemon.service.retention import Keep, Retention
from daemon.service.secret_box import secret_box
from daemon.service.series_budget import SeriesBudget
from daemon.service.sessions import SessionSettings
from daemon.service.stream_limits import EXEMPT_TIER, StreamLimits
from daemon.service.streams import Streams
from daemon.service.tail import Tail
from daemon.services import make_services
from daemon.store.evaluation import EvaluationStore
from daemon.store.events import EventStore
from daemon.store.journal import JournalStore
from daemon.store.pool import Database
from daemon.store.series import SeriesStore
from daemon.transport.access_log import LogWish
from daemon.transport.reception import StreamParts
from daemon.transport.services import Services
from daemon.workers.evaluator import Evaluator
from daemon.workers.housekeeping import HOUSEKEEPING, Housekeeping
from daemon.workers.lease import Lease
from daemon.workers.notifier import Notifier
from daemon.workers.relay import Publisher, Relay


@dataclass(slots=True)
class Parts:
    """The parts of one daemon, wired but not running."""

    config: Config
    clock: Clock
    writer: UUID
    database: Database
    journal: JournalStore
    traffic: Traffic
    tail: Tail
    hub: Hub
    streams: StreamParts
    ingest: Ingest
    housekeeping: Housekeeping
    evaluator: Evaluator
    relay: Relay | None
    notifier: Notifier
    services: Services


def build(config: Config, database: Database, *, port: int, process: int = 1) -> Parts:
    """Wire the parts of one process of the daemon; nothing runs yet."""
    clock, writer = SystemClock(), uuid4()
    journal, series = JournalStore(database, writer=writer), SeriesStore(database)
    tail = Tail(journal, series, Registry(), Head(), Latest())
    hub = _hub(config, tail, clock)
    telling = _telling(config, database, tail, clock, holder=writer)
    notifier = Notifier(telling.notifying)
    services = make_services(database, tail=tail, telling=telling, clock=clock, port=port)
    ingest = _ingest(config, series, tail, services.traffic)
    services.sessions.configure(session_settings_of(config))
    services.limits.configure(limit_settings(config))
    ingest.catalog.budget = SeriesBudget(services.limits, EventStore(database), clock=clock)
    set_places(config, services)
    services.proxies.trusted = config.server.trusted_proxies
    services.access.configure(log_wish(config, process=process))
    services.health.process = {"number": process, "of": config.server.processes}
    services.health.add_section("data_ingestion", ingest.numbers)
    services.health.add_section("real_time_stream", hub.numbers)
    services.health.add_section("alert_engine", services.alerts.numbers)
    services.health.add_section("alert_engine", notifier.numbers)
    services.health.add_section("time_series_db", lambda: _history_numbers(tail))
    if config.is_embedded:
        services.health.add_section("time_series_db", lambda: _disk_numbers(config.data_dir))
    relay = _relay(config, database, tail, hub, Lease(database, RELAY, holder=writer, clock=clock))
    if relay is not None:
        services.health.add_dependency("nats", lambda: relay.is_up)
    return Parts(
        config,
        clock,
        writer,
        database,
        journal,
        services.traffic,
        tail,
        hub,
        _streams(config, database, hub, services),
        ingest,
        _housekeeping(config, database, clock, writer=writer),
        _evaluator(
            database, tail, hub.ring, Lease(database, EVALUATOR, holder=writer, clock=clock), ingest
        ),
        relay,
        notifier,
        services,
    )


def set_places(config: Config, services: Services) -> None:
    """How many long reads a key may have under way."""
    section = config.limits
    for places, each in (
        (services.queries, section.queries_at_once),
        (services.reads.exports.places, section.exports_at_once),
    ):
        places.each, places.wait_s = each, section.wait_for_place.total_seconds()


def _telling(
    config: Config, database: Database, tail: Tail, clock: Clock, *, holder: UUID
) -> Telling:
    section = config.notifications
    box = secret_box(config.auth.secret_key, file=default_secret_key_file())
    options = TellingOptions(holder, box, section.allow_hosts, section.give_up_after)
    return make_telling(database, registry=tail.registry, clock=clock, options=options)


def _ingest(config: Config, series: SeriesStore, tail: Tail, traffic: Traffic) -> Ingest:
    """The flush loop; what it commits is shown by the tail at once, and counted."""

    def on_commit(seq: int, block: Block) -> None:
        tail.apply_own(seq, block)
        traffic.count_points(len(block))

    ingest = Ingest(
        tail.journal,
        _catalog(config, series, tail),
        SystemClock(),
        tail.reload_catalog,
        on_commit,
        ingest_limits(config),
    )
    tail.is_flushing = lambda: ingest.is_flushing
    return ingest


def _hub(config: Config, tail: Tail, clock: Clock) -> Hub:
    """The hub, fed by the tail."""
    section = config.streams
    ring = Ring(
        RingLimits(section.ring_points_max, section.ring_bytes_max, section.ring_entries_max)
    )
    limits = HubLimits(section.pending_flushes_max, section.slow_grace.total_seconds())
    hub = Hub(Views(tail.registry, tail.latest, clock), ring=ring, limits=limits)
    tail.publish, tail.preload = hub.publish, hub.preload
    return hub


def _streams(config: Config, database: Database, hub: Hub, services: Services) -> StreamParts:
    """What the doors to the streams call."""
    section, clock, changes = config.streams, services.clock, services.reads.changes
    budget = Budget(section.messages_per_s, section.messages_burst, section.messages_per_minute)
    streams = Streams(
        hub,
        changes=changes,
        catch_up=CatchUp(database, changes=changes, events=EventStore(database)),
        keys=services.keys,
        clock=clock,
    )
    streams.budget = budget
    services.subscriptions.life_s = section.subscription_life.total_seconds()
    limits = StreamLimits(
        clock,
        open_max=section.connections_max,
        hourly_max=section.connects_per_hour,
        is_exempt=services.limits.is_exempt,
        refused=services.limits.refused,
    )
    return StreamParts(
        streams=streams,
        subscriptions=services.subscriptions,
        tickets=services.tickets,
        keys=services.keys,
        limits=limits,
        gate=services.gate,
        clock=clock,
        origins=config.http.cors_origins,
    )


def _catalog(config: Config, series: SeriesStore, tail: Tail) -> Catalog:
    section = config.ingest
    return Catalog(
        series,
        tail.registry,
        devices_max=section.devices_max,
        metrics_per_device_max=section.metrics_per_device_max,
    )


def session_settings_of(config: Config, *, makes: bool = True) -> SessionSettings:
    """Whose tokens are accepted, and what our own are signed with. Raises DomainError. A secret
    that is missing is made, unless that is not wanted."""
    section = config.auth
    secrets = signing_secrets(
        section.jwt_secret,
        former=section.jwt_secrets_former,
        file=default_jwt_secret_file(),
        makes=makes,
    )
    issuers = [
        IssuerSettings(
            name=one.name,
            issuer=one.issuer,
            audience=one.audience,
            algorithm=one.algorithm,
            rights=ForeignRights(
                one.scopes_claim, one.scopes, one.tier, one.devices, one.groups, one.metrics
            ),
            key_file=one.key_file,
            jwks_file=one.jwks_file,
        )
        for one in section.issuers
    ]
    return session_settings(
        secrets,
        issuers=issuers,
        access_life=section.access_life,
        session_life=section.session_life,
    )


def _history_numbers(tail: Tail) -> dict[str, int]:
    """How far this daemon is, for the detailed health; positions are of the journal."""
    return {
        "series": tail.registry.series_count,
        "devices": len(tail.registry.devices),
        "journal_position": tail.position,
        "compacted_position": tail.head.trimmed_to,
        "head_points": tail.head.points,
    }


def _disk_numbers(folder: Path) -> dict[str, int]:
    """How large the disk of the embedded database is, and how much of it is free."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return {}
    return {"disk_bytes": found.total, "disk_free_bytes": found.free}


def _housekeeping(
    config: Config, database: Database, clock: Clock, *, writer: UUID
) -> Housekeeping:
    lease = Lease(database, HOUSEKEEPING, holder=writer, clock=clock)
    return Housekeeping(Retention(database, keep_of(config)), lease, clock=clock)


def keep_of(config: Config) -> Keep:
    """How long housekeeping keeps things."""
    journal, batches_keep = config.journal, config.ingest.batch_answers_keep
    return Keep(
        journal.keep,
        journal.keep_bytes,
        batches_keep,
        config.events.keep,
        notifications=config.notifications.keep,
    )


def _evaluator(
    database: Database, tail: Tail, ring: Ring, lease: Lease, ingest: Ingest
) -> Evaluator:
    clock = SystemClock()
    history = History(database, tail.registry, tail.head, clock)
    store = EvaluationStore(database)
    evaluating = Evaluating(store, history=history, tail=tail, ring=ring, clock=clock)

    def numbers() -> IntakeNumbers:
        counters = ingest.counters
        return IntakeNumbers(counters.flushes, counters.failed_flushes, ingest.is_waiting)

    evaluating.intake = Intake(numbers, now_us=clock.now_us())
    return Evaluator(evaluating, lease, tail=tail, clock=clock)


def _relay(config: Config, database: Database, tail: Tail, hub: Hub, lease: Lease) -> Relay | None:
    """The relay, if there is somewhere to publish. Raises DomainError without its extra."""
    publisher = publisher_of(config)
    if publisher is None:
        return None
    relaying = Relaying(database, journal=tail.journal, tail=tail, ring=hub.ring)
    return Relay(relaying, publisher, lease, clock=SystemClock())


def publisher_of(config: Config) -> Publisher | None:
    """The way to NATS, if one is wanted; nothing is connected. Raises DomainError without its
    extra, and BadKeyFile."""
    section = config.nats
    if not section.url:
        return None
    try:
        from daemon.delivery.nats import NatsLogin, NatsPublisher
    except ImportError as error:
        needed = "nats.url is set, which needs: pip install 'telemetryctl[nats]'"
        raise DomainError(needed, code="extra_missing") from error
    if section.credentials_file:
        refuse_open(Path(section.credentials_file))
    return NatsPublisher(NatsLogin(**section.model_dump()))


def limit_settings(config: Config) -> LimitSettings:
    """What each tier and address may do."""
    section = config.limits
    tiers = {"free": section.free, "pro": section.pro, EXEMPT_TIER: section.enterprise}
    streams = config.streams.connects_per_hour
    return LimitSettings(
        {
            tier: TierNumbers(
                **numbers.model_dump(), streams_per_hour=0 if tier == EXEMPT_TIER else streams
            )
            for tier, numbers in tiers.items()
        },
        anonymous_per_hour=section.anonymous_per_hour,
        refused_per_hour=section.refused_per_hour,
        exempt=section.exempt_networks,
    )


def log_wish(config: Config, *, process: int) -> LogWish:
    """Which requests are logged, and how."""
    section = config.log
    return LogWish(
        section.level,
        section.requests,
        section.slow.total_seconds(),
        is_text=section.wants_text(is_terminal=is_terminal()),
        process=process,
    )


def ingest_limits(config: Config) -> IngestLimits:
    section = config.ingest
    return IngestLimits(
        future_us=round(section.future_tolerance.total_seconds() * 1e6),
        queue_points_max=section.queue_points_max,
        queue_bytes_max=section.queue_bytes_max,
        queue_age_s_max=section.queue_age_max.total_seconds(),
        flush_points_max=section.flush_points_max,
    )
