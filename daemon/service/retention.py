"""What is kept how long: hours of the journal, history by metric, events, alerts, answers to
batches, dead daemons.

Nothing younger than its retention is ever removed, and no block that a follower still needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from daemon.live.registry import RETENTION_DAYS_DEFAULT
from daemon.store import housekeeping as store
from daemon.store.housekeeping import Partition
from daemon.store.leases import Grant
from daemon.store.pool import Database

HOUR_US = 3_600_000_000
# Partitions reach from the hour before now to 48 full hours ahead.
PARTITIONS_AHEAD = 50
# Rows that one transaction removes at most.
EXPIRE_ROWS_MAX = 2_000
# Transactions of one kind in one run; the next run goes on.
EXPIRE_TURNS_MAX = 500
DAEMONS_KEEP = timedelta(hours=1)
# Ended subscriptions and tickets: a process that could not reach the database for so long may still
# hold a socket of one.
STREAMS_KEEP = timedelta(minutes=5)
# How long a repeat with an Idempotency-Key is known.
REQUESTS_KEEP = timedelta(hours=24)
# A budget that nobody used in an hour is whole.
BUDGETS_KEEP = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Keep:
    """How long things are kept; `journal_bytes` is a bound on all partitions together, alerts count
    from their resolution."""

    journal: timedelta = timedelta(hours=48)
    journal_bytes: int = 8 * 2**30
    batches: timedelta = timedelta(days=7)
    events: timedelta = timedelta(days=90)
    alerts: timedelta = timedelta(days=365)
    notifications: timedelta = timedelta(days=90)


class Retention:
    """Makes partitions ahead and room behind."""

    def __init__(self, database: Database, keep: Keep | None = None) -> None:
        self._database = database
        self._keep = keep or Keep()

    def keep(self, keep: Keep) -> None:
        """From the next round on, keep things for so long."""
        self._keep = keep

    async def make_partitions(self, now_us: int) -> int:
        """The partitions that appends need for the next two days; needs no lease."""
        return await store.make_partitions(self._database, now_us=now_us, hours=PARTITIONS_AHEAD)

    async def run_once(self, now_us: int, grant: Grant) -> dict[str, int]:
        """One round of everything; returns what was made or removed, by name.

        Raises LeaseLost and TryLater; what was done before stays done.
        """
        done = {"partitions_made": await self.make_partitions(now_us)}
        done["partitions_dropped"] = await self.drop_partitions(now_us)
        history = (now_us, EXPIRE_ROWS_MAX, RETENTION_DAYS_DEFAULT)
        done["chunks"], done["points"] = await self._expire_chunks(grant, *history)
        done["rollups"] = await self._expire(grant, "expire_rollups", *history)
        batches_us = now_us - _us(self._keep.batches)
        done["batches"] = await self._expire(grant, "expire_batches", batches_us, EXPIRE_ROWS_MAX)
        done["idempotency"] = await self._expire(
            grant, "expire_idempotency", now_us - _us(REQUESTS_KEEP), EXPIRE_ROWS_MAX
        )
        events_us = now_us - _us(self._keep.events)
        done["events"] = await self._expire(grant, "expire_events", events_us, EXPIRE_ROWS_MAX)
        alerts_us = now_us - _us(self._keep.alerts)
        done["alerts"] = await self._expire(grant, "expire_alerts", alerts_us, EXPIRE_ROWS_MAX)
        done["subscriptions"] = await self._expire(
            grant, "expire_subscriptions", now_us - _us(STREAMS_KEEP), EXPIRE_ROWS_MAX
        )
        done["tickets"] = await self._expire(
            grant, "expire_tickets", now_us - _us(STREAMS_KEEP), EXPIRE_ROWS_MAX
        )
        done["budgets"] = await self._expire(
            grant, "expire_budgets", now_us - _us(BUDGETS_KEEP), EXPIRE_ROWS_MAX
        )
        done["sessions"] = await self._expire(grant, "expire_sessions", now_us, EXPIRE_ROWS_MAX)
        done["former_callers"] = await self._expire(
            grant, "expire_former_callers", now_us, EXPIRE_ROWS_MAX
        )
        messages_us = now_us - _us(self._keep.notifications)
        told = (messages_us, EXPIRE_ROWS_MAX)
        done["notifications"] = await self._expire(grant, "expire_notifications", *told)
        done["silences"] = await self._expire(grant, "expire_silences", *told)
        done["watches"] = await self._expire(grant, "expire_watches", *told)
        await store.expire(self._database, grant, "expire_daemons", now_us - _us(DAEMONS_KEEP))
        return done

    async def _expire_chunks(self, grant: Grant, *arguments: int) -> tuple[int, int]:
        chunks = points = 0
        for _ in range(EXPIRE_TURNS_MAX):
            removed, held = await store.expire_chunks(self._database, grant, *arguments)
            chunks, points = chunks + removed, points + held
            if removed < EXPIRE_ROWS_MAX:
                break
        return chunks, points

    async def _expire(self, grant: Grant, what: str, *arguments: int) -> int:
        total = 0
        for _ in range(EXPIRE_TURNS_MAX):
            removed = await store.expire(self._database, grant, what, *arguments)
            total += removed
            if removed < EXPIRE_ROWS_MAX:
                break
        return total

    async def drop_partitions(self, now_us: int) -> int:
        """Drop hours of the journal that nobody needs and that are too old or too large."""
        dropped = 0
        for name in await store.list_detached(self._database):
            dropped += await store.drop_detached(self._database, name)
        needed_after = await store.needed_after(self._database)
        partitions = await store.list_partitions(self._database)
        excess = sum(partition.bytes for partition in partitions) - self._keep.journal_bytes
        for partition in partitions:
            start_us = hour_of(partition)
            is_old = start_us + HOUR_US <= now_us - _us(self._keep.journal)
            # The hour before the present one may still be appended to by a slow transaction.
            is_excess = excess > 0 and start_us + 2 * HOUR_US <= now_us
            if not (partition.is_pending or is_old or is_excess):
                continue
            newest = await store.newest_in(
                self._database, start_us=start_us, end_us=start_us + HOUR_US
            )
            if newest is not None and newest > needed_after:
                break
            if newest is not None:
                await store.raise_floor(self._database, newest)
            if await store.drop_partition(
                self._database, partition.name, is_pending=partition.is_pending
            ):
                dropped += 1
                excess -= partition.bytes
        return dropped


def hour_of(partition: Partition) -> int:
    """First microsecond of the hour that the partition's name says."""
    hour = datetime.strptime(partition.name[-10:], "%Y%m%d%H").replace(tzinfo=UTC)
    return round(hour.timestamp()) * 1_000_000


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
