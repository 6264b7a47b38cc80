"""`telemetryctl doctor`: looks for what is wrong, from this host to the figures of the daemon."""

from __future__ import annotations

import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from telemetryctl import __version__, times
from telemetryctl.api.contexts import CREDENTIALS_FILE
from telemetryctl.failures import Failure
from telemetryctl.files.figures import read_figures
from telemetryctl.options import command, single
from telemetryctl.output.console import printable
from telemetryctl.output.render import Column
from telemetryctl.session import Session

app = single()

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skipped"
CLOCK_WARN_S, CLOCK_FAIL_S = 2.0, 60.0
KEY_WARN = timedelta(days=14)
LAG_WARN_S, LAG_FAIL_S = 10.0, 60.0
PARTITIONS_AHEAD_MIN = 6
ALWAYS_LED = ("compactor", "evaluator", "housekeeping")
SETTLED_AFTER_S = 60.0
"""By then each work has begun, or another process has taken it over (10 s)."""
KEYS_LOOKED_AT = 1_000
LOCK_WARN_S, LOCK_FAIL_S = 5.0, 60.0
DISK_WARN, DISK_FAIL = 0.1, 0.03
UNITS = [
    Path(folder) / "telemetryd.service"
    for folder in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
]
UNIT_WORDS = ("Type=notify", "WatchdogSec=", "Restart=on-failure", "KillMode=mixed")
CONNECT_TIMEOUT_S = 5.0
NAME_WIDTH = 46
COLUMNS = (Column("area"), Column("check"), Column("state"), Column("detail"), Column("hint"))

