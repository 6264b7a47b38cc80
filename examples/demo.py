"""Two hours of a city's buses, replayed into a daemon of your own and shown as they arrive: first
as a table, then line by line by `telemetryctl tail`.

Everything lives in a scratch folder that is gone afterwards: database, key, settings.
`DURATION=20s` ends it after that time, Ctrl-C at once.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import gzip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from telemetryctl import times
from telemetryctl.client.http import Client
from telemetryctl.config import Flags, resolve
from telemetryctl.failures import Failure
from telemetryctl.output.sparkline import ASCII_BLOCKS, BLOCKS, can_draw_blocks, sparkline

FLEET = Path(__file__).parent / "fleet" / "capmetro-2015-03-07-noon.csv.gz"
MAPS = (
    "device=vehicle_id,speed=speed:mph,position=geo(latitude,longitude)",
    "headsign=str(trip_headsign),tags.route=route_id",
)
POINTS_PER_FIX = 3
WINDOW = timedelta(hours=2)
BUSES_SHOWN = 12
SPARK_INTERVAL_S = 300
REPLAY_S = 60.0  # how long the replay takes when no DURATION says it
REPLAY_SHARE = 0.7  # of DURATION; the rest is for the start and a last look
TABLE_SHARE = 0.5  # of the replay; the other half is seen by the tail
TAIL = ["tail", "-m", "speed", "--every", "500ms", "--quiet"]
SPEEDING = {
    "name": "speeding",
    "metric_name": "speed",
    "condition": ">",
    "threshold_value": 40,
    "level": "warning",
    "auto_resolve_timeout": 600,
}
ALERTS_SHOWN = 3
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
REDRAW_S = 1.0
PR_SET_PDEATHSIG = 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):
    """The demo can't go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the file holds: how many fixes, and the buses with most of them."""

    fixes: int
    busiest: list[str]


