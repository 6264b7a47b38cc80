"""Runs the serving half of one process: HTTP and the loops behind it, until it is told to stop.

Both the daemon itself and its siblings do; what only one process does is given by app.py.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.clock import SystemClock
from daemon.config import Config
from daemon.descriptors import raise_open_files
from daemon.domain.clients import is_within
from daemon.domain.errors import DomainError, OutcomeUnknown, StoreUnavailable, TryLater
from daemon.inside import Inside
from daemon.log import get_logger
from daemon.observing import observe, tell_manager
from daemon.parts import Parts
from daemon.service.alerts import COUNT_EVERY_S
from daemon.service.concurrency import of_places
from daemon.service.figures import of_connections
from daemon.service.groups import REFRESH_EVERY_S
from daemon.service.limits import SETTLE_EVERY_S
from daemon.store.pool import PoolLimits
from daemon.store.subscriptions import TELLS
from daemon.transport.connections import WALK_EVERY_S, ConnectionBounds
from daemon.transport.http import App, build_app, open_to_all
from daemon.transport.quick_health import QuickHealth
from daemon.transport.quick_points import QuickPoints
from daemon.transport.server import (
    LAST_REQUEST_S,
    Server,
    admit_no_more,
    has_queued,
    make_server,
)
from daemon.workers import follower, job_runner, listener, subscription_keeper
from daemon.workers.meanwhile import meanwhile
from daemon.workers.pulse import Pulse
from daemon.workers.repeat import repeat
from daemon.workers.systemd import ServiceManager

log = get_logger()
T = TypeVar("T")
Loop = Coroutine[Any, Any, None]

DATABASE_WAIT_S = 60.0
"""How long the start waits for a database that can't be reached; then the daemon exits 75."""
DATABASE_POLL_S = 0.5
STARTED_POLL_S = 0.005
ALIVE_EVERY_S = 2.0
"""While a database is waited for: that is no standing still."""
REGISTER_EVERY_S = 5.0
HEALTH_EVERY_S = 1.0
KEY_USES_EVERY_S = 5.0
NEWCOMER_WAIT_S = 2.0
"""How much longer connections have that have not sent their first request."""
QUEUE_WAIT_S = 10.0
"""How long the queue of the port has to become empty; who still stands in it then is cut."""
ROUND_S = 0.02
STREAMS_GONE_S = 3.0
"""How long streams have to take their last message; then they are cut."""
FILES_SPARE = 256
"""Open files that are no clients: the database, the log, other processes, a listing."""
LOOP_END_S = 6.0
"""How long loops may take to put away what they hold, before they are told again."""
DATABASE_END_S = 60.0
"""What the embedded PostgreSQL may take to end after that."""
END_MARGIN_S = 15.0 + QUEUE_WAIT_S
"""What a drain may take beyond its delay and timeout, before the process is killed."""


@dataclass(frozen=True, slots=True)
class Company:
    """What runs beside the serving half.

    `loops` end last. `siblings` keep other processes; they are cancelled as soon as the drain
    begins, so that all processes drain at once, and have ended before the loops do. `inside` is the
    door for internal calls.
    """

    loops: Sequence[Loop] = ()
    siblings: Sequence[Loop] = ()
    manager: ServiceManager = field(default_factory=ServiceManager)
    inside: Inside | None = None

    def close(self) -> None:
        """End what was never begun."""
        for loop in (*self.loops, *self.siblings):
            loop.close()


