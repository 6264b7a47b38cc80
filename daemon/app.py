"""The composition root: builds the parts, starts them in order, and stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import msgspec

from daemon import foreground, serving
from daemon.clock import SystemClock
from daemon.compactor import Orders
from daemon.config import Config, default_secret_key_file, is_terminal, load_config
from daemon.domain.errors import Conflict, NotFound, StoreUnavailable
from daemon.inside import open_inside
from daemon.log import get_logger
from daemon.memory import return_large_arrays
from daemon.parts import Parts, build
from daemon.postgres.backup import Place, dump, restore
from daemon.postgres.programs import environment_for, without_password
from daemon.postgres.supervisor import EmbeddedPostgres
from daemon.reloading import reload
from daemon.service.expiring_keys import LOOK_EVERY_S, ExpiringKeys
from daemon.service.key_files import key_in
from daemon.service.keys import Keys
from daemon.service.resealing import Resealed, reseal
from daemon.service.secret_box import SecretBox, secret_box
from daemon.serving import (
    Company,
    Stop,
    connections_of,
    patiently,
    pool_limits,
    url_of,
)
from daemon.siblings import Siblings
from daemon.signals import say_where_on_signal
from daemon.store import backup as backups
from daemon.store.channels import ChannelStore
from daemon.store.events import EventStore
from daemon.store.health import HealthStore
from daemon.store.housekeeping import ASKS
from daemon.store.keys import KeyStore
from daemon.store.migrations import migrate
from daemon.store.pool import Database
from daemon.transport.server import bind, inherited, share
from daemon.workers import child, listener
from daemon.workers.child import Standing
from daemon.workers.meanwhile import meanwhile
from daemon.workers.repeat import repeat
from daemon.workers.systemd import ServiceManager
from telemetryctl.api.contexts import config_home, write_context

log = get_logger()

SIGNALS_TOGETHER_S = 1.0
_ENDING = (signal.SIGTERM, signal.SIGINT)
FIRST_CONTEXT = "local"
EXTEND_EVERY_S = 10.0
EXTEND_BY_S = 60.0
"""What the service manager grants a start while it migrates; said again and again."""
CONNECTIONS_SPARE = 20
"""Of the embedded server: for the compactor, backups and people."""
CONNECTIONS_EMBEDDED = 100
"""What it allows by itself."""


async def serve(config: Config, *, reread: Callable[[], Config] = load_config) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second signal ends it at once.

    At SIGHUP `reread` gives the configuration as it is then. When the database is another one than
    before (a restore under the running daemon), everything is built anew on the same port.
    """
    return_large_arrays()
    say_where_on_signal()
    manager = ServiceManager.of(os.environ)
    given, port = inherited(os.environ), config.server.port
    while True:
        listening = given.dup() if given else bind(config.server.host, port)
        port = listening.getsockname()[1]
        stop, config = await _serve_once(config, listening, manager, reread)
        if not stop.begins_anew:
            break
        log.warning("begins_anew")
    log.info("stopped")


async def _serve_once(
    config: Config, listening: socket.socket, manager: ServiceManager, reread: Callable[[], Config]
) -> tuple[Stop, Config]:
    """Build everything, serve until something ends that, and take it down: what ended it, and the
    configuration as it was then."""
    stop = Stop()
    async with AsyncExitStack() as stack:
        stack.callback(listening.close)
        stack.callback(_ignore_signals)
        if config.server.processes > 1:
            share(listening)
        inside = open_inside(config)
        if inside is not None:
            stack.callback(inside.close)
        embedded, dsn = await _open_postgres(stack, config)
        # However long a migration takes: each is bounded by the time of its statements.
        with meanwhile(lambda: manager.extend_timeout(EXTEND_BY_S), every_s=EXTEND_EVERY_S):
            await patiently(lambda: migrate(dsn))
        database = Database(dsn, limits=pool_limits(config))
        await database.open()
        stack.push_async_callback(database.close)
        database.on_new_epoch = stop.begin_anew
        parts = build(config, database, port=listening.getsockname()[1])
        stack.callback(parts.services.health.close)
        await patiently(parts.housekeeping.prepare)
        if parts.relay is not None:
            await patiently(parts.relay.prepare)
        await patiently(parts.tail.load)
        await patiently(parts.evaluator.prepare)
        await patiently(parts.services.groups.refresh)
        await _first_key(parts, parts.services.port)
        siblings = Siblings(parts, dsn)
        compactor = Standing(_compactor_orders(parts, dsn))
        loops = _loops(parts, embedded, compactor)
        _stop_on_signal(stop, embedded)

        def begin_reload() -> None:
            if reload(parts, reread, manager):
                siblings.change()
                compactor.change(_compactor_orders(parts, dsn))

        _reload_on_signal(stop, begin_reload)
        company = Company(loops, siblings.loops(), manager, inside)
        await serving.run(parts, listening, stop, company=company)
    return stop, parts.config


