"""A notifier on a real database with receivers that a test makes up, and a clock that it moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson

from daemon.clock import ManualClock, SystemClock, as_datetime
from daemon.domain.channels import Channel
from daemon.domain.deliveries import Address, Outcome, Outgoing
from daemon.live.registry import Registry
from daemon.service.notifying import Notifying, Stores
from daemon.service.secret_box import SecretBox
from daemon.store import messages
from daemon.store.channels import ChannelStore
from daemon.store.ledger import Entry, LedgerFilter, LedgerStore
from daemon.store.notifications import NotificationStore, Taking
from daemon.store.pool import Database
from daemon.store.silences import SilenceStore

BOX = SecretBox(bytes(32))
HOUR = timedelta(hours=1)
OK = Outcome(is_sent=True, status_code=200)
BROKEN = Outcome(is_sent=False, status_code=503, detail="answered 503")
GONE = Outcome(is_sent=False, detail="no such address", is_final=True)
LOST = Outcome(is_sent=False, detail="no answer", may_be_told=True)


@dataclass(frozen=True)
class Told:
    """What a receiver got."""

    channel: str
    id: str
    type: str
    alerts: list[tuple[str, str]]


@dataclass
class Bench:
    """`now` is what the notifier takes for the present; it lies ahead of the real one, so that
    everything written meanwhile is due. `answers` are by channel; None: it arrives."""

    database: Database
    notifying: Notifying
    store: NotificationStore
    channels: ChannelStore
    silences: SilenceStore
    ledger: LedgerStore
    told: list[Told] = field(default_factory=list)
    answers: dict[str, Outcome] = field(default_factory=dict)
    reaches: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        assert self.store.now is not None
        return self.store.now

    def advance(self, **span: float) -> None:
        self.store.now = self.now + timedelta(**span)

    async def deliver(self, outgoing: Outgoing, address: Address) -> Outcome:
        outcome = self.answers.get(address.channel, OK)
        if outcome.is_sent or address.channel in self.reaches:
            self._keep(address.channel, outgoing)
        return outcome

    def _keep(self, channel: str, outgoing: Outgoing) -> None:
        alerts = [(str(a["alert_id"]), str(a["status"])) for a in outgoing.alerts]
        self.told.append(Told(channel, outgoing.id, outgoing.type, alerts))

    # -- what happens ------------------------------------------------------------------------------

    async def channel(self, name: str, *, fallback: str | None = None) -> None:
        now = as_datetime(SystemClock().now_us())
        made = Channel(
            channel_id=f"chn_{name}",
            name=name,
            kind="stream",
            settings={},
            secrets=None,
            fallback=fallback,
            created_at=now,
            updated_at=now,
            created_by="test",
        )
        assert await self.channels.insert(made)

    async def rule(self, rule_id: str, *channels: str, quiet: dict[str, Any] | None = None) -> None:
        await self.run(
            "insert into telemetry.alert_rule (rule_id, name, metric_name, kind, level,"
            " notification_channels, quiet_hours, condition_key, created_by, updated_by)"
            " values ($1, $1, 'heat', 'threshold', 'error', $2, $3, 'key', 'test', 'test')",
            rule_id, list(channels), quiet and orjson.dumps(quiet).decode(),
        )  # fmt: skip

    async def quiet(self, rule_id: str, said: dict[str, Any] | None) -> None:
        await self.run(
            "update telemetry.alert_rule set quiet_hours = $2 where rule_id = $1",
            rule_id, said and orjson.dumps(said).decode(),
        )  # fmt: skip

    async def fire(self, alert_id: str, rule_id: str, *, level: str = "error") -> None:
        """As the evaluator does it: the alert and its messages in one transaction."""
        async with self.database.transaction("control") as connection:
            await connection.execute(
                "insert into telemetry.alert (alert_id, rule_id, rule_name, rule_revision,"
                " device_id, metric_name, level, message, triggered_at, event_time, last_breach)"
                " values ($1, $2, $2, 1, $1, 'heat', $3, 'too hot', now(), now(), now())",
                alert_id, rule_id, level,
            )  # fmt: skip
            await messages.tell_fired(connection, [alert_id])

    async def end(self, alert_id: str) -> None:
        async with self.database.transaction("control") as connection:
            await connection.execute(
                "update telemetry.alert set status = 'resolved', resolved_by = 'test',"
                " resolved_at = clock_timestamp(), resolved_reason = 'cleared' where alert_id = $1",
                alert_id,
            )
            await messages.tell_closed(connection, [alert_id])

    async def acknowledge(self, alert_id: str) -> None:
        await self.run(
            "update telemetry.alert set status = 'acknowledged', acknowledged_by = 'ana',"
            " acknowledged_at = now() where alert_id = $1 and status = 'active'",
            alert_id,
        )

    async def run(self, statement: str, *arguments: Any) -> None:
        async with self.database.connection("control") as connection:
            await connection.execute(statement, *arguments)

    # -- turns -------------------------------------------------------------------------------------

    async def turn(self, *, limit: int = 16) -> int:
        """Send what is due; returns how many messages that were."""
        jobs, _ = await self.notifying.take(Taking(limit, limit, []))
        for job in jobs:
            await self.notifying.send(job)
        return len(jobs)

    async def crash_while_sending(self) -> int:
        """Send what is due, which arrives, and die before it is written down."""
        jobs, _ = await self.notifying.take(Taking(16, 16, []))
        for job in jobs:
            self._keep(job.channel.name, job.outgoing)
        return len(jobs)

    async def settle(self) -> None:
        """Until nothing is due any more."""
        idle = 0
        for _ in range(200):
            self.advance(seconds=40)
            gathered = await self.notifying.gather()
            before = await self.store.waiting()
            sent = await self.turn()
            is_idle = not gathered and not sent and before == await self.store.waiting()
            # A message may be dropped while the one that stands in for it comes.
            idle = idle + 1 if is_idle else 0
            if idle == 3:
                return
        raise AssertionError("it never comes to rest")

    async def entries(self, **filters: str) -> list[Entry]:
        """The ledger, oldest first."""
        found, _ = await self.ledger.page(LedgerFilter(**filters), limit=1_000, offset=0)
        return found[::-1]

    async def states(self, **filters: str) -> list[tuple[str, str, str | None]]:
        """(kind, status, verdict) of the ledger, oldest first."""
        return [(e.kind, e.status, e.verdict) for e in await self.entries(**filters)]


@asynccontextmanager
async def a_bench(database: Database, *, holder: UUID | None = None) -> AsyncIterator[Bench]:
    """A notifier whose receivers take everything."""
    clock = ManualClock(SystemClock().now_us())
    store = NotificationStore(
        database, holder=holder or uuid4(), mark=BOX.mark, now=datetime.now(UTC) + HOUR
    )
    stores = Stores(store, ChannelStore(database), SilenceStore(database))
    bench: Bench

    async def deliver(outgoing: Outgoing, address: Address) -> Outcome:
        return await bench.deliver(outgoing, address)

    notifying = Notifying(stores, registry=Registry(), box=BOX, deliver=deliver, clock=clock)
    bench = Bench(
        database, notifying, store, stores.channels, stores.silences, LedgerStore(database)
    )
    yield bench
