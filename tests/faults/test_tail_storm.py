"""Everything dies at random under load, the tail too: the union of what its runs print is the
table, each point once and in order.

`STORM_S` says how long; `STORM_SEED` repeats one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from daemons import DaemonProcess, start_daemon
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer, launch, start_server, wait_until_ready, wheel_bindir
from stream_proxies import StreamProxy, stream_proxy
from tails import Tail, keys, send, stored, tailing

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1_200)]
METRIC = "storm"
STORM_S = float(os.environ.get("STORM_S") or (120 if os.environ.get("CI") else 45))
SEED = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture
def mortal_postgres() -> Iterator[PostgresServer]:
    """A server of its own, as it is killed."""
    server = start_server(wheel_bindir())
    yield server
    server.stop()


@dataclass
class World:
    """What can be broken, and how; every way ends with all of it running again."""

    postgres: PostgresServer
    daemon: DaemonProcess
    proxy: StreamProxy
    dsn: str
    port: str
    dice: random.Random

    def ways(self) -> list[Callable[[], None]]:
        return [
            self.kill_daemon, self.stop_daemon, self.kill_postgres, self.cut, self.be_away,
            self.refuse_websockets,
        ]  # fmt: skip

    def kill_daemon(self) -> None:
        self.daemon.kill()
        self._start_daemon()

    def stop_daemon(self) -> None:
        self.daemon.stop()
        self._start_daemon()

    def _start_daemon(self) -> None:
        self.daemon = start_daemon(
            self.dsn, home=self.daemon.home, key=self.daemon.key, server__port=self.port
        )

    def kill_postgres(self) -> None:
        server = self.postgres
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(60)
        time.sleep(self.dice.uniform(0, 1))
        server.process = launch(server.folder, server.bindir, server.user, fsync=False)
        wait_until_ready(server, timeout_s=100)

    def cut(self) -> None:
        self.proxy.cut()

    def be_away(self) -> None:
        self.proxy.is_away = True
        self.proxy.cut()
        time.sleep(self.dice.uniform(0.5, 4))
        self.proxy.is_away = False

    def refuse_websockets(self) -> None:
        self.proxy.allows_websocket = not self.proxy.allows_websocket
        self.proxy.cut()


@dataclass
class Keeper:
    """Runs tails one after the other, as a service manager would, and keeps what they printed."""

    world: World
    state: Path
    runs: list[tuple[Tail, bool]] = field(default_factory=list)
    told: Tail | None = None
    is_over: threading.Event = field(default_factory=threading.Event)

    def options(self) -> list[str]:
        return ["-m", METRIC, "--state", str(self.state)]

    def run(self) -> None:
        while not self.is_over.is_set():
            with tailing(self.world.daemon, *self.options(), url=self.world.proxy.url) as tail:
                self.runs.append((tail, False))
                while tail.process.poll() is None and not self.is_over.is_set():
                    time.sleep(0.05)
                self.stop()
                tail.end()
            self.runs[-1] = (tail, tail.process.returncode == -signal.SIGKILL)
            # -15: it was told to stop before it had come so far as to answer signals.
            assert tail.process.returncode in (-9, -15, 143, 75), tail.err
            time.sleep(0.2)

    def kill(self) -> None:
        self.runs[-1][0].process.kill()

    def stop(self) -> None:
        """Once each: a second signal would end it where it stands."""
        tail = self.runs[-1][0]
        if self.told is not tail:
            self.told = tail
            tail.process.terminate()


@contextmanager
def load(world: World) -> Iterator[None]:
    """Numbers of a few devices, each sent once; what is not taken is not sent again."""
    is_over = threading.Event()

    def run() -> None:
        number = 0
        url, key = world.daemon.url, world.daemon.key
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{url}/api/v1/telemetry", headers=headers, timeout=5) as client:
            while not is_over.wait(0.01):
                number += 10
                try:
                    send(client, f"d{number % 7}", METRIC, list(range(number, number + 10)))
                except (httpx.HTTPError, AssertionError):
                    time.sleep(0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(30)


@contextmanager
def in_background(work: Callable[[], None], is_over: threading.Event) -> Iterator[None]:
    """Run it in a thread until the block ends, which `is_over` tells it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
            is_over.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(100)
    assert failures == []


def test_the_union_of_all_runs_is_the_table(
    mortal_postgres: PostgresServer, tmp_path: Path
) -> None:
    dice = random.Random(SEED)
    dsn = asyncio.run(fresh_database(mortal_postgres))
    port = str(free_port())
    with ExitStack() as stack:
        daemon = start_daemon(dsn, server__port=port)
        stack.callback(lambda: world.daemon.stop())
        proxy = stack.enter_context(stream_proxy(daemon.url))
        world = World(mortal_postgres, daemon, proxy, dsn, port, dice)
        keeper = Keeper(world, tmp_path / "state.json")
        with in_background(keeper.run, keeper.is_over):
            while not keeper.state.exists() and not keeper.is_over.is_set():
                time.sleep(0.05)
            with load(world):
                rage(world, keeper, dice)
        wait_until_ready_again(world.daemon)
        with tailing(world.daemon, *keeper.options(), "--idle", "10s") as last:
            assert last.end() == 0, last.err
        keeper.runs.append((last, False))
        expected = stored(world.daemon, metric=METRIC)

    assert len(expected) > 1_000
    assert_once_each(keeper.runs, expected)


def wait_until_ready_again(daemon: DaemonProcess) -> None:
    """What was broken last has healed."""
    deadline_s = time.monotonic() + 100
    with daemon.http() as http:
        while http.get(daemon.url + "/health/ready").status_code != 200:
            assert time.monotonic() < deadline_s, "the daemon is not ready"
            time.sleep(0.1)


def rage(world: World, keeper: Keeper, dice: random.Random) -> None:
    """Break one thing after the other, with pauses in which the tail may get on its feet."""
    end_s = time.monotonic() + STORM_S
    ways = [*world.ways(), keeper.kill, keeper.kill, keeper.stop]
    while time.monotonic() < end_s:
        dice.choice(ways)()
        time.sleep(dice.uniform(0.2, 5))


def assert_once_each(
    runs: list[tuple[Tail, bool]], expected: list[tuple[str, str, object]]
) -> None:
    """Each run goes on where the one before it ended; behind a kill -9 it may begin a little
    earlier, at something that was printed already."""
    done, was_killed = 0, False
    place = {key: at for at, key in enumerate(expected)}
    for tail, is_killed in runs:
        shown = keys(tail.points)
        if shown:
            first = place[shown[0]]
            assert first == done or (was_killed and first < done), (SEED, first, done, tail.err)
            assert shown == expected[first : first + len(shown)], (SEED, first, tail.err)
            done = max(done, first + len(shown))
            was_killed = False
        was_killed = was_killed or is_killed
    assert done == len(expected), (SEED, done)
