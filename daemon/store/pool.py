"""Connections to PostgreSQL: one pool per class of work, so that no class starves another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import asyncpg

from daemon.domain.errors import NewEpoch, StoreUnavailable
from daemon.log import get_logger
from daemon.store.errors import translating
from daemon.store.named_sql import load
from daemon.store.query_times import QueryTimes

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

Work = Literal["ingest", "query", "control"]

CLIENT_CHECK_MS = 1_000

SQL = load("series")

log = get_logger()


class Beside(Protocol):
    """What stands in the same transaction as a change, which does not know of it."""

    async def begin(self, connection: Connection) -> None: ...

    def end(self) -> None: ...


_BESIDE: ContextVar[tuple[Beside, ...]] = ContextVar("beside", default=())


@contextmanager
def beside(one: Beside) -> Iterator[None]:
    """Let `one` stand in each control transaction that is made within: before the change and after
    it. What it raises undoes the change."""
    token = _BESIDE.set((*_BESIDE.get(), one))
    try:
        yield
    finally:
        _BESIDE.reset(token)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the pools; a request that gets no connection in `acquire_timeout_s` is answered
    503.

    A process that is stopped inside a transaction is thrown out of it after
    `idle_in_transaction_s`, so that it holds no lock that others need: an event, or a change of
    the catalogue, holds up every append until its commit. A statement of a read is ended by the
    server after `query_timeout_s`, and soon after its daemon is gone.
    """

    ingest_connections: int = 2
    query_connections: int = 8
    control_connections: int = 4
    connect_timeout_s: float = 3.0
    acquire_timeout_s: float = 2.0
    command_timeout_s: float = 30.0
    idle_in_transaction_s: float = 10.0
    query_timeout_s: float = 20.0
    statement_cache_size: int = 256


class _UnchangedConnection(asyncpg.Connection):
    """A connection whose session is never changed, so giving it back costs no round trip.

    asyncpg still ends an open transaction, and asks this once per release.
    """

    def get_reset_query(self) -> str:
        return ""


