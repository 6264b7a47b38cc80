"""The composition root: builds the parts, starts them in order, and stops them in reverse."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import msgspec

from daemon.clock import SystemClock
from daemon.compactor import Orders
from daemon.config import Config, is_terminal
from daemon.domain.errors import DomainError, StoreUnavailable
from daemon.log import get_logger
from daemon.parts import Parts, build
from daemon.postgres.supervisor import EmbeddedPostgres
from daemon.service.keys import Keys
from daemon.store.health import HealthStore
from daemon.store.keys import KeyStore
from daemon.store.migrations import migrate
from daemon.store.pool import Database, PoolLimits
from daemon.transport.http import build_api
from daemon.transport.ingest import IngestRoutes
from daemon.transport.server import Server, bind, make_server
from daemon.workers import child, follower, listener
from daemon.workers.repeat import repeat
from telemetryctl.api.contexts import config_home, write_context

log = get_logger()
T = TypeVar("T")

DATABASE_WAIT_S = 60.0
"""How long the start waits for a database that can't be reached; then the daemon exits 75."""
DATABASE_POLL_S = 0.5
REGISTER_EVERY_S = 5.0
HEALTH_EVERY_S = 1.0
KEY_USES_EVERY_S = 5.0
SIGNALS_TOGETHER_S = 1.0
GOODBYE_S = 0.25
"""How long kept connections have for their last request."""
FIRST_CONTEXT = "local"


