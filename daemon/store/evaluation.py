"""What the evaluator reads when it begins, and what a turn of it writes: one transaction with its
position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from asyncpg import Record

from daemon.clock import as_us
from daemon.domain import alert_record
from daemon.domain.errors import TryLater
from daemon.domain.rule_request import AlertRule
from daemon.domain.watches import Watch
from daemon.store import leases, messages
from daemon.store.alerts import alert_of
from daemon.store.leases import Grant
from daemon.store.named_sql import load
from daemon.store.pool import Connection, Database
from daemon.store.watches import watch_of

SQL = load("evaluation")
EVENTS_SQL = load("events")
WATCHES_SQL = load("watches")
Row = dict[str, Any]


class JudgedByOldRules(TryLater):
    """A rule was changed, or an alert was ended by somebody, since the turn began."""

    code = "judged_by_old_rules"


@dataclass(frozen=True, slots=True)
class Versions:
    """What a turn is judged by besides the journal."""

    rules: int
    closings: int


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert as far as the evaluator goes on from it; `ended_us` None while it is open."""

    alert_id: str
    rule_id: str
    series_id: int
    fired_us: int
    last_breach_us: int
    ended_us: int | None
    is_stale: bool
    by_silence: bool


@dataclass(frozen=True, slots=True)
class WideAlert:
    """The newest alert of a group, or of all that is taken in; `heard_us` is the newest sample
    before it."""

    alert_id: str
    rule_id: str
    scope: str
    group_id: str | None
    fired_us: int
    heard_us: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What there is when an evaluator begins: enabled rules, and the newest alerts of each of
    their series, oldest first.

    marks  rule or watch -> the position up to which it judges nothing
    """

    versions: Versions
    rules: list[AlertRule]
    alerts: list[KnownAlert]
    wide: list[WideAlert]
    watches: list[Watch]
    marks: dict[str, int]


@dataclass(slots=True)
class Round:
    """Changes of which no two are of the same alert's rule and device; rows of the queries."""

    resolve: list[Row] = field(default_factory=list)
    fire: list[Row] = field(default_factory=list)
    stale: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class Writes:
    """All that a turn writes: the rounds one after the other, then the rest.

    steps   alert id -> rows of `note_steps`, kept only for alerts that were changed
    events  rows of `events_append` with the key "alert_id", whose data is filled in here; those of
        watches have them in "data" already
    watches rows of `fire_watches`
    """

    rounds: list[Round] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    late: list[Row] = field(default_factory=list)
    watches: list[Row] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.rounds or self.late or self.watches)


class EvaluationStore:
    """Statements of the evaluator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, name: str, *, position: int) -> None:
        """Let the evaluator begin behind this position, unless it has begun."""
        await leases.begin(self._database, name, position=position)

    async def versions(self) -> Versions:
        async with self._database.connection("control") as connection:
            return _versions(await connection.fetchrow(SQL["versions"]))

    async def known(self, *, alerts_max: int) -> Known:
        """Everything of one moment; the newest `alerts_max` alerts of each series."""
        async with self._database.transaction("control") as connection:
            versions = _versions(await connection.fetchrow(SQL["versions"]))
            rules = await connection.fetch(SQL["rules"])
            alerts = await connection.fetch(SQL["alerts"], alerts_max)
            wide = await connection.fetch(SQL["wide_alerts"])
            watches = await connection.fetch(WATCHES_SQL["waiting"])
            marks = await connection.fetch(SQL["marks"])
        return Known(
            versions,
            [_rule(row) for row in rules],
            [_known(row) for row in alerts],
            [_wide(row) for row in wide],
            [watch_of(row) for row in watches],
            {row["rule_id"]: row["since_seq"] for row in marks},
        )

    async def arrivals(self, seqs: Sequence[int]) -> dict[int, int]:
        """When these blocks were committed, by position, as far as they are kept."""
        async with self._database.connection("query") as connection:
            rows = await connection.fetch(SQL["arrivals"], seqs)
        return {row["seq"]: as_us(row["appended_at"]) for row in rows}

    async def write(
        self, grant: Grant, writes: Writes, *, position: int, to: int, versions: Versions
    ) -> None:
        """One turn. Raises LeaseLost and JudgedByOldRules, then nothing is written."""
        async with self._database.transaction("control") as connection:
            if _versions(await connection.fetchrow(SQL["versions"])) != versions:
                raise JudgedByOldRules
            told = set()
            for one in writes.rounds:
                told |= await self._write_round(connection, one)
            if writes.watches:
                rows = await connection.fetch(WATCHES_SQL["fire_watches"], _json(writes.watches))
                told |= {row["watch_id"] for row in rows}
            await _each(connection, "note_steps", _of_alerts(writes.steps, told))
            await _each(connection, "count_late", writes.late)
            await leases.move(connection, grant, position=position, to=to)
            await self._tell(connection, _of_alerts(writes.events, told))

    async def _write_round(self, connection: Connection, one: Round) -> set[str]:
        ended = await _each(connection, "resolve", one.resolve)
        raised = await _each(connection, "fire", one.fire)
        staled = await _each(connection, "mark_stale", one.stale)
        if raised:
            await messages.tell_fired(connection, raised)
        over = [row["alert_id"] for row in one.fire if row["status"] == "resolved"]
        if closed := [*ended, *(i for i in over if i in set(raised))]:
            await messages.tell_closed(connection, closed)
        return {*ended, *raised, *staled}

    async def _tell(self, connection: Connection, events: Sequence[Row]) -> None:
        """Append the events, with the alerts as they are now; the last statement."""
        if not events:
            return
        ids = list({row["alert_id"] for row in events})
        found = [alert_of(row) for row in await connection.fetch(SQL["told"], ids)]
        alerts = {alert.alert_id: alert_record.shown(alert) for alert in found}
        rows = [{"data": alerts.get(row["alert_id"])} | row for row in events]
        await connection.fetch(EVENTS_SQL["append_all"], _json(rows))


def _rule(row: Record) -> AlertRule:
    fields = dict(row)
    for name in ("threshold_value", "from_value", "to_value", "quiet_hours", "tags"):
        fields[name] = None if fields[name] is None else orjson.loads(fields[name])
    return AlertRule(**fields)


def _known(row: Record) -> KnownAlert:
    ended = row["resolved_event_time"] or row["resolved_at"]
    return KnownAlert(
        row["alert_id"],
        row["rule_id"],
        row["series_id"],
        as_us(row["event_time"]),
        as_us(row["last_breach"]),
        None if ended is None else as_us(ended),
        row["is_stale"],
        row["by_silence"],
    )


def _wide(row: Record) -> WideAlert:
    return WideAlert(
        row["alert_id"],
        row["rule_id"],
        row["scope"],
        row["group_id"],
        as_us(row["event_time"]),
        as_us(row["last_breach"]),
        row["status"] != "resolved",
    )


def _versions(row: Record | None) -> Versions:
    assert row is not None
    return Versions(row["rules_version"], row["closings_version"])


def _of_alerts(rows: Sequence[Row], told: set[str]) -> list[Row]:
    return [row for row in rows if row["alert_id"] in told]


async def _each(connection: Connection, name: str, rows: Sequence[Row]) -> list[str]:
    """Run a query on all rows at once; the ids it returns."""
    if not rows:
        return []
    return [row[0] for row in await connection.fetch(SQL[name], _json(rows))]


def _json(rows: Sequence[Row]) -> str:
    return orjson.dumps(rows, option=orjson.OPT_UTC_Z).decode()