Figures = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found; `hint` is what to do, where something is."""

    area: str
    check: str
    state: str
    detail: str = ""
    hint: str = ""


@command(app, example="telemetryctl doctor\ntelemetryctl doctor -o json")
def doctor(session: Session) -> None:
    """Look for what is wrong: this host, the way to the server, the key, the daemon.

    Exits with 1 when something failed; warnings alone are 0.
    """
    found = list(_examine(session))
    failed = sum(one.state == FAIL for one in found)
    warned = sum(one.state == WARN for one in found)
    if session.renderer.format == "table":
        session.console.write("\n".join(_lines(found)) + "\n")
    elif session.renderer.is_document:
        document = {"failed": failed, "warnings": warned, "findings": [asdict(f) for f in found]}
        session.renderer.item(document, columns=COLUMNS)
    else:
        session.renderer.rows([asdict(one) for one in found], columns=COLUMNS)
    session.console.note(f"{failed} failed, {warned} warnings")
    if failed:
        raise typer.Exit(1)


def _lines(found: list[Finding]) -> Iterator[str]:
    for one in found:
        name = f"{one.area:<10}{one.check} ".ljust(NAME_WIDTH + 10, ".")
        state = one.state if one.state in (OK, SKIP) else one.state.upper()
        yield printable(f"{name} {state:<8}{one.detail}").rstrip()
        if one.hint:
            yield printable(f"{'':<12}{one.hint}")


def _examine(session: Session) -> Iterator[Finding]:
    yield _permissions(session)
    yield _unit()
    reached = _reach(session.settings.server)
    yield reached
    if reached.state == FAIL:
        return
    try:
        health = session.client.health_detailed()
    except Failure as failure:
        yield Finding("server", "health", FAIL, failure.what, failure.hint)
        return
    yield from _server(session, health)
    principal = _caught(session.client.whoami)
    yield _key(principal)
    if isinstance(principal, Failure):
        return
    yield from _other_keys(_caught(lambda: session.client.list_keys(limit=KEYS_LOOKED_AT)))
    yield _clock(session)
    yield _websocket(session)
    page = _caught(session.client.figures)
    if isinstance(page, str):
        yield from _daemon(read_figures(page))
    yield _channels(_caught(session.client.list_channels))


def _caught(call: Callable[[], Any]) -> Any:
    """What the call returns, or the Failure that it raised."""
    try:
        return call()
    except Failure as failure:
        return failure


# -- this host, and the way ----------------------------------------------------------------------


def _permissions(session: Session) -> Finding:
    name = "key file, for its user only"
    file = session.settings.config_folder / CREDENTIALS_FILE
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return Finding("client", name, SKIP, "there is none")
    if mode & 0o077:
        return Finding("client", name, FAIL, f"{mode:04o}", f"chmod 600 {file}")
    return Finding("client", name, OK, f"{mode:04o}")


def _websocket(session: Session) -> Finding:
    """Whether a proxy in between passes the upgrade on."""
    from telemetryctl.client.doors import Lost, Unfit, Wanted
    from telemetryctl.client.stream_ws import WebSocketDoor

    name = "WebSocket"
    door = WebSocketDoor(session.endpoint, Wanted(channel="events"))
    try:
        door.open("")
    except (Lost, Unfit) as error:
        hint = "a proxy that drops Upgrade? telemetryctl help streams; tail uses sse meanwhile"
        return Finding("network", name, WARN, error.reason, hint)
    except Failure as failure:
        return Finding("network", name, SKIP, failure.what)
    finally:
        door.close()
    return Finding("network", name, OK)


def _unit() -> Finding:
    """Whether the unit on this host, if there is one, says what the daemon counts on."""
    name = "unit of systemd"
    file = next((one for one in UNITS if one.is_file()), None)
    if file is None:
        return Finding("client", name, SKIP, "there is none on this host")
    lines = {line.strip() for line in file.read_text(errors="replace").splitlines()}
    absent = [word for word in UNIT_WORDS if not any(line.startswith(word) for line in lines)]
    if absent:
        hint = "deploy/install.sh puts ours in place"
        return Finding("client", name, WARN, f"{file} lacks {', '.join(absent)}", hint)
    return Finding("client", name, OK, str(file))


def _reach(server: str) -> Finding:
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    began_s = time.monotonic()
    try:
        with socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S):
            took_ms = (time.monotonic() - began_s) * 1000
    except OSError as error:
        hint = "does the daemon run, and is it the right server? telemetryctl context show --origin"
        return Finding("network", "name and port", FAIL, str(error.strerror or error), hint)
    return Finding("network", "name and port", OK, f"{parts.hostname}:{port} in {took_ms:.0f} ms")


def _clock(session: Session) -> Finding:
    name = "clock, against the server"
    before = times.now()
    stamp = session.client.server_time()
    if stamp is None:
        return Finding("client", name, SKIP, "the server did not say")
    # The server tells whole seconds.
    middle = before + (times.now() - before) / 2
    apart_s = (middle - stamp).total_seconds() - 0.5
    if abs(apart_s) >= CLOCK_FAIL_S:
        return Finding("client", name, FAIL, f"{apart_s:+.0f} s", "set the clock (NTP)")
    state = WARN if abs(apart_s) >= CLOCK_WARN_S else OK
    return Finding("client", name, state, f"{apart_s:+.1f} s")


# -- the server ----------------------------------------------------------------------------------


def _server(session: Session, health: dict[str, Any]) -> Iterator[Finding]:
    version = str(health.get("version"))
    same = version == __version__
    told = f"client {__version__}, server {version}"
    yield Finding("server", "versions", OK if same else WARN, told)
    for name, state in (health.get("dependencies") or {}).items():
        yield Finding("server", name, OK if state == "up" else FAIL, str(state))
    base = health.get("time_series_db") or {}
    if "durable_commits" in base:
        is_durable = bool(base["durable_commits"])
        weak = "" if is_durable else "fsync, full_page_writes or synchronous_commit is off"
        yield Finding("server", "commits are durable", OK if is_durable else FAIL, weak)
        has_sums = (base.get("settings") or {}).get("data_checksums") == "on"
        yield Finding(
            "server", "data checksums", OK if has_sums else WARN, "" if has_sums else "off"
        )
    yield from _strain(base)
    reason = _caught(session.client.health)
    if isinstance(reason, Failure):
        yield Finding("server", "ready", FAIL, reason.what)


def _strain(base: dict[str, Any]) -> Iterator[Finding]:
    """Locks and the disk, as far as the server says."""
    wait_s = base.get("lock_wait_s")
    if wait_s is not None:
        state = FAIL if wait_s >= LOCK_FAIL_S else WARN if wait_s >= LOCK_WARN_S else OK
        hint = "" if state == OK else "telemetryd db psql: select * from pg_stat_activity"
        yield Finding("server", "locks", state, f"longest wait {wait_s:.0f} s", hint)
    if base.get("disk_bytes"):
        free = base["disk_free_bytes"] / base["disk_bytes"]
        state = FAIL if free < DISK_FAIL else WARN if free < DISK_WARN else OK
        hint = "" if state == OK else "shorten retention, or make the disk larger"
        text = f"{free:.0%} free, {base['disk_free_bytes'] / 1e9:,.1f} GB"
        yield Finding("server", "disk", state, text, hint)


def _other_keys(found: Any) -> Iterator[Finding]:
    """Who sees the keys is told of those that end soon."""
    if isinstance(found, Failure):
        return
    now = times.now()
    ending = [
        str(one.get("name"))
        for one in found.get("keys") or []
        if one.get("expires_at") and now < _instant(one["expires_at"]) <= now + KEY_WARN
    ]
    state, text = (WARN, ", ".join(ending)) if ending else (OK, "none ends in 14 days")
    hint = "telemetryctl key create, give it to who uses them" if ending else ""
    yield Finding("auth", "keys that end soon", state, text, hint)


def _key(principal: Any) -> Finding:
    if isinstance(principal, Failure):
        return Finding("auth", "key", FAIL, principal.what, principal.hint)
    name = f"key {principal.get('key_id') or principal.get('principal')}"
    expires = principal.get("expires_at")
    if not expires:
        return Finding("auth", name, OK, "never expires")
    left = _instant(expires) - times.now()
    text = f"expires in {times.format_duration(left)}"
    if left > KEY_WARN:
        return Finding("auth", name, OK, text)
    return Finding("auth", name, WARN, text, f"telemetryctl key rotate {principal.get('key_id')}")


def _daemon(found: Figures) -> Iterator[Finding]:
    ahead = _value(found, "telemetry_partitions", state="ahead")
    if ahead is not None:
        state = OK if ahead >= PARTITIONS_AHEAD_MIN else FAIL
        hint = "" if state == OK else "housekeeping does not work: look into the daemon's log"
        yield Finding("server", "partitions of the journal", state, f"{ahead:.0f} h ahead", hint)
    lag_s = _value(found, "telemetry_scheduler_lag_seconds")
    if lag_s is not None:
        state = FAIL if lag_s >= LAG_FAIL_S else WARN if lag_s >= LAG_WARN_S else OK
        yield Finding("server", "rules keep up", state, f"{lag_s:.0f} s behind")
    idle = _left_undone(found)
    if idle is not None:
        hint = "look into the daemon's log, for child_died and *_waits" if idle else ""
        text = f"nobody does it: {', '.join(idle)}" if idle else "somebody does it"
        yield Finding("server", "work for all processes", FAIL if idle else OK, text, hint)
    waiting = _value(found, "telemetry_ingest_queue_points")
    room = _value(found, "telemetry_ingest_queue_capacity_points")
    if waiting is not None and room:
        share = waiting / room
        state = WARN if share > 0.5 else OK
        yield Finding("server", "queue of ingest", state, f"{waiting:,.0f} of {room:,.0f} points")
    given_up = _sum(found, "telemetry_notifications_total", outcome="given_up")
    if given_up:
        yield Finding("server", "notifications", WARN, f"{given_up:.0f} were given up")


def _left_undone(found: Figures) -> list[str] | None:
    """The work whose lease nobody holds; None for a daemon that has just begun, or does not say."""
    age_s = _value(found, "telemetry_uptime_seconds") or 0.0
    led = {of.get("work", ""): bool(value) for of, value in found.get("telemetry_work_led", [])}
    if age_s < SETTLED_AFTER_S or not led:
        return None
    return [name for name in ALWAYS_LED if not led.get(name)]


def _channels(found: Any) -> Finding:
    if isinstance(found, Failure):
        return Finding("server", "channels", SKIP, found.what)
    rows = found.get("channels") or []
    broken = [str(one.get("name")) for one in rows if one.get("failures")]
    if broken:
        hint = f"telemetryctl channel log {broken[0]}"
        return Finding("server", "channels", WARN, f"failing: {', '.join(broken)}", hint)
    return Finding("server", "channels", OK, f"{len(rows)} known")


def _value(found: Figures, name: str, **labels: str) -> float | None:
    """The first value of a figure with these labels."""
    return next(iter(_values(found, name, **labels)), None)


def _sum(found: Figures, name: str, **labels: str) -> float:
    """Of all values with these labels; 0 when there is none."""
    return sum(_values(found, name, **labels))


def _values(found: Figures, name: str, **labels: str) -> list[float]:
    return [value for own, value in found.get(name, []) if labels.items() <= own.items()]


def _instant(text: str) -> datetime:
    return times.parse_time(text, at=times.now())