@dataclass(slots=True)
class Stop:
    """Set once: from then on the process drains. `is_alone` tells that nobody waits for it, and
    `begins_anew` that it serves again afterwards."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    is_alone: Callable[[], bool] = lambda: False
    begins_anew: bool = False

    def begin_anew(self) -> None:
        """Drain, and serve again with nothing remembered; not when it is to end."""
        if not self.event.is_set():
            self.begins_anew = True
            self.event.set()

    def end(self) -> None:
        """Drain, and end; also when it was to begin anew."""
        self.begins_anew = False
        self.event.set()


async def run(
    parts: Parts, listening: socket.socket, stop: Stop, *, company: Company | None = None
) -> None:
    """Serve until `stop`; then drain, and end every loop."""
    company = company or Company()
    services = parts.services
    app = build_app(
        services, ingest=parts.ingest, streams=parts.streams, docs=parts.config.http.docs
    )
    bounds = connection_bounds(parts.config)
    server = _public_server(parts, app, bounds)
    _calm_the_collector()
    await _prove_patiently(parts, stop, company)
    async with asyncio.TaskGroup() as tasks:
        pulse = Pulse(parts.clock)
        walks = repeat(server.walks.walk, every_s=WALK_EVERY_S, name="connections")
        running = (*_loops(parts), *observe(parts), walks, *company.loops)
        loops = [tasks.create_task(pulse.watch(loop)) for loop in running]
        siblings = [tasks.create_task(pulse.watch(one)) for one in company.siblings]
        serving = tasks.create_task(server.serve(sockets=[listening]))
        if company.inside is not None:
            inside = company.inside.serve(app, parts, bounds=bounds, stop=stop.event)
            tasks.create_task(pulse.watch(inside))
        services.health.started()
        # The next request after these words is answered.
        await _until_served(server, serving)
        log.info("serving", url=url_of(parts.config, services.port), writer=str(parts.writer))
        company.manager.ready()
        loops.append(tasks.create_task(tell_manager(parts, company.manager, pulse)))
        await stop.event.wait()
        # To stop is said once; a daemon that said so is ended by the service manager.
        if stop.begins_anew:
            company.manager.reloading()
        else:
            company.manager.stopping()
            company.manager.extend_timeout(end_wait_s(parts.config) + DATABASE_END_S)
        log.info("draining")
        services.health.draining()
        for sibling in siblings:
            sibling.cancel()
        await _delay(parts.config.server.drain_delay_s, stop)
        parts.tail.close()
        await _close_the_port(server, listening)
        await _finish(parts, server, serving)
        if siblings:
            await asyncio.wait(siblings)
        await _end(loops)


async def _prove_patiently(parts: Parts, stop: Stop, company: Company) -> None:
    try:
        with meanwhile(company.manager.alive, every_s=ALIVE_EVERY_S):
            await patiently(lambda: _prove(parts, stop))
    except BaseException:
        company.close()
        raise


async def _prove(parts: Parts, stop: Stop) -> None:
    """Return when the database answers and takes writes, or nobody waits for it any more.

    Raises StoreUnavailable. A full disk is told, and no reason to leave reads unanswered.
    """
    if stop.event.is_set():
        return
    await parts.services.health.probe()
    if not parts.services.health.is_database_up:
        raise StoreUnavailable
    try:
        await parts.journal.prove()
    except OutcomeUnknown as error:
        raise StoreUnavailable from error
    except TryLater as error:
        if isinstance(error, StoreUnavailable):
            raise
        log.error("writes_refused", code=error.error_code, reason=error.detail)


async def _until_served(server: Server, serving: asyncio.Task[None]) -> None:
    """Return when connections are accepted."""
    while not server.started and not serving.done():
        await asyncio.sleep(STARTED_POLL_S)


def _public_server(parts: Parts, app: App, bounds: ConnectionBounds) -> Server:
    """That of the port which everybody may reach."""
    services = parts.services
    health = QuickHealth(services.health, services.access, port=services.port)
    points = QuickPoints(parts.ingest, services.gate, services.access, services.proxies, health)
    server = make_server(
        open_to_all(app, services),
        drain_timeout_s=parts.config.server.drain_timeout_s,
        points=points,
        bounds=bounds,
        is_exempt=lambda address: is_within(address, services.proxies.trusted),
    )
    services.figures.add(of_connections(server.walks.numbers))
    services.figures.add(of_places(services.queries, services.reads.exports.places))
    return server


def _loops(parts: Parts) -> list[Loop]:
    """What every process of a daemon runs."""
    services = parts.services
    return [
        parts.ingest.run(),
        follower.run(parts.tail),
        parts.hub.run(),
        parts.streams.streams.run(),
        subscription_keeper.run(services.subscriptions),
        listener.run(parts.database, parts.tail.wake),
        listener.run(parts.database, services.subscriptions.tell, channel=TELLS),
        repeat(services.health.probe, every_s=HEALTH_EVERY_S, name="health"),
        repeat(services.keys.uses.write, every_s=KEY_USES_EVERY_S, name="key_uses"),
        repeat(services.limits.settle, every_s=SETTLE_EVERY_S, name="limits"),
        *([parts.relay.run()] if parts.relay else []),
        parts.evaluator.run(),
        parts.notifier.run(),
        repeat(parts.notifier.count, every_s=COUNT_EVERY_S, name="notification_figures"),
        job_runner.run(services.jobs),
        repeat(lambda: _register(parts), every_s=REGISTER_EVERY_S, name="register"),
        repeat(services.groups.refresh, every_s=REFRESH_EVERY_S, name="groups"),
        repeat(services.alerts.count, every_s=COUNT_EVERY_S, name="alert_figures"),
    ]


async def _end(loops: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library may forget a cancellation that meets an error."""
    running = set(loops)
    while running:
        for loop in running:
            loop.cancel()
        _, running = await asyncio.wait(running, timeout=LOOP_END_S)