def _loops(
    parts: Parts, embedded: EmbeddedPostgres | None, compactor: Standing
) -> list[serving.Loop]:
    """What one process of the daemon does for all of them."""
    return [
        child.keep("daemon.compactor", compactor),
        parts.housekeeping.run(),
        listener.run(parts.database, parts.housekeeping.wake, channel=ASKS),
        repeat(_expiring_keys(parts).look, every_s=LOOK_EVERY_S, name="expiring_keys"),
        *([embedded.run()] if embedded else []),
    ]


def _expiring_keys(parts: Parts) -> ExpiringKeys:
    database = parts.database
    return ExpiringKeys(KeyStore(database), EventStore(database), clock=parts.clock)


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


def _stop_on_signal(stop: Stop, embedded: EmbeddedPostgres | None) -> None:
    """The first SIGTERM or SIGINT sets `stop`; a later one ends the process at once.

    Signals that come together count as one: `timeout` and a terminal under make deliver twice.
    """
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def on_signal() -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
            stop.end()
        elif loop.time() - first_s > SIGNALS_TOGETHER_S:
            if embedded is not None:
                embedded.abandon()
            os._exit(1)

    for number in _ENDING:
        loop.add_signal_handler(number, on_signal)


def _ignore_signals() -> None:
    """What these parts would do is done; whoever comes next listens anew."""
    loop = asyncio.get_running_loop()
    for number in (*_ENDING, signal.SIGHUP):
        loop.remove_signal_handler(number)
    # By itself it would kill who begins anew, and has no handler yet.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _reload_on_signal(stop: Stop, begin_reload: Callable[[], None]) -> None:
    """SIGHUP: read the configuration again; but end when it was our terminal that went."""
    had_terminal = is_terminal()

    def on_signal() -> None:
        if had_terminal and not is_terminal():
            stop.end()
        else:
            begin_reload()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_signal)


# -- start ---------------------------------------------------------------------------------------


async def _open_postgres(
    stack: AsyncExitStack, config: Config
) -> tuple[EmbeddedPostgres | None, str]:
    """The embedded server, when it is wanted, and where to connect."""
    if not config.is_embedded:
        return None, config.database.url
    embedded = EmbeddedPostgres(config.data_dir, log=_embedded_log, settings=_room_for(config))
    stack.push_async_callback(embedded.stop)
    await embedded.start()
    return embedded, embedded.dsn


def _room_for(config: Config) -> dict[str, str]:
    """Settings of the embedded server that the number of processes asks for."""
    needed = CONNECTIONS_SPARE + config.server.processes * connections_of(config)
    return {"max_connections": str(needed)} if needed > CONNECTIONS_EMBEDDED else {}


def _embedded_log(event: str, *, severity: str = "info", **fields: object) -> None:
    getattr(log, severity)(event, **fields)


async def _first_key(parts: Parts, port: int) -> None:
    """While no key exists, make the admin key and save it as the CLI's context of this user."""
    key = await parts.services.keys.bootstrap()
    if key is None:
        return
    try:
        folder = config_home()
        server = url_of(parts.config, port)
        write_context(
            FIRST_CONTEXT, server=server, token=key, config_home=folder, make_current=True
        )
        log.info("first_key_saved", context=FIRST_CONTEXT, folder=str(folder))
    except Exception:
        log.error("first_key_not_saved", exc_info=True, hint="telemetryctl login")


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


async def backup_to(config: Config, file: Path) -> int:
    """Write a backup; returns its size in bytes. Raises NotFound without telemetry."""
    async with _postgres(config) as (embedded, dsn):
        major, is_there = await backups.look(dsn)
        if not is_there:
            raise NotFound("the database holds no telemetry")
        place = Place(dsn, major, embedded.binaries_dir if embedded else None)
        return await asyncio.to_thread(dump, place, file)


async def restore_from(config: Config, file: Path) -> None:
    """Fill an empty database from a backup. Raises Conflict when it is not empty."""
    async with _postgres(config) as (embedded, dsn):
        major, is_there = await backups.look(dsn)
        if is_there:
            raise Conflict("the database holds telemetry already", code="not_empty")
        place = Place(dsn, major, embedded.binaries_dir if embedded else None)
        await asyncio.to_thread(restore, place, file, then=backups.RENEW)
        await migrate(dsn)


async def reseal_with(config: Config, former: Path) -> Resealed:
    """Encrypt the secrets of channels with the key in force, those that the former one opens.

    Raises NoSecretKey, BadKeyFile.
    """
    box = secret_box(config.auth.secret_key, file=default_secret_key_file())
    async with _postgres(config) as (_, dsn):
        database = Database(dsn)
        await database.open()
        try:
            store = ChannelStore(database)
            return await reseal(store, box=box, former=SecretBox(key_in(former)))
        finally:
            await database.close()


async def psql_on(config: Config, arguments: Sequence[str]) -> int:
    """Run psql to its end and return its exit code; an embedded server runs as long as it does."""
    async with _postgres(config) as (embedded, dsn):
        own = embedded.binaries_dir / "psql" if embedded else Path("psql")
        program = str(own) if own.is_file() else shutil.which("psql")
        if program is None:
            raise StoreUnavailable("there is no psql on this host")
        address, password = without_password(dsn)
        return await foreground.run([program, address, *arguments], environment_for(password))