async def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second signal ends it at once."""
    listening = bind(config.server.host, config.server.port)
    port = listening.getsockname()[1]
    async with AsyncExitStack() as stack:
        stack.callback(listening.close)
        embedded, dsn = await _open_postgres(stack, config)
        await _patiently(lambda: migrate(dsn))
        database = Database(dsn, limits=_pool_limits(config))
        await database.open()
        stack.push_async_callback(database.close)
        parts = build(config, database, port=port)
        stack.callback(parts.services.health.close)
        await _patiently(parts.housekeeping.prepare)
        await _patiently(parts.tail.load)
        await _first_key(parts, port)
        await _run(parts, embedded, dsn, listening)
    log.info("stopped")


async def _run(
    parts: Parts, embedded: EmbeddedPostgres | None, dsn: str, listening: socket.socket
) -> None:
    """Run every loop until a signal; then drain and stop them."""
    config, services = parts.config, parts.services
    app = IngestRoutes(
        build_api(services), ingest=parts.ingest, keys=services.keys, traffic=parts.traffic
    )
    server = make_server(app, drain_timeout_s=config.server.drain_timeout_s)
    stop = _stop_event(embedded)
    async with asyncio.TaskGroup() as tasks:
        loops = [
            tasks.create_task(loop)
            for loop in (
                parts.ingest.run(),
                follower.run(parts.tail),
                listener.run(parts.database, parts.tail),
                child.keep("daemon.compactor", _compactor_orders(parts, dsn)),
                parts.housekeeping.run(),
                repeat(services.health.probe, every_s=HEALTH_EVERY_S, name="health"),
                repeat(services.keys.write_uses, every_s=KEY_USES_EVERY_S, name="key_uses"),
                repeat(lambda: _register(parts), every_s=REGISTER_EVERY_S, name="register"),
                *([embedded.run()] if embedded else []),
            )
        ]
        serving = tasks.create_task(server.serve(sockets=[listening]))
        services.health.started()
        _calm_the_collector()
        log.info("serving", url=_url(config, services.port), writer=str(parts.writer))
        await stop.wait()
        log.info("draining")
        await _drain(parts, server, serving)
        for loop in loops:
            loop.cancel()


async def _drain(parts: Parts, server: Server, serving: asyncio.Task[None]) -> None:
    """Refuse new work, answer what is under way, and commit what was accepted."""
    settings = parts.config.server
    parts.services.health.draining()
    await asyncio.sleep(settings.drain_delay_s)
    parts.tail.close()
    server.say_goodbye()
    await asyncio.sleep(GOODBYE_S)
    server.should_exit = True
    await asyncio.wait([serving], timeout=settings.drain_timeout_s + 5)
    await parts.ingest.drain(timeout_s=settings.drain_timeout_s)
    try:
        async with asyncio.timeout(2):
            await parts.services.keys.write_uses()
            await parts.journal.unregister_daemon()
    except (DomainError, TimeoutError):
        log.warning("left_without_goodbye")


def _calm_the_collector() -> None:
    """Keep what the start made out of every later collection, and collect less often.

    A collection of all objects takes tens of milliseconds, in which no request is answered; the hot
    routes make no cycles (https://docs.python.org/3.11/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _compactor_orders(parts: Parts, dsn: str) -> bytes:
    config = parts.config
    return msgspec.json.encode(
        Orders(
            dsn=dsn,
            holder=parts.writer,
            points=config.compaction.points,
            age_s=config.compaction.age.total_seconds(),
            log_level=config.log.level,
            log_text=config.log.wants_text(is_terminal=is_terminal()),
            statement_cache_size=config.database.statement_cache_size,
        )
    )


def _stop_event(embedded: EmbeddedPostgres | None) -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; a later one ends the process at once.

    Signals that come together count as one: `timeout` and a terminal under make deliver twice.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    first_s = 0.0

    def on_signal() -> None:
        nonlocal first_s
        if not stop.is_set():
            first_s = loop.time()
            stop.set()
        elif loop.time() - first_s > SIGNALS_TOGETHER_S:
            if embedded is not None:
                embedded.abandon()
            os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


async def _register(parts: Parts) -> None:
    """Say that this daemon lives, and learn whether others have to be told of commits."""
    address = f"{socket.gethostname()}:{parts.services.port}"
    parts.ingest.notify = await parts.journal.register_daemon(address) > 0


# -- start ---------------------------------------------------------------------------------------


async def _open_postgres(
    stack: AsyncExitStack, config: Config
) -> tuple[EmbeddedPostgres | None, str]:
    """The embedded server, when it is wanted, and where to connect."""
    if not config.is_embedded:
        return None, config.database.url
    embedded = EmbeddedPostgres(config.data_dir, log=_embedded_log)
    stack.push_async_callback(embedded.stop)
    await embedded.start()
    return embedded, embedded.dsn


def _embedded_log(event: str, *, severity: str = "info", **fields: object) -> None:
    getattr(log, severity)(event, **fields)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The result of the call; while the database can't be reached it is tried for
    DATABASE_WAIT_S."""
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + DATABASE_WAIT_S
    is_told = False
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if clock.monotonic_s() > deadline_s:
                raise
            if not is_told:
                log.warning("waiting_for_database")
            is_told = True
            await asyncio.sleep(DATABASE_POLL_S)


async def _first_key(parts: Parts, port: int) -> None:
    """While no key exists, make the admin key and save it as the CLI's context of this user."""
    key = await parts.services.keys.bootstrap()
    if key is None:
        return
    try:
        folder = config_home()
        server = _url(parts.config, port)
        write_context(
            FIRST_CONTEXT, server=server, token=key, config_home=folder, make_current=True
        )
        log.info("first_key_saved", context=FIRST_CONTEXT, folder=str(folder))
    except Exception:
        log.error("first_key_not_saved", exc_info=True, hint="telemetryctl login")


def _url(config: Config, port: int) -> str:
    host = config.server.host
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _pool_limits(config: Config) -> PoolLimits:
    section = config.database
    return PoolLimits(
        query_connections=section.query_connections,
        control_connections=section.control_connections,
        statement_cache_size=section.statement_cache_size,
    )


# -- the short commands --------------------------------------------------------------------------


@asynccontextmanager
async def _postgres(config: Config) -> AsyncIterator[tuple[EmbeddedPostgres | None, str]]:
    async with AsyncExitStack() as stack:
        yield await _open_postgres(stack, config)


async def migrate_only(config: Config) -> list[str]:
    """Apply the missing migrations; returns their names."""
    async with _postgres(config) as (_, dsn):
        return [f"{m.number:04}_{m.name}" for m in await migrate(dsn)]


async def bootstrap_only(config: Config) -> str | None:
    """The first admin key, or None when a key exists."""
    async with _postgres(config) as (_, dsn):
        await migrate(dsn)
        database = Database(dsn)
        await database.open()
        try:
            return await Keys(KeyStore(database), clock=SystemClock()).bootstrap()
        finally:
            await database.close()


async def database_status(config: Config) -> dict[str, str]:
    """Version, schema, size and address of the database."""
    async with _postgres(config) as (embedded, dsn):
        database = Database(dsn)
        await database.open()
        try:
            store = HealthStore(database)
            facts = asdict(await store.probe())
            store.close()
        finally:
            await database.close()
        kind = "embedded" if embedded else "url"
        return {"kind": kind} | {name: str(value) for name, value in facts.items()}


async def psql_of(config: Config) -> tuple[str, str]:
    """The psql to run and what to connect to; the daemon has to run when the database is
    embedded."""
    async with _postgres(config) as (embedded, dsn):
        own = embedded.binaries_dir / "psql" if embedded else Path("psql")
        program = str(own) if own.is_file() else shutil.which("psql")
        if program is None:
            raise StoreUnavailable("there is no psql on this host")
        return program, dsn
