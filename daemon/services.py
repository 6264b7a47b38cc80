"""Wires the services of one daemon: which stands on which store and which memory view."""

from __future__ import annotations

from daemon.clock import Clock
from daemon.delivery.telling import Telling
from daemon.live.presence import Presence
from daemon.live.traffic import Traffic
from daemon.service.administration import Administration
from daemon.service.alerting import make_alerting
from daemon.service.devices import Devices
from daemon.service.events import Events
from daemon.service.group_states import GroupStates
from daemon.service.groups import Groups
from daemon.service.health import Health
from daemon.service.idempotency import Idempotency
from daemon.service.key_access import KeyAccess
from daemon.service.keys import Keys
from daemon.service.limits import Limits
from daemon.service.logins import make_sessions
from daemon.service.metrics import Metrics
from daemon.service.rates import Rates
from daemon.service.reads import make_reads
from daemon.service.stats import Stats
from daemon.service.subscriptions import Subscriptions
from daemon.service.tail import Tail
from daemon.service.tickets import Tickets
from daemon.store.devices import DeviceStore
from daemon.store.events import EventStore
from daemon.store.groups import GroupStore
from daemon.store.health import HealthStore
from daemon.store.idempotency import IdempotencyStore
from daemon.store.keys import KeyStore
from daemon.store.limits import LimitStore
from daemon.store.metrics import MetricStore
from daemon.store.pool import Database
from daemon.store.stats import StatsStore
from daemon.store.subscriptions import SubscriptionStore
from daemon.store.tickets import TicketStore
from daemon.transport.access_log import AccessLog
from daemon.transport.internal_calls import Ignored
from daemon.transport.limits import Gate
from daemon.transport.services import Services


def make_services(
    database: Database, *, tail: Tail, telling: Telling, clock: Clock, port: int
) -> Services:
    """What routes call, over the views of this tail."""
    traffic = Traffic(clock)
    reads, membership = make_reads(database, tail=tail, clock=clock), tail.registry.membership
    group_store = GroupStore(database)
    groups = Groups(group_store, membership=membership, clock=clock)
    keys = Keys(KeyStore(database), clock=clock, members=membership)
    key_access = KeyAccess(KeyStore(database), clock=clock, members=membership)
    limits = Limits(LimitStore(database), clock=clock)
    sessions = make_sessions(database, keys=keys, clock=clock)
    alerting = make_alerting(database, tail=tail, ledger=telling.ledger, clock=clock)
    return Services(
        clock=clock,
        traffic=traffic,
        access=AccessLog(traffic, clock),
        ignored=Ignored(clock),
        keys=keys,
        key_access=key_access,
        limits=limits,
        gate=Gate(keys, limits, clock=clock),
        metrics=Metrics(MetricStore(database), clock=clock, registry_reload=tail.reload_catalog),
        devices=_devices(database, tail, groups, clock),
        groups=groups,
        group_states=GroupStates(group_store, groups=groups, latest=reads.latest),
        rules=alerting.rules,
        alerts=alerting.alerts,
        channels=telling.channels,
        silences=telling.silences,
        ledger=telling.ledger,
        watches=alerting.watches,
        explaining=alerting.explaining,
        backtests=alerting.backtests,
        jobs=alerting.jobs,
        events=Events(EventStore(database), clock=clock, tail=tail),
        stats=_stats(database, tail, traffic, clock),
        rates=Rates(
            tail, traffic=traffic, keys=key_access, accounts=sessions.accounts, clock=clock
        ),
        health=Health(HealthStore(database), clock=clock, traffic=traffic),
        reads=reads,
        subscriptions=Subscriptions(SubscriptionStore(database), clock=clock),
        idempotency=Idempotency(IdempotencyStore(database)),
        administration=Administration(database, clock=clock),
        tickets=Tickets(TicketStore(database), keys=keys, clock=clock, sessions=sessions),
        sessions=sessions,
        port=port,
    )


def _devices(database: Database, tail: Tail, groups: Groups, clock: Clock) -> Devices:
    """Deleting one changes the catalogue and the groups."""

    async def reload_all() -> None:
        await tail.reload_catalog()
        await groups.refresh()

    return Devices(
        DeviceStore(database),
        clock=clock,
        presence=Presence(tail.registry, tail.latest),
        membership=tail.registry.membership,
        registry_reload=reload_all,
    )


def _stats(database: Database, tail: Tail, traffic: Traffic, clock: Clock) -> Stats:
    return Stats(
        StatsStore(database),
        clock=clock,
        registry=tail.registry,
        head=tail.head,
        presence=Presence(tail.registry, tail.latest),
        traffic=traffic,
    )