def read_fleet() -> Fleet:
    with gzip.open(FLEET, "rt", encoding="utf-8") as text:
        counts = Counter(row["vehicle_id"] for row in csv.DictReader(text))
    return Fleet(counts.total(), sorted(bus for bus, _ in counts.most_common(BUSES_SHOWN)))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of our own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="telemetry-demo-"))
    # Started by root, PostgreSQL runs as another user and must be able to pass through.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        _turn_deaf()
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    """The environment of all our processes: nothing of the user's is read or written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TELEMETRY", "XDG_"))}
    names = {"CONFIG": "config", "STATE": "state", "CACHE": "cache", "DATA": "data"}
    own = {f"XDG_{name}_HOME": str(folder / path) for name, path in names.items()}
    return {
        **kept,
        **own,
        "HOME": str(folder),
        "TELEMETRY_SERVER__PORT": "0",  # any free one
        "TELEMETRY_DATABASE__DATA_DIR": str(folder / "postgres"),
        "TELEMETRY_LOG__FORMAT": "json",
    }


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the demo is gone, even by kill -9 (prctl(2))."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


Process = subprocess.Popen[bytes]


@contextmanager
def running(
    command: list[str], *, env: dict[str, str], log: Path, is_shown: bool = False
) -> Iterator[Process]:
    """A process in a group of its own; afterwards the whole group is gone."""
    process = None
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=None if is_shown else output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        yield process
    finally:
        _turn_deaf()
        if process is not None:
            _end(process)


def _turn_deaf() -> None:
    """We are leaving already; a second Ctrl-C must not stop the cleaning up."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(process: Process) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def connect(daemon: Process, env: dict[str, str], log: Path) -> Client:
    """Wait for the daemon's first start, which leaves a context with its key. Raises DemoFailed."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if daemon.poll() is not None:
            break
        settings = resolve(Flags(), env)
        if settings.token is not None:
            client = Client(settings.server, token=settings.token.value)
            with contextlib.suppress(Failure):
                client.whoami()
                return client
            client.close()
        time.sleep(0.1)
    raise DemoFailed(f"telemetryd did not start:\n{tail(log)}")


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


# --- what is shown --------------------------------------------------------------------------------


@dataclass(slots=True)
class View:
    """What has arrived: redrawn in place on a terminal, a line each time elsewhere."""

    client: Client
    fleet: Fleet
    began_s: float
    is_drawn: bool = False

    def show(self, *, is_replaying: bool) -> None:
        latest = self.client.list_latest(device_ids=",".join(self.fleet.busiest), lookback="24h")[
            "latest"
        ]
        stats = self.client.stats()
        head = (
            f"{stats['total_data_points']:,} points of {stats['total_devices']:,} buses stored"
            f" after {time.monotonic() - self.began_s:.0f} s"
            f"{', replaying' if is_replaying else ''}"
        )
        if sys.stdout.isatty():
            self._redraw([f"{self.client.server}   {head}", "", *self._table(latest)])
        else:
            sys.stdout.write(f"{head}{self._newest(latest)}\n")
        sys.stdout.flush()

    def _redraw(self, lines: list[str]) -> None:
        size = shutil.get_terminal_size()
        start = "\x1b[H" if self.is_drawn else "\x1b[2J\x1b[H"
        text = "".join(f"{line[: size.columns]}\x1b[K\n" for line in lines[: size.lines - 1])
        sys.stdout.write(f"{start}{text}\x1b[J")
        self.is_drawn = True

    def _table(self, latest: dict[str, Any]) -> list[str]:
        sparks = self._sparks()
        lines = [f"{'BUS':<6}{'MPH':>6}  {'POSITION':<21}{'ROUTE':<7}{'HEADED':<14}SPEED, 2 H"]
        for bus in self.fleet.busiest:
            found = latest.get(bus, {})
            speed, place = _value(found, "speed"), _value(found, "position") or {}
            where = f"{place['lat']:.5f},{place['lon']:.5f}" if place else ""
            route = (found.get("speed", {}).get("tags") or {}).get("route", "")
            mph = f"{speed:.1f}" if isinstance(speed, float | int) else ""
            headed = str(_value(found, "headsign") or "")[:13]
            lines.append(
                f"{bus:<6}{mph:>6}  {where:<21}{route:<7}{headed:<14}{sparks.get(bus, '')}"
            )
        return lines

    def _sparks(self) -> dict[str, str]:
        """The speed of the window in which the replay fills in, by bus."""
        now = times.now()
        answer = self.client.query(
            {
                "metrics": ["speed"],
                "devices": self.fleet.busiest,
                "start_time": times.format_rfc3339(now - WINDOW),
                "end_time": times.format_rfc3339(now),
                "aggregation": "avg",
                "interval": SPARK_INTERVAL_S,
            }
        )
        first = int((now - WINDOW).timestamp()) // SPARK_INTERVAL_S
        count = int(WINDOW.total_seconds()) // SPARK_INTERVAL_S + 1
        cells: dict[str, list[float | None]] = {}
        for point in answer["data_points"]:
            at = times.parse_time(point["timestamp"], at=now).timestamp()
            index = int(at) // SPARK_INTERVAL_S - first
            if 0 <= index < count:
                cells.setdefault(point["device_id"], [None] * count)[index] = point["value"]
        blocks = BLOCKS if can_draw_blocks() else ASCII_BLOCKS
        return {bus: sparkline(values, blocks=blocks) for bus, values in cells.items()}

    def _newest(self, latest: dict[str, Any]) -> str:
        """The bus that was heard of last, for the lines of a log."""
        known = [(m["speed"]["timestamp"], bus) for bus, m in latest.items() if "speed" in m]
        if not known:
            return ""
        stamp, bus = max(known)
        return f"; bus {bus} went {latest[bus]['speed']['value']:.1f} mph at {stamp}"


def _value(found: dict[str, Any], metric: str) -> Any:
    return found.get(metric, {}).get("value")


# --- the run --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Demo:
    """What runs: a daemon, and the replay that sends to it."""

    folder: Path
    env: dict[str, str]
    daemon: Process
    rate: int
    stack: ExitStack
    replay: Process | None = None

    def check(self) -> None:
        """Raises DemoFailed when something ended that should not have."""
        if self.daemon.poll() is not None:
            raise DemoFailed(f"telemetryd stopped:\n{tail(self.folder / 'telemetryd.log')}")
        if self.replay is not None and self.replay.poll():
            raise DemoFailed(f"the replay failed:\n{tail(self.folder / 'import.log')}")

    @property
    def is_replaying(self) -> bool:
        return self.replay is not None and self.replay.poll() is None

    def send(self) -> None:
        """Begin the replay, its newest fix being of this moment."""
        maps = [part for text in MAPS for part in ("--map", text)]
        command = ["telemetryctl", "import", str(FLEET), *maps, "--define", "--shift-to", "now"]
        log = self.folder / "import.log"
        self.replay = self.stack.enter_context(
            running([*command, "--rate", f"{self.rate}/s"], env=self.env, log=log)
        )


def run(duration_s: float | None) -> None:
    """Start, replay, show. Returns after the duration; Ctrl-C comes as KeyboardInterrupt."""
    fleet = read_fleet()
    began_s = time.monotonic()
    end_s = began_s + duration_s if duration_s is not None else float("inf")
    replay_s = duration_s * REPLAY_SHARE if duration_s is not None else REPLAY_S
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        env = environment(folder)
        log = folder / "telemetryd.log"
        _say("starting telemetryd on an embedded PostgreSQL in a scratch folder")
        daemon = stack.enter_context(running(["daemon", "serve"], env=env, log=log))
        client = stack.enter_context(connect(daemon, env, log))
        rate = max(round(fleet.fixes * POINTS_PER_FIX / max(replay_s, 1)), 1)
        demo = Demo(folder, env, daemon, rate, stack)
        client.create_rule(SPEEDING)
        demo.send()
        table_end_s = min(time.monotonic() + replay_s * TABLE_SHARE, end_s)
        view = View(client, fleet, began_s)
        while time.monotonic() < table_end_s:
            demo.check()
            view.show(is_replaying=demo.is_replaying)
            time.sleep(max(min(REDRAW_S, table_end_s - time.monotonic()), 0))
        show_alerts(client)
        watch_tail(demo, end_s=end_s)


def show_alerts(client: Client) -> None:
    """What the rule has found: alerts of the fleet, the newest first."""
    found = client.list_alerts(limit=ALERTS_SHOWN)
    _say(
        f"\n{found['total']} alerts, {found['active_count']} of them active; telemetryctl alert ls"
    )
    for alert in found["alerts"]:
        _say(f"  {alert['event_time']}  {alert['status']:<8}  {alert['message']}")


def watch_tail(demo: Demo, *, end_s: float) -> None:
    """Points as they come, until the end; a replay that is over begins anew."""
    _say(f"\nand now: telemetryctl {' '.join(TAIL)}\n")
    log = demo.folder / "tail.log"
    with running(["telemetryctl", *TAIL], env=demo.env, log=log, is_shown=True) as shown:
        while time.monotonic() < end_s:
            demo.check()
            if shown.poll() is not None:
                raise DemoFailed(f"the tail ended:\n{tail(log)}")
            if not demo.is_replaying and end_s == float("inf"):
                demo.send()
            time.sleep(max(min(0.2, end_s - time.monotonic()), 0))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    text = os.environ.get("DURATION", "").strip()
    try:
        duration_s = times.parse_duration(text).total_seconds() if text else None
        run(duration_s)
    except KeyboardInterrupt:
        pass
    except (DemoFailed, Failure) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write("stopped; nothing is left running\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
