"""Puts together what tells people: channels, silences, the ledger and the notifier's memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from daemon.clock import Clock
from daemon.delivery.outbound import Outbound
from daemon.delivery.senders import Senders
from daemon.live.registry import Registry
from daemon.service.channels import Channels
from daemon.service.ledger import Ledger
from daemon.service.notifying import Notifying, Stores
from daemon.service.secret_box import SecretBox
from daemon.service.silences import Silences
from daemon.store.channels import ChannelStore
from daemon.store.events import EventStore
from daemon.store.ledger import LedgerStore
from daemon.store.notifications import NotificationStore
from daemon.store.pool import Database
from daemon.store.silences import SilenceStore


@dataclass(frozen=True, slots=True)
class TellingOptions:
    """Who this process is, and what the configuration allows."""

    holder: UUID
    box: SecretBox = field(repr=False)
    allow_hosts: Collection[str] = ()
    give_up: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Telling:
    """One of each."""

    channels: Channels
    silences: Silences
    ledger: Ledger
    notifying: Notifying


def make_telling(
    database: Database, *, registry: Registry, clock: Clock, options: TellingOptions
) -> Telling:
    """Wire them; nothing runs yet."""
    store = NotificationStore(database, holder=options.holder, mark=options.box.mark)
    channel_store, silence_store = ChannelStore(database), SilenceStore(database)
    outbound = Outbound(options.allow_hosts)
    senders = Senders(outbound, events=EventStore(database), clock=clock)
    notifying = Notifying(
        Stores(store, channel_store, silence_store),
        registry=registry,
        box=options.box,
        deliver=senders.deliver,
        clock=clock,
    )
    notifying.give_up = options.give_up
    channels = Channels(
        channel_store, box=options.box, allow_hosts=options.allow_hosts, clock=clock
    )
    ledger = Ledger(LedgerStore(database), channels=channels, notifying=notifying, clock=clock)
    return Telling(channels, Silences(silence_store, clock=clock), ledger, notifying)