async def _close_the_port(server: Server, listening: socket.socket) -> None:
    """Take what stands in the queue of the port, and nothing that comes later."""
    admit_no_more(listening)
    server.say_goodbye()
    await asyncio.sleep(LAST_REQUEST_S)
    await _while(lambda: has_queued(listening), at_most_s=QUEUE_WAIT_S)
    server.close_port()
    # Who was accepted last is shown to the server in the next round.
    await asyncio.sleep(ROUND_S)
    await _while(lambda: server.has_newcomers, at_most_s=NEWCOMER_WAIT_S)


async def _while(is_so: Callable[[], bool], *, at_most_s: float) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + at_most_s
    while is_so() and loop.time() < until_s:
        await asyncio.sleep(ROUND_S)


async def _finish(parts: Parts, server: Server, serving: asyncio.Task[None]) -> None:
    """Answer what is under way, and commit what was accepted."""
    settings = parts.config.server
    # Sockets have no answer that ends, so they are told to go.
    await parts.streams.streams.shutdown(within_s=STREAMS_GONE_S)
    server.should_exit = True
    await asyncio.wait([serving], timeout=settings.drain_timeout_s + 5)
    await parts.ingest.drain(timeout_s=settings.drain_timeout_s)
    try:
        async with asyncio.timeout(2):
            await parts.services.keys.uses.write()
            await parts.services.limits.settle(is_last=True)
            await parts.journal.unregister_daemon()
    except (DomainError, TimeoutError):
        log.warning("left_without_goodbye")


async def _delay(delay_s: float, stop: Stop) -> None:
    """Wait for the balancer; not when the daemon itself is gone, whose port is to be free again."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + delay_s
    while loop.time() < until_s and not stop.is_alone():
        await asyncio.sleep(min(0.1, delay_s))


async def _register(parts: Parts) -> None:
    """Say that this process lives, and learn whether others have to be told of commits."""
    address = f"{socket.gethostname()}:{parts.services.port}"
    others = await parts.journal.register_daemon(address)
    # A sibling may have come a moment ago: it is told from the first commit on.
    parts.ingest.notify = others > 0 or parts.config.server.processes > 1


def _calm_the_collector() -> None:
    """Keep what the start made out of every later collection, and collect less often.

    A collection of all objects takes tens of milliseconds, in which no request is answered; the hot
    routes make no cycles (https://docs.python.org/3.11/library/gc.html#gc.freeze).
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# -- the start -----------------------------------------------------------------------------------


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The result of the call; while the database can't be reached it is tried for
    DATABASE_WAIT_S."""
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + DATABASE_WAIT_S
    is_told = False
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            if clock.monotonic_s() > deadline_s:
                raise
            if not is_told:
                log.warning("waiting_for_database", reason=str(error.__cause__ or error)[:200])
            is_told = True
            await asyncio.sleep(DATABASE_POLL_S)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def url_of(config: Config, port: int) -> str:
    """Where programs of this host find the daemon."""
    host = config.server.host
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def pool_limits(config: Config) -> PoolLimits:
    """The connections of one process."""
    section = config.database
    return PoolLimits(
        query_connections=section.query_connections,
        control_connections=section.control_connections,
        statement_cache_size=section.statement_cache_size,
        query_timeout_s=section.query_timeout.total_seconds(),
    )


def connection_bounds(config: Config) -> ConnectionBounds:
    """What clients may take of one process; as many files as it may have open it asks for."""
    http = config.http
    files = raise_open_files() - FILES_SPARE
    most = min(http.connections_max or files, files)
    return ConnectionBounds(
        header_s=http.header_timeout.total_seconds(),
        body_s=http.body_timeout.total_seconds(),
        write_s=http.write_timeout.total_seconds(),
        bytes_per_s_min=http.bytes_per_s_min,
        connections_max=most,
        connections_per_address=http.connections_per_address,
    )


def connections_of(config: Config) -> int:
    """How many connections one process may open: its pools, and for LISTEN and the health probe."""
    limits = pool_limits(config)
    pools = limits.ingest_connections + limits.query_connections + limits.control_connections
    return pools + 3


def end_wait_s(config: Config) -> float:
    """How long a sibling may take to drain."""
    return config.server.drain_delay_s + config.server.drain_timeout_s + END_MARGIN_S