class Database:
    """The pools; opening needs no server, so a daemon starts and answers 503 while PostgreSQL is
    away."""

    def __init__(self, dsn: str, *, limits: PoolLimits | None = None) -> None:
        self._dsn = dsn
        self._limits = limits or PoolLimits()
        self._pools: dict[Work, Pool] = {}
        self._kept: dict[Work, list[Connection]] = defaultdict(list)
        self.queries = QueryTimes()
        self._epoch: str | None = None
        self._is_other = False
        self.on_new_epoch: Callable[[], None] = lambda: None

    def expect(self, epoch: str) -> None:
        """From now on take no connection to a database of another epoch: what this process knows
        of series is wrong there, and what it writes would be somebody else's."""
        self._epoch = epoch

    def check_epoch(self, found: str) -> None:
        """Raises NewEpoch when the database is not the one that was expected."""
        if self._epoch is None or found == self._epoch:
            return
        if not self._is_other:
            self._is_other = True
            log.error("database_restored", epoch=found, expected=self._epoch)
            self.on_new_epoch()
        raise NewEpoch()

    async def _look(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """At each new connection: after a restore there are only such."""
        connection.add_query_logger(self.queries.note)
        if self._epoch is None:
            return
        try:
            row = await connection.fetchrow(
                SQL["catalog_state"], timeout=self._limits.connect_timeout_s
            )
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
            raise StoreUnavailable("the database holds no telemetry") from error
        if row is None:
            raise StoreUnavailable("the database holds no telemetry")
        self.check_epoch(row["epoch"])

    async def open(self) -> None:
        limits = self._limits
        sizes: dict[Work, int] = {
            "ingest": limits.ingest_connections,
            "query": limits.query_connections,
            "control": limits.control_connections,
        }
        for work, size in sizes.items():
            self._pools[work] = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=size,
                timeout=limits.connect_timeout_s,
                command_timeout=limits.command_timeout_s,
                statement_cache_size=limits.statement_cache_size,
                connection_class=(
                    # Control work sets timeouts of its session; the others set nothing.
                    asyncpg.Connection if work == "control" else _UnchangedConnection
                ),
                max_inactive_connection_lifetime=300.0,
                init=self._look,
                server_settings=self._settings_of(work),
            )

    def _settings_of(self, work: Work) -> dict[str, str]:
        """What every session of a pool begins with."""
        limits = self._limits
        settings = {
            "application_name": f"telemetryd {work}",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "lock_timeout": "2000",
            "idle_in_transaction_session_timeout": str(round(limits.idle_in_transaction_s * 1000)),
        }
        if work == "query":
            settings["statement_timeout"] = str(round(limits.query_timeout_s * 1000))
            # The server looks this often whether whoever asked is still there.
            settings["client_connection_check_interval"] = str(CLIENT_CHECK_MS)
        return settings

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.terminate()
        self._pools.clear()
        self._kept.clear()

    def pool_numbers(self) -> dict[tuple[str, str], int]:
        """Connections by class of work and state: `used`, `idle`, and how many there may be,
        `max`."""
        found: dict[tuple[str, str], int] = {}
        for work, pool in self._pools.items():
            idle = pool.get_idle_size() + len(self._kept[work])
            found[work, "used"] = pool.get_size() - idle
            found[work, "idle"] = idle
            found[work, "max"] = pool.get_max_size()
        return found

    @asynccontextmanager
    async def connection(self, work: Work, *, writing: bool = False) -> AsyncIterator[Connection]:
        """A connection of that class; driver errors inside become domain errors.

        Raises StoreUnavailable when none is free in time. With `writing`, a connection lost inside
        is OutcomeUnknown.
        """
        pool = self._pools.get(work)
        if pool is None:
            raise StoreUnavailable("the database is not open")
        connection = await self._acquire(pool)
        try:
            with translating(writing=writing):
                yield connection
        finally:
            with translating():
                await pool.release(connection, timeout=self._limits.connect_timeout_s)

    async def _acquire(self, pool: Pool) -> Connection:
        """Not by the timeout of `acquire`: that is asyncio.wait_for, which in Python 3.11 forgets a
        cancellation that meets an error (python/cpython#86296), so that loops would not end."""
        with translating():
            async with asyncio.timeout(self._limits.acquire_timeout_s):
                return await pool.acquire()

    @asynccontextmanager
    async def kept_connection(self, work: Work) -> AsyncIterator[Connection]:
        """A connection for who writes all the time: it is kept, so that having it costs nothing.

        One is kept; a second one, and one with an error, goes back to the pool. Raises as
        `connection` with `writing`.
        """
        pool, kept = self._pools.get(work), self._kept[work]
        if pool is None:
            raise StoreUnavailable("the database is not open")
        connection = kept.pop() if kept else None
        if connection is None or _is_gone(connection):
            connection = await self._acquire(pool)
        try:
            with translating(writing=True):
                yield connection
            is_spare = bool(kept)
        except BaseException:
            is_spare = True
            raise
        finally:
            if is_spare:
                with translating():
                    await pool.release(connection, timeout=self._limits.connect_timeout_s)
            else:
                kept.append(connection)

    @asynccontextmanager
    async def transaction(self, work: Work) -> AsyncIterator[Connection]:
        """A connection inside one transaction that commits at the end of the block."""
        others = _BESIDE.get() if work == "control" else ()
        async with self.connection(work, writing=True) as connection, connection.transaction():
            for one in others:
                await one.begin(connection)
            yield connection
            for one in others:
                one.end()

    async def listener(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection of its own, outside the pools; the caller closes it. Raises
        StoreUnavailable."""
        with translating():
            return await asyncpg.connect(self._dsn, timeout=self._limits.connect_timeout_s)

    @asynccontextmanager
    async def listening(
        self, channel: str, on_notify: Callable[[], None]
    ) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """LISTEN on a connection of its own; yields a call that tells whether it is still alive.

        Raises StoreUnavailable.
        """
        timeout_s = self._limits.connect_timeout_s
        connection = await self.listener()
        try:
            with translating():
                await connection.add_listener(channel, lambda *_: on_notify())

            async def is_alive() -> bool:
                with translating():
                    return bool(await connection.fetchval("select true", timeout=timeout_s))

            yield is_alive
        finally:
            connection.terminate()


def _is_gone(connection: Connection) -> bool:
    """Whether it was lost while it was kept: then it has left its proxy, which answers nothing."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True
